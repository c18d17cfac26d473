// The shop's page: which part of it is shown, paying, and the orders of this customer.

import { Away, Problem, untilAnswered } from "../kit/api.js";
import { $, h, setText } from "../kit/elements.js";
import { hasText, text } from "../kit/texts.js";
import { date, money } from "../kit/words.js";
import { accept, basket, begin, giveUp, keepLink, keptLinks, lastBought, onChange, purchase } from "./basket.js";
import { basketNotice, renderBasket, setUpBasket } from "./basket-panel.js";
import { linesToOrder, methodToPay, setUpDemo } from "./demo.js";
import { chainOfOrders, closeOrder, setUp, showOrder, showPurchase, tellPurchase } from "./order.js";
import { goOn } from "./purchase.js";
import { callAsCustomer, customerId } from "./session.js";
import { allProducts, keepProducts, loadProducts, renderProducts, setUpShelf } from "./shelf.js";

// ---- paying ------------------------------------------------------------------------------------------------------

function pay(event) {
  event.preventDefault();
  if (!purchase() && $("pay").disabled) return;
  begin(methodToPay(), linesToOrder(basket().lines, allProducts())); // changes nothing where a purchase is under way
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
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (!elsewhere()) history.replaceState(null, "", "#basket");
    const why = `refused.${problem.code}`;
    basketNotice(text(hasText(why) ? why : "refused.other"));
  }
  route();
}

// ---- orders of this customer -------------------------------------------------------------------------------------

async function showOrders() {
  setText($("orders-text"), text("shop.one_moment"));
  const gone = () => location.hash !== "#orders";
  const trouble = () => setText($("orders-text"), text("shop.away"));
  const found = await untilAnswered(ordersOfCustomer, { trouble, over: gone });
  if (!found) return;
  const { mine, others } = found;
  const orders = [...mine, ...others];
  const graph = await chainOfOrders();
  $("orders-list").replaceChildren(...orders.map((order) => orderItem(graph, order)));
  setText($("orders-text"), others.length ? text("orders.forgotten") : orders.length ? "" : text("orders.none"));
}

async function ordersOfCustomer() {
  const customer = encodeURIComponent(await customerId());
  const mine = (await callAsCustomer("GET", `/orders?limit=50&customer_id=${customer}`)).orders;
  const known = new Set(mine.map((order) => order.order_id));
  for (const { order_id, links } of mine) keepLink(order_id, links.page);
  const missing = [...keptLinks()].filter(([orderId]) => !known.has(orderId) && mine.length < 50);
  const others = await Promise.all(missing.map((link) => orderByLink(...link)));
  return { mine, others: others.filter(Boolean).filter((order) => !order.links.cancel) };
}

/** Null where the link is no longer good. */
async function orderByLink(orderId, signature) {
  try {
    const headers = { "Order-Signature": signature };
    return await callAsCustomer("GET", `/orders/${encodeURIComponent(orderId)}`, { headers });
  } catch (problem) {
    if (problem instanceof Away || !(problem instanceof Problem)) throw problem;
    return null;
  }
}

function orderItem(graph, { order_id, order_number, status, reason, received_at, lines, total, currency }) {
  const count = lines.reduce((sum, line) => sum + line.quantity, 0);
  const { title, mood } = graph.status(status);
  const over = graph.end(status);
  // It is the shop that has to do something, and what operators call that is nothing to a customer.
  const open = mood === "bad" ? text("states.parked") : reason ? text("orders.goes_back") : title;
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#order-${encodeURIComponent(order_id)}` },
      h("strong", { class: "number" }, order_number ?? order_id),
      h("span", { class: "soft" }, `${date(received_at)} · ${text("basket.items", { count })}`),
      h("span", { class: "number" }, money(total, currency)),
      h("span", { class: "status", "data-mood": mood }, over ? title : open),
    ),
  );
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
  const [, orderId, signature] = hash.match(/^#order-([^?]+)(?:\?signature=(.*))?$/) ?? [];
  const wanted = orderId || paying ? "order" : hash === "#orders" ? "orders" : "shop";
  for (const section of ["shop", "order", "orders"]) $(section).hidden = section !== wanted;
  if (wanted === "shop") document.title = text("shop.title");
  if (wanted === "orders") document.title = text("orders.tab");
  if (wanted !== "order") closeOrder();
  if (paying) {
    showPurchase(purchase());
    buy();
  } else if (orderId) {
    showOrder(decodeURIComponent(orderId), signature);
  } else if (wanted === "orders") {
    showOrders();
  } else {
    renderBasket(allProducts());
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

$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which part is shown
  $("main").focus();
});
$("pay-form").addEventListener("submit", pay);
$("unfinished").querySelector("button").addEventListener("click", pay);
$("take-prices").addEventListener("click", () => {
  accept(allProducts());
  $("pay").focus();
});
$("stop-trying").addEventListener("click", () => {
  const other = giveUp(purchase()?.key);
  basketNotice(other ? text("basket.replaced", { currency: other }) : "");
  location.hash = "#basket";
});
// The way down to the basket, for as long as it is not in sight.
new IntersectionObserver(([seen]) => $("bar").classList.toggle("there", seen.isIntersecting)).observe(
  document.querySelector(".basket"),
);

function render() {
  renderProducts();
  renderBasket(allProducts());
}
onChange(render);
addEventListener("hashchange", route);
setUpShelf();
setUpBasket();
setUpDemo(render);
setUp({ products: allProducts, refresh: () => loadProducts().catch(() => {}) });

if (purchase() && !location.hash.startsWith("#order-")) history.replaceState(null, "", "#paying");
route();
keepProducts(render);
