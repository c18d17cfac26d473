// Where everything is on this page: addresses that can be shared, opened in another tab, and gone back to.

import { h } from "../kit/elements.js";

/** The page of a subject; orders have one of their own. */
export function addressOf(chain, subject) {
  const id = encodeURIComponent(subject);
  return chain === "orders" ? `#/orders/${id}` : `#/subjects/${encodeURIComponent(chain)}/${id}`;
}

/** Everything that is found for a customer or a payment. */
export const ordersOf = (text) => h("a", { class: "id", href: listOf({ q: text }) }, text);

/** The list behind a number, by what the API filters by: `chain`, `link`, `state`, `status`, `reason`, and more. */
export function listOf(filters) {
  const query = queryOf(filters);
  return query ? `#/list?${query}` : "#/list";
}

/** Without what is empty. */
export const queryOf = (filters) =>
  new URLSearchParams(Object.entries(filters).filter(([, value]) => value)).toString();
