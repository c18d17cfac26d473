// The basket on the page.

import { $, h, keyed, setText } from "../kit/elements.js";
import { many, money } from "../kit/words.js";
import { basket, count, purchase, put, quantityOf, total } from "./basket.js";

export const MOST = 99; // of one product

/** `products`: by SKU, as far as the page knows them. */
export function renderBasket(products) {
  const now = basket();
  const running = purchase();
  const leave = (item) => item.contains(document.activeElement) && $("basket-title").focus();
  const show = (item, line) => showLine(item, line, now.currency, products.get(line.sku));
  keyed($("basket-lines"), now.lines, ({ sku }) => sku, basketItem, show, leave);
  const changed = now.lines.some(
    ({ sku, unit_price }) => products.has(sku) && products.get(sku).unit_price !== unit_price,
  );
  const items = count(now);
  const sum = items ? money(total(now), now.currency) : "";
  $("basket-empty").hidden = items > 0 || Boolean(running);
  $("pay-form").hidden = !items && !running;
  $("take-prices").hidden = !changed;
  setText($("basket-total"), running ? money(running.total, running.currency) : sum);
  setText($("pay"), running ? "Go on with your order" : `Pay ${sum}`);
  $("pay").disabled = changed && !running;
  setText($("basket-count"), String(items));
  $("bar").hidden = !items;
  setText($("bar-count"), `Basket · ${many(items, "item")}`);
  setText($("bar-total"), sum);
}

function showLine(item, { quantity, unit_price }, currency, product) {
  const part = (name) => item.querySelector(name);
  const most = Math.min(product?.available ?? MOST, MOST);
  setText(part("output"), String(quantity));
  setText(part(".sum-of-line"), money(quantity * unit_price, currency));
  part(".more").setAttribute("aria-disabled", String(quantity >= most));
  const notices = [];
  if (product && product.unit_price !== unit_price) {
    notices.push(`${money(product.unit_price, product.currency)} each now, it was ${money(unit_price, currency)}.`);
  }
  if (product && product.available < quantity) {
    notices.push(product.available > 0 ? `Only ${product.available} left.` : "Sold out by now.");
  }
  setText(part(".notice"), notices.join(" "));
  part(".notice").hidden = !notices.length;
}

function basketItem({ sku, name }) {
  const stepper = [
    stepButton("−", "One less", -1, sku, name),
    h("output", { class: "number" }),
    stepButton("+", "One more", 1, sku, name),
  ];
  return h(
    "li",
    {},
    h("span", { class: "what" }, name),
    h("span", { class: "stepper" }, stepper),
    h("span", { class: "sum-of-line number" }),
    h("p", { class: "notice", hidden: true }),
  );
}

function stepButton(text, label, by, sku, name) {
  const button = h(
    "button",
    { type: "button", class: `step ${by > 0 ? "more" : "less"}`, "aria-label": `${label}: ${name}` },
    text,
  );
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    const { currency, lines } = basket();
    const line = lines.find((each) => each.sku === sku);
    if (line) put({ ...line, currency }, line.quantity + by);
    const left = quantityOf(sku);
    say(left ? `${name}: ${left} in the basket.` : `${name} is out of the basket.`);
  });
  return button;
}

export function basketNotice(text) {
  $("basket-notice").hidden = !text;
  setText($("basket-notice"), text);
}

/** To those who hear the page. */
export function say(text) {
  $("spoken").append(h("p", {}, text));
  while ($("spoken").children.length > 20) $("spoken").firstChild.remove();
}
