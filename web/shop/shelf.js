// The shelf: what is for sale, asked for anew whenever somebody looks at the page again.

import { Problem, pause } from "../kit/api.js";
import { $, h, keyed, setAttribute, setText } from "../kit/elements.js";
import { LOCALE, text } from "../kit/texts.js";
import { money } from "../kit/words.js";
import { MOST, basket, put, quantityOf } from "./basket.js";
import { SHELF, picture } from "./picture.js";
import { callAsCustomer } from "./session.js";
import { say } from "./spoken.js";

const FIRST = 12; // products shown before somebody asks for all
const LOOK_AGAIN = 60_000; // milliseconds

let products = new Map();
let showsAll = false;
let listen = () => {};

/** By SKU, as far as the page knows them. */
export const allProducts = () => products;

export async function loadProducts() {
  const place = ({ sku }) => (SHELF.includes(sku) ? SHELF.indexOf(sku) : SHELF.length);
  const all = await callAsCustomer("GET", "/catalogue");
  all.sort((a, b) => place(a) - place(b) || a.name.localeCompare(b.name, LOCALE));
  products = new Map(all.map((product) => [product.sku, product]));
  listen();
}

/** Loads them now and again; `changed` hears of it. */
export async function keepProducts(changed) {
  listen = changed;
  for (let failures = 0; ;) {
    try {
      await loadProducts();
      failures = 0;
      $("catalogue-trouble").hidden = true;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      failures += 1;
      $("catalogue-trouble").hidden = false;
      setText($("catalogue-trouble"), text("shop.away"));
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

export function renderProducts() {
  const all = [...products.values()];
  keyed($("products"), showsAll ? all : all.slice(0, FIRST), ({ sku }) => sku, productItem, showProduct);
  $("show-all").hidden = all.length <= FIRST;
  setText($("show-all"), showsAll ? text("catalogue.fewer") : text("catalogue.all", { all: all.length }));
  $("show-all").setAttribute("aria-expanded", String(showsAll));
}

function showProduct(item, { sku, unit_price, currency, available }) {
  const held = quantityOf(sku);
  const now = basket();
  const foreign = now.lines.length > 0 && now.currency !== currency; // an order has one currency
  const part = (name) => item.querySelector(name);
  setText(part(".price"), money(unit_price, currency));
  setAttribute(part("button"), "aria-disabled", foreign || available <= held || held >= MOST);
  item.classList.toggle("sold-out", available <= 0);
  const few = available > 0 && available <= 5;
  setText(part(".stock"), available <= 0 ? text("stock.none") : few ? text("stock.left", { left: available }) : "");
  const apart = foreign ? text("basket.other_currency", { currency: now.currency }) : "";
  setText(
    part(".held"),
    held >= MOST ? text("basket.most", { most: MOST }) : held ? text("basket.holds", { held }) : apart,
  );
}

function productItem(product) {
  const [name, ...details] = product.name.split(", ");
  const button = h("button", { type: "button", "aria-label": text("basket.add_this", product) }, text("basket.add"));
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") add(product.sku);
    else say(button.closest("li").querySelector(".held").textContent);
  });
  return h(
    "li",
    { class: "product" },
    picture(product),
    h("h3", {}, name, h("small", {}, details.join(", "))),
    h("p", { class: "stock small" }),
    h("div", { class: "buy" }, h("span", { class: "price number" }), button),
    h("p", { class: "held small soft" }),
  );
}

function add(sku) {
  const product = products.get(sku);
  if (put(product, quantityOf(sku) + 1)) say(text("basket.added", { name: product.name, held: quantityOf(sku) }));
}

export function setUpShelf() {
  $("show-all").addEventListener("click", () => {
    showsAll = !showsAll;
    renderProducts();
    const shown = [...$("products").children];
    say(text("catalogue.shown", { all: shown.length }));
    if (showsAll) shown[FIRST].querySelector("button").focus();
  });
}
