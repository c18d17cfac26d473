// Who the customer of this browser is: the API keeps that in a cookie.

import { call } from "../kit/api.js";

let customer = null;

export async function customerId({ again = false } = {}) {
  if (again || !customer) customer = (await call("POST", "/shop/session")).customer_id;
  return customer;
}

/** As `call`, with a new session where the old one is over. */
export async function callAsCustomer(...args) {
  await customerId();
  try {
    return await call(...args);
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    await customerId({ again: true });
    return call(...args);
  }
}
