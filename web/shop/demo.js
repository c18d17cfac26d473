// What only a demo has: the customer chooses how the order fares.

import { $ } from "../kit/elements.js";

const MOST = 10_000; // in one line of an order

const chosen = (name) => new FormData($("pay-form")).get(name);

/** The lines that are ordered, where those of the basket are these. */
export function linesToOrder(lines, products) {
  const [first, ...others] = lines;
  const product = products.get(first?.sku);
  if (!product) return lines;
  const { available, unit_price } = product;
  switch (chosen("playing")) {
    case "more_than_left": // as if somebody had been faster
      return [...inLines(first, Math.max(available, 0) + 1), ...others];
    case "old_price": // as if the page were from last week
      return [{ ...first, unit_price: unit_price > 1 ? Math.floor(unit_price * 0.9) : 2 }, ...others];
    default:
      return lines;
  }
}

function inLines(line, quantity) {
  const rest = quantity % MOST;
  const whole = Array.from({ length: Math.floor(quantity / MOST) }, () => ({ ...line, quantity: MOST }));
  return rest ? [...whole, { ...line, quantity: rest }] : whole;
}

/** How the sandbox provider is told to answer. */
export function methodToPay() {
  const method = chosen("method");
  return chosen("playing") === "declined" && method === "card" ? "card_declined" : method;
}

/** `changed` hears of each choice. */
export function setUpDemo(changed) {
  const [good, declined] = $("playing").querySelectorAll("input");
  $("pay-form").addEventListener("change", () => {
    declined.disabled = chosen("method") !== "card"; // of a transfer the bank is played later
    if (declined.disabled && declined.checked) good.checked = true;
    changed();
  });
}
