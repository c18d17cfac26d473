// What this browser keeps, shared by its tabs: the basket, and the purchase that is under way.
//
// basket:   {id, currency, lines: [{sku, name, quantity, unit_price}]}. `id` becomes the Idempotency-Key, so it is the
//           same in every tab that pays this basket.
// purchase: {key, method, total, currency, lines, wanted, customer_id?, payment_id?}: the basket (`wanted`) on its way. It is written before
//           the first request and goes when the order is accepted; whoever finds one goes on with it.
// bought:   {key, order_id} of the last purchase, for tabs that did not see it end.
// cancels:  by order id "asked" until the shop has decided, then what it said until somebody has read it.
// links:    [[order_id, signature]], newest first: the orders of this browser, should it forget who its customer is.

export const MOST = 99; // of one product

const KEYS = {
  basket: "lanka.basket",
  purchase: "lanka.purchase",
  bought: "lanka.bought",
  cancels: "lanka.cancels",
  links: "lanka.links",
};

const LINKS_KEPT = 50;

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(KEYS[name]));
  } catch {
    return null; // somebody has written nonsense there
  }
}

function write(name, value) {
  if (value === null) localStorage.removeItem(KEYS[name]);
  else localStorage.setItem(KEYS[name], JSON.stringify(value));
  for (const listen of listeners) listen();
}

const listeners = new Set();

/** Calls `listen` whenever something here changes, in this tab or another. */
export function onChange(listen) {
  listeners.add(listen);
}

addEventListener("storage", () => {
  for (const listen of listeners) listen();
});

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for secure origins only
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const empty = () => ({ id: newId(), currency: null, lines: [] });

export function basket() {
  const found = read("basket");
  return found && Array.isArray(found.lines) && found.id ? found : empty();
}

export const total = ({ lines }) => lines.reduce((sum, line) => sum + line.quantity * line.unit_price, 0);
export const count = ({ lines }) => lines.reduce((sum, line) => sum + line.quantity, 0);

export const quantityOf = (sku) => basket().lines.find((line) => line.sku === sku)?.quantity ?? 0;

/** Sets how many of the product are in the basket; 0 takes it out. False where it is sold in another currency. */
export function put(product, quantity) {
  const now = basket();
  if (now.lines.length && now.currency !== product.currency) return false;
  const { sku, name, unit_price } = product;
  const at = now.lines.findIndex((line) => line.sku === sku);
  if (quantity <= 0) now.lines = now.lines.filter((line) => line.sku !== sku);
  else if (at >= 0) now.lines[at] = { ...now.lines[at], quantity };
  else now.lines.push({ sku, name, quantity, unit_price });
  write("basket", { ...now, currency: product.currency });
  return true;
}

/** Takes the prices of now, which the customer has seen and accepted. */
export function accept(products) {
  const now = basket();
  const lines = now.lines.map((line) => ({
    ...line,
    unit_price: products.get(line.sku)?.unit_price ?? line.unit_price,
  }));
  write("basket", { ...now, lines });
}

/** Puts these lines into the basket, which becomes another order than the one they come from. The currency of what had
 * to leave it for them, if any: an order has one. */
export function refill(currency, lines) {
  const now = basket();
  const skus = new Set(lines.map((line) => line.sku));
  const stays = now.currency === currency;
  const kept = stays ? now.lines.filter((line) => !skus.has(line.sku)) : [];
  write("basket", { id: newId(), currency, lines: [...lines, ...kept] });
  return stays || !now.lines.length ? null : now.currency;
}

export const purchase = () => read("purchase");

/** Lines of one product at one price are one. */
export function merged(lines) {
  const by = new Map();
  for (const line of lines) {
    const key = JSON.stringify([line.sku, line.unit_price]);
    by.set(key, { ...line, quantity: line.quantity + (by.get(key)?.quantity ?? 0) });
  }
  return [...by.values()];
}

/** Begins to buy these lines for the basket, unless a purchase is under way. What is put into the basket from now on is
 * another order. */
export function begin(method, lines) {
  const { id: key, currency, lines: wanted } = basket();
  if (purchase() || !lines.length) return;
  write("purchase", { key, method, currency, lines, wanted, total: total({ lines }) });
  write("basket", null);
}

/** Notes what is known of the purchase with this key; nothing if another tab has ended it. */
export function note(key, known) {
  const running = purchase();
  if (running?.key === key) write("purchase", { ...running, ...known });
}

export function bought(key, orderId) {
  write("bought", { key, order_id: orderId });
  if (purchase()?.key === key) write("purchase", null);
}

/** The order of the purchase that ended last in this browser. */
export const lastBought = () => read("bought")?.order_id ?? null;

export const orderOf = (key) => (read("bought")?.key === key ? read("bought").order_id : null);

export const cancels = () => read("cancels") ?? {};

/** `what`: "asked", what the shop said, or null once that was read. */
export function noteCancel(orderId, what) {
  const { [orderId]: before, ...others } = cancels();
  if (before !== what) write("cancels", what ? { ...others, [orderId]: what } : others);
}

export const keptLinks = () => new Map(read("links") ?? []);

/** `page`: the signed link of an order of this browser, where there is one. */
export function keepLink(orderId, page) {
  const links = keptLinks();
  const [, signature] = page?.split("?signature=") ?? [];
  if (!signature || links.get(orderId) === signature) return;
  write("links", [[orderId, signature], ...links].slice(0, LINKS_KEPT));
}

/** Stops trying. What was to be bought is in the basket again, as by `refill`; bought again it is another purchase. */
export function giveUp(key) {
  const stopped = purchase();
  if (stopped?.key !== key) return null;
  write("purchase", null);
  return refill(stopped.currency, stopped.wanted);
}
