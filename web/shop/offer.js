// What could be ordered instead of an order that was refused.

import { text } from "../kit/texts.js";
import { money } from "../kit/words.js";
import { MOST, merged } from "./basket.js";

export const nameOf = (sku, order, products) =>
  products.get(sku)?.name ?? order.lines.find((line) => line.sku === sku)?.name ?? sku;

/** `{lines, differences, verb}`: for the basket, how they differ from the order's in sentences, and what to call it. */
export function offer(order, products) {
  const differences = [];
  const lines = [];
  let verb = "again.same";
  for (const line of merged(order.lines)) {
    const now = products.get(line.sku);
    const name = nameOf(line.sku, order, products);
    if (products.size && !now) {
      differences.push(text("again.not_sold", { name }));
      verb = "again.rest";
      continue;
    }
    const { unit_price, available } = now ?? { unit_price: line.unit_price, available: line.quantity };
    if (available < line.quantity) {
      const left = { name, left: available, wanted: line.quantity };
      differences.push(available > 0 ? text("again.left", left) : text("again.sold_out", { name }));
      verb = "again.rest";
    }
    if (unit_price !== line.unit_price) {
      const [price, before] = [money(unit_price, now.currency), money(line.unit_price, order.currency)];
      differences.push(text("again.price", { name, price, before }));
      verb = "again.new_price";
    }
    const quantity = Math.min(line.quantity, Math.max(available, 0), MOST);
    if (quantity < Math.min(line.quantity, available)) differences.push(text("basket.most", { most: MOST }));
    if (quantity) lines.push({ sku: line.sku, name, quantity, unit_price });
  }
  if (products.size && lines.length && !differences.length) differences.push(text("again.as_before"));
  return { lines, differences, verb };
}
