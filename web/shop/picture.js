// The pictures of the products: drawings for those that we have one of, the first letter for the others.

import { h, svg } from "../kit/elements.js";

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

/** The SKUs that have a drawing, in the order of the shelf. */
export const SHELF = Object.keys(DRAWINGS);

export function picture({ sku, name }) {
  const tint = TINTS[[...sku].reduce((sum, character) => sum + character.charCodeAt(0), 0) % TINTS.length];
  const [drawing, colours] = (DRAWINGS[sku] ?? ` ${tint}`).split(" ");
  const drawn = drawing
    ? svg("svg", { viewBox: "0 0 120 120" }, svg("use", { href: `/static/shop/products.svg#${drawing}` }))
    : h("span", { class: "letter" }, [...name][0].toUpperCase());
  return h("div", { class: `picture tint-${colours}`, "aria-hidden": "true" }, drawn);
}
