// The shelf: what is for sale, asked for anew whenever somebody looks at the page again.

import { Problem, pause } from "../kit/api.js";
import { $, h, keyed, setText, svg } from "../kit/elements.js";
import { money } from "../kit/words.js";
import { basket, put, quantityOf } from "./basket.js";
import { MOST, basketNotice, say } from "./basket-panel.js";
import { callAsCustomer } from "./session.js";

const FIRST = 12; // products shown before somebody asks for all
const LOOK_AGAIN = 60_000; // milliseconds

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

let products = new Map();
let showsAll = false;
let listen = () => {};

/** By SKU, as far as the page knows them. */
export const allProducts = () => products;

export async function loadProducts() {
  const place = ({ sku }) => (SHELF.includes(sku) ? SHELF.indexOf(sku) : SHELF.length);
  const all = await callAsCustomer("GET", "/catalogue");
  all.sort((a, b) => place(a) - place(b) || a.name.localeCompare(b.name));
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
      setText($("catalogue-trouble"), "The shop does not answer just now. We try again by ourselves.");
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
  const tint = TINTS[[...sku].reduce((sum, character) => sum + character.charCodeAt(0), 0) % TINTS.length];
  const [drawing, colours] = (DRAWINGS[sku] ?? ` ${tint}`).split(" ");
  const drawn = drawing
    ? svg("svg", { viewBox: "0 0 120 120" }, svg("use", { href: `/static/shop/products.svg#${drawing}` }))
    : h("span", { class: "letter" }, [...name][0].toUpperCase());
  return h("div", { class: `picture tint-${colours}`, "aria-hidden": "true" }, drawn);
}

export function renderProducts() {
  const all = [...products.values()];
  keyed($("products"), showsAll ? all : all.slice(0, FIRST), ({ sku }) => sku, productItem, showProduct);
  $("show-all").hidden = all.length <= FIRST;
  setText($("show-all"), showsAll ? "Show fewer" : `Show all ${all.length} products`);
  $("show-all").setAttribute("aria-expanded", String(showsAll));
}

function showProduct(item, { sku, unit_price, currency, available }) {
  const held = quantityOf(sku);
  const part = (name) => item.querySelector(name);
  setText(part(".price"), money(unit_price, currency));
  part("button").setAttribute("aria-disabled", String(available <= held || held >= MOST));
  item.classList.toggle("sold-out", available <= 0);
  setText(part(".stock"), available <= 0 ? "Sold out" : available <= 5 ? `Only ${available} left` : "");
  setText(part(".held"), held ? `${held} in the basket` : "");
}

function productItem(product) {
  const [name, ...details] = product.name.split(", ");
  const button = h("button", { type: "button" }, "Add", h("span", { class: "for-screen-readers" }, ` ${product.name}`));
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") add(product.sku);
  });
  const price = h("span", { class: "price number" });
  return h(
    "li",
    { class: "product" },
    picture(product),
    h("h3", {}, name, h("small", {}, details.join(", "))),
    h("p", { class: "stock small" }),
    h("div", { class: "buy" }, h("div", {}, price, h("span", { class: "held small soft" })), button),
  );
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

export function setUpShelf() {
  $("show-all").addEventListener("click", () => {
    showsAll = !showsAll;
    renderProducts();
  });
}
