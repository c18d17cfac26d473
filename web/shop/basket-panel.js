// The basket on the page.

import { $, h, keyed, setAttribute, setText } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { money } from "../kit/words.js";
import { MOST, basket, count, purchase, put, total } from "./basket.js";
import { linesToOrder } from "./demo.js";
import { picture } from "./picture.js";
import { say } from "./spoken.js";

let removed = null; // the line that was taken out last

/** `products`: by SKU, as far as the page knows them. */
export function renderBasket(products) {
  const now = basket();
  const running = purchase();
  const show = (item, line) => showLine(item, line, now.currency, products.get(line.sku));
  keyed($("basket-lines"), now.lines, ({ sku }) => sku, basketItem, show);
  const changed = now.lines.some(
    ({ sku, unit_price }) => products.has(sku) && products.get(sku).unit_price !== unit_price,
  );
  const items = count(now);
  const sum = items ? money(total(now), now.currency) : "";
  $("basket-empty").hidden = items > 0 || Boolean(running);
  $("unfinished").hidden = !running;
  if (running) {
    const values = { count: count({ lines: running.wanted }), amount: money(running.total, running.currency) };
    setText($("unfinished").querySelector("p"), text("basket.unfinished", values));
  }
  $("pay-form").hidden = !items || Boolean(running);
  $("take-prices").hidden = !changed;
  const toOrder = linesToOrder(now.lines, products);
  const amount = items ? money(total({ lines: toOrder }), now.currency) : "";
  const changes = items ? playedChange(now, toOrder) : "";
  $("playing-changes").hidden = !changes;
  setText($("playing-changes"), changes);
  setText($("basket-total"), amount);
  setText($("pay"), text("pay.pay", { amount }));
  $("pay").disabled = changed;
  setText($("basket-count"), String(items));
  $("bar").hidden = !items;
  setText($("bar-count"), text("basket.bar", { count: items }));
  setText($("bar-total"), sum);
  if (removed && (now.lines.some(({ sku }) => sku === removed.sku) || running)) removed = null;
  $("basket-removed").hidden = !removed;
  if (removed) setText($("basket-removed").querySelector("span"), text("basket.removed", removed));
}

/** What a demo orders instead, in words. */
function playedChange({ lines: [first], currency }, ordered) {
  const { name, sku } = first;
  const quantity = ordered.filter((line) => line.sku === sku).reduce((sum, line) => sum + line.quantity, 0);
  if (quantity !== first.quantity) return text("demo.orders_more", { quantity, name });
  const { unit_price } = ordered[0];
  return unit_price === first.unit_price ? "" : text("demo.orders_at", { name, price: money(unit_price, currency) });
}

function showLine(item, { quantity, unit_price }, currency, product) {
  const part = (name) => item.querySelector(name);
  const most = Math.min(product?.available ?? MOST, MOST);
  setText(part("output"), String(quantity));
  setText(part(".each"), text("basket.each", { amount: money(unit_price, currency) }));
  setText(part(".sum-of-line"), money(quantity * unit_price, currency));
  setAttribute(part(".less"), "aria-disabled", quantity <= 1);
  setAttribute(part(".more"), "aria-disabled", quantity >= most);
  const notices = quantity >= MOST ? [text("basket.most", { most: MOST })] : [];
  if (product && product.unit_price !== unit_price) {
    const [now, before] = [money(product.unit_price, product.currency), money(unit_price, currency)];
    notices.push(text("basket.new_price", { now, before }));
  }
  if (product && product.available < quantity) {
    notices.push(product.available > 0 ? text("stock.left", { left: product.available }) : text("stock.gone"));
  }
  setText(part(".notice"), notices.join(" "));
  part(".notice").hidden = !notices.length;
}

function basketItem(line) {
  const { sku, name } = line;
  const remove = h("button", { type: "button", class: "quiet remove", "aria-label": text("basket.remove_this", line) });
  remove.textContent = text("basket.remove");
  remove.addEventListener("click", () => takeOut(sku));
  return h(
    "li",
    {},
    picture(line),
    h("span", { class: "what" }, name, h("small", { class: "each number" })),
    h(
      "span",
      { class: "stepper", role: "group", "aria-label": text("basket.quantity", line) },
      stepButton("−", "basket.less", -1, line),
      h("output", { class: "number", "aria-live": "off" }), // it is said by name
      stepButton("+", "basket.more", 1, line),
    ),
    remove,
    h("span", { class: "sum-of-line number" }),
    h("p", { class: "notice", hidden: true }),
  );
}

function stepButton(sign, label, by, { sku, name }) {
  const button = h(
    "button",
    { type: "button", class: `step ${by > 0 ? "more" : "less"}`, "aria-label": text(label, { name }) },
    sign,
  );
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") {
      // It keeps the focus, which a disabled one loses.
      const why = button.closest("li").querySelector(".notice").textContent;
      if (by > 0 && why) say(why);
      return;
    }
    const { currency, lines } = basket();
    const line = lines.find((each) => each.sku === sku);
    if (!line) return;
    put({ ...line, currency }, line.quantity + by);
    say(text("basket.added", { name, held: line.quantity + by }));
  });
  return button;
}

/** Takes a product out; the focus goes to the button that puts it back. */
function takeOut(sku) {
  const { currency, lines } = basket();
  const line = lines.find((each) => each.sku === sku);
  if (!line) return;
  removed = { ...line, currency };
  put(removed, 0);
  say(text("basket.removed", removed));
  $("basket-removed").querySelector("button").focus();
}

function putBack() {
  const line = removed;
  if (!line) return;
  if (!put(line, line.quantity)) return basketNotice(text("basket.other_currency", { currency: basket().currency }));
  say(text("basket.added", { name: line.name, held: line.quantity }));
  [...$("basket-lines").children]
    .find((item) => item.dataset.key === line.sku)
    ?.querySelector(".remove")
    .focus();
}

export function setUpBasket() {
  $("basket-removed").querySelector("button").addEventListener("click", putBack);
}

export function basketNotice(message) {
  $("basket-notice").hidden = !message;
  setText($("basket-notice"), message);
}
