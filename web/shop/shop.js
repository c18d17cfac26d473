// The shop's page: what is for sale, the basket, and which part of the page is shown.

import { Away, callAsCustomer, customerId, pause } from "./shop-api.js";
import { accept, basket, begin, count, giveUp, lastBought, onChange, purchase, put, total } from "./shop-basket.js";
import { money } from "./shop-money.js";
import { closeOrder, setUp, showOrder, showPurchase, tellPurchase } from "./shop-order.js";
import { Refused, goOn } from "./shop-purchase.js";

const FIRST = 12; // products shown before somebody asks for all
const MOST = 99;
const LOOK_AGAIN = 60_000;

// What we have drawings of, in the order of the shelf.
const DRAWINGS = {
  "MUG-CERAMIC-WHITE": "mug milk",
  "HONEY-BUCKWHEAT-400": "honey amber",
  "TEA-LINDEN-50": "tea moss",
  "BOARD-OAK-M": "board sand",
  "JAM-APRICOT-300": "jam rose",
  "MUG-ENAMEL-BLUE": "enamel sky",
  "TOWEL-LINEN-GREY": "towel moss",
  "CANDLE-BEESWAX-S": "candle amber",
  "COFFEE-LVIV-250": "coffee clay",
  "SPOON-CHERRY": "spoon clay",
  "APRON-LINEN-SAND": "apron sand",
  "SOAP-LAVENDER": "soap sky",
  "TEA-MOUNTAIN-100": "herb moss",
  "CANDLE-BEESWAX-L": "candles amber",
  "NOTEBOOK-A5-DOT": "notebook sky",
  "PENCIL-CEDAR-6": "pencils rose",
  "SOCKS-WOOL-M": "socks moss",
  "SCARF-WOOL-RED": "scarf rose",
  "BLANKET-WOOL-GREY": "blanket sky",
  "POSTCARD-SET-12": "postcards sand",
};
const TINTS = ["clay", "amber", "moss", "sand", "rose", "sky"];
const SHELF = Object.keys(DRAWINGS);

const $ = (id) => document.getElementById(id);

let products = new Map();
let showsAll = false;

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---- the catalogue -----------------------------------------------------------------------------------------------

async function loadProducts() {
  const { status, data } = await callAsCustomer("GET", "/catalogue");
  if (status !== 200) throw new Away(data?.code);
  const place = (sku) => (SHELF.includes(sku) ? SHELF.indexOf(sku) : SHELF.length);
  data.sort((a, b) => place(a.sku) - place(b.sku) || a.name.localeCompare(b.name));
  products = new Map(data.map((product) => [product.sku, product]));
  renderProducts();
  renderBasket();
}

async function keepProducts() {
  for (let failures = 0; ; ) {
    try {
      await loadProducts();
      failures = 0;
      $("catalogue-trouble").hidden = true;
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      failures += 1;
      $("catalogue-trouble").hidden = false;
      $("catalogue-trouble").textContent = "The shop does not answer just now. We try again by ourselves.";
    }
    await (failures ? pause(Math.min(2 ** (failures - 1), 15)) : untilLookedAt());
  }
}

/** The next time that somebody comes back to this page, or looks at it for a minute. */
function untilLookedAt() {
  return new Promise((resolve) => {
    const look = () => {
      if (document.visibilityState === "hidden") return;
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    const timer = setInterval(look, LOOK_AGAIN);
    document.addEventListener("visibilitychange", look);
  });
}

function picture({ sku, name }) {
  const [drawing, tint] = (DRAWINGS[sku] ?? ` ${TINTS[[...sku].reduce((sum, c) => sum + c.charCodeAt(0), 0) % TINTS.length]}`).split(" ");
  const frame = make("div", { className: `picture tint-${tint}` });
  frame.setAttribute("aria-hidden", "true");
  if (!drawing) {
    frame.append(make("span", { className: "letter", textContent: [...name][0].toUpperCase() }));
    return frame;
  }
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 120 120");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/static/products.svg#${drawing}`);
  svg.append(use);
  frame.append(svg);
  return frame;
}

function renderProducts() {
  const all = [...products.values()];
  const some = showsAll ? all : all.slice(0, FIRST);
  const list = $("products");
  const known = new Map([...list.children].map((item) => [item.dataset.sku, item]));
  for (const [nth, product] of some.entries()) {
    const item = known.get(product.sku) ?? productItem(product);
    known.delete(product.sku);
    if (list.children[nth] !== item) list.insertBefore(item, list.children[nth] ?? null);
    const held = quantityOf(product.sku);
    item.querySelector(".price").textContent = money(product.unit_price, product.currency);
    const left = product.available - held;
    const button = item.querySelector("button");
    button.setAttribute("aria-disabled", String(left <= 0 || held >= MOST));
    item.classList.toggle("sold-out", product.available <= 0);
    item.querySelector(".stock").textContent =
      product.available <= 0 ? "Sold out" : product.available <= 5 ? `Only ${product.available} left` : "";
    item.querySelector(".held").textContent = held ? `${held} in the basket` : "";
  }
  for (const gone of known.values()) gone.remove();
  $("show-all").hidden = all.length <= FIRST;
  $("show-all").textContent = showsAll ? "Show fewer" : `Show all ${all.length} things`;
  $("show-all").setAttribute("aria-expanded", String(showsAll));
}

function productItem(product) {
  const [name, ...details] = product.name.split(", ");
  const item = make(
    "li",
    { className: "product" },
    picture(product),
    make("h3", {}, name, make("small", { textContent: details.join(", ") })),
    make("p", { className: "stock small" }),
    make(
      "div",
      { className: "buy" },
      make("span", { className: "price number" }),
      make("span", { className: "held small soft" }),
      make("button", { type: "button" }, "Add", make("span", { className: "for-screen-readers", textContent: ` ${product.name}` })),
    ),
  );
  item.dataset.sku = product.sku;
  item.querySelector("button").addEventListener("click", (event) => {
    if (event.currentTarget.getAttribute("aria-disabled") !== "true") add(product.sku);
  });
  return item;
}

function add(sku) {
  const product = products.get(sku);
  if (!put(product, quantityOf(sku) + 1)) {
    basketNotice(`The basket holds prices in ${basket().currency}; ${product.name} is sold in ${product.currency}.`);
    return;
  }
  basketNotice("");
  say(`${product.name} is in the basket: ${quantityOf(sku)}.`);
}

const quantityOf = (sku) => basket().lines.find((line) => line.sku === sku)?.quantity ?? 0;

// ---- the basket --------------------------------------------------------------------------------------------------

function renderBasket() {
  const now = basket();
  const running = purchase();
  const list = $("basket-lines");
  const known = new Map([...list.children].map((item) => [item.dataset.sku, item]));
  let changed = false;
  for (const [nth, line] of now.lines.entries()) {
    const item = known.get(line.sku) ?? basketItem(line);
    known.delete(line.sku);
    if (list.children[nth] !== item) list.insertBefore(item, list.children[nth] ?? null);
    const product = products.get(line.sku);
    const most = Math.min(product?.available ?? MOST, MOST);
    item.querySelector("output").textContent = line.quantity;
    item.querySelector(".sum-of-line").textContent = money(line.quantity * line.unit_price, now.currency);
    item.querySelector(".more").setAttribute("aria-disabled", String(line.quantity >= most));
    const notices = [];
    if (product && product.unit_price !== line.unit_price) {
      changed = true;
      notices.push(`${money(product.unit_price, product.currency)} each now, it was ${money(line.unit_price, now.currency)}.`);
    }
    if (product && product.available < line.quantity) {
      notices.push(product.available > 0 ? `Only ${product.available} left.` : "Sold out by now.");
    }
    item.querySelector(".notice").textContent = notices.join(" ");
    item.querySelector(".notice").hidden = !notices.length;
  }
  const focused = document.activeElement;
  for (const gone of known.values()) {
    if (gone.contains(focused)) $("basket-title").focus();
    gone.remove();
  }
  const things = count(now);
  $("basket-empty").hidden = things > 0 || Boolean(running);
  $("pay-form").hidden = !things && !running;
  $("take-prices").hidden = !changed;
  const sum = things ? money(total(now), now.currency) : "";
  $("basket-total").textContent = running ? money(running.total, running.currency) : sum;
  $("pay").textContent = running ? "Go on with your order" : `Pay ${sum}`;
  $("pay").disabled = changed && !running;
  $("basket-count").textContent = things;
  $("bar").hidden = !things;
  $("bar-count").textContent = `Basket · ${things} ${things === 1 ? "thing" : "things"}`;
  $("bar-total").textContent = sum;
}

function basketItem({ sku, name }) {
  const button = (text, label, by) => {
    const made = make("button", { type: "button", className: `step ${by > 0 ? "more" : "less"}`, textContent: text });
    made.setAttribute("aria-label", `${label}: ${name}`);
    made.addEventListener("click", () => {
      if (made.getAttribute("aria-disabled") === "true") return;
      const line = basket().lines.find((each) => each.sku === sku);
      if (line) put({ ...line, currency: basket().currency }, line.quantity + by);
      const left = quantityOf(sku);
      say(left ? `${name}: ${left} in the basket.` : `${name} is out of the basket.`);
    });
    return made;
  };
  const item = make(
    "li",
    {},
    make("span", { className: "what", textContent: name }),
    make("span", { className: "stepper" }, button("−", "One less", -1), make("output", { className: "number" }), button("+", "One more", 1)),
    make("span", { className: "sum-of-line number" }),
    make("p", { className: "notice", hidden: true }),
  );
  item.dataset.sku = sku;
  return item;
}

function basketNotice(text) {
  $("basket-notice").hidden = !text;
  $("basket-notice").textContent = text;
}

// ---- paying ------------------------------------------------------------------------------------------------------

function pay(event) {
  event.preventDefault();
  if (!purchase() && $("pay").disabled) return;
  begin(new FormData($("pay-form")).get("method")); // changes nothing where a purchase is under way
  if (!purchase()) return;
  basketNotice("");
  history.pushState(null, "", "#paying");
  route();
}

async function buy() {
  const { key } = purchase();
  const elsewhere = () => location.hash !== "#paying" || (purchase() && purchase().key !== key);
  try {
    const orderId = await goOn(tellPurchase);
    if (elsewhere()) return;
    history.replaceState(null, "", orderId ? `#order-${orderId}` : "#basket");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (!elsewhere()) history.replaceState(null, "", "#basket");
    basketNotice(
      error.code === "idempotency_key_reused"
        ? "This basket was already ordered from another tab; look at your orders before you pay again."
        : `The shop did not take this order. ${error.message}`,
    );
  }
  route();
}

// ---- orders of this customer -------------------------------------------------------------------------------------

const STATUSES = {
  received: "on its way",
  processing: "on its way",
  awaiting_payment: "waits for the bank",
  parked: "on hold",
  confirmed: "confirmed",
  rejected: "not confirmed",
  cancelled: "cancelled",
};

async function showOrders() {
  $("orders-text").textContent = "One moment …";
  for (let failures = 0; location.hash === "#orders"; ) {
    try {
      const customer = await customerId();
      const { status, data } = await callAsCustomer("GET", `/orders?limit=50&customer_id=${encodeURIComponent(customer)}`);
      if (status !== 200) throw new Away(data?.code);
      $("orders-list").replaceChildren(...data.orders.map(orderItem));
      $("orders-text").textContent = data.orders.length ? "" : "There are none yet from this browser.";
      return;
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      $("orders-text").textContent = "The shop does not answer just now. We try again by ourselves.";
      await pause(Math.min(2 ** failures++, 15));
    }
  }
}

function orderItem(order) {
  const when = new Date(order.received_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const things = order.lines.reduce((sum, line) => sum + line.quantity, 0);
  const link = make(
    "a",
    { href: `#order-${order.order_id}` },
    make("strong", { className: "number", textContent: order.order_number ?? "No number yet" }),
    make("span", { className: "soft", textContent: `${when} · ${things} ${things === 1 ? "thing" : "things"}` }),
    make("span", { className: "number", textContent: money(order.total, order.currency) }),
    make("span", { className: `status is-${order.status}`, textContent: STATUSES[order.status] ?? order.status }),
  );
  if (!order.order_number && ["rejected", "cancelled"].includes(order.status)) link.firstChild.textContent = order.order_id;
  return make("li", {}, link);
}

// ---- which part is shown -----------------------------------------------------------------------------------------

let view = null;

function route() {
  if (location.hash === "#paying" && !purchase()) {
    // It ended while the page was loaded anew, or in another tab.
    history.replaceState(null, "", lastBought() ? `#order-${lastBought()}` : "#shop");
  }
  const { hash } = location;
  const paying = hash === "#paying";
  const orderId = hash.startsWith("#order-") ? hash.slice("#order-".length) : null;
  const wanted = orderId || paying ? "order" : hash === "#orders" ? "orders" : "shop";
  for (const section of ["shop", "order", "orders"]) $(section).hidden = section !== wanted;
  const title = { shop: "Lanka · shop", orders: "My orders · Lanka" }[wanted];
  if (title) document.title = title;
  if (wanted !== "order") closeOrder();
  if (paying) {
    showPurchase(purchase());
    buy();
  } else if (orderId) {
    showOrder(decodeURIComponent(orderId));
  } else if (wanted === "orders") {
    showOrders();
  } else {
    renderBasket();
  }
  arrive(hash === "#basket" ? "basket" : wanted);
}

/** Focus goes where the page has gone, but not at its first sight. */
function arrive(to) {
  if (view !== null && (view !== to || to === "basket")) {
    if (to === "basket") $("basket").scrollIntoView();
    else scrollTo({ top: 0 });
    $(`${to}-title`).focus({ preventScroll: true });
  }
  view = to;
}

function say(text) {
  const line = document.createElement("p");
  line.textContent = text;
  $("spoken").append(line);
  while ($("spoken").children.length > 20) $("spoken").firstChild.remove();
}

$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which part is shown
  $("main").focus();
});
$("pay-form").addEventListener("submit", pay);
$("take-prices").addEventListener("click", () => {
  accept(products);
  $("pay").focus();
});
$("show-all").addEventListener("click", () => {
  showsAll = !showsAll;
  renderProducts();
});
$("stop-trying").addEventListener("click", () => {
  giveUp(purchase()?.key);
  location.hash = "#basket";
});
// The way down to the basket, for as long as it is not in sight.
new IntersectionObserver(([seen]) => $("bar").classList.toggle("there", seen.isIntersecting)).observe(document.querySelector(".basket"));
onChange(() => {
  renderProducts();
  renderBasket();
});
addEventListener("hashchange", route);
setUp({ products: () => products, refresh: () => loadProducts().catch(() => {}) });

if (purchase() && !location.hash.startsWith("#order-")) history.replaceState(null, "", "#paying");
route();
keepProducts();
