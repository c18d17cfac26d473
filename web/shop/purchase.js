// Buys: authorises the payment, then submits the order. Every request may be sent again with the same key, so
// whatever breaks in the middle, going on is safe, here, after a reload or in another tab.

import { Away, call, pause } from "../kit/api.js";
import { bought, giveUp, keepLink, note, orderOf, purchase } from "./basket.js";
import { callAsCustomer, customerId } from "./session.js";

const LONGEST_PAUSE = 15; // seconds

let running = null;

/** Goes on with the purchase under way until its order is accepted; resolves to the order id, null where it was given
 * up. `tell` hears `{doing, trouble?, after?}`. Throws the `Problem` for which the shop will never take it. */
export function goOn(tell) {
  const key = purchase().key;
  if (running?.key !== key) running = { key, accepted: run(key, tell) };
  return running.accepted;
}

async function run(key, tell) {
  for (let failures = 0; ;) {
    const now = purchase();
    if (now?.key !== key) return orderOf(key); // accepted, or given up; perhaps in another tab
    const doing = now.payment_id ? "ordering" : "paying";
    if (!failures) tell({ doing }); // what is in the way stays said until it is gone
    try {
      await step(now);
      failures = 0;
    } catch (problem) {
      if (!(problem instanceof Away)) {
        giveUp(key);
        throw problem;
      }
      if (purchase()?.key !== key) continue;
      failures += 1;
      const after = Math.min(problem.after ?? 2 ** (failures - 1), LONGEST_PAUSE);
      tell({ doing, trouble: trouble(problem), after });
      await pause(after);
    }
  }
}

function trouble(away) {
  if (!navigator.onLine) return "offline";
  if (!away.code) return "away";
  if (away.code.startsWith("payments_")) return away.code;
  return away.after === undefined ? "away" : "busy";
}

async function step(now) {
  if (!now.payment_id) {
    const { total: amount, currency, method } = now;
    const payment = await callAsCustomer("POST", "/shop/payments", {
      key: now.key,
      body: { amount, currency, method },
    });
    note(now.key, { payment_id: payment.payment_id });
  } else if (!now.customer_id) {
    note(now.key, { customer_id: await customerId() });
  } else {
    await submit(now);
  }
}

async function submit({ key, customer_id, payment_id, currency, lines }) {
  const wanted = lines.map(({ sku, quantity, unit_price }) => ({ sku, quantity, unit_price }));
  try {
    const order = await call("POST", "/orders", { key, body: { customer_id, payment_id, currency, lines: wanted } });
    keepLink(order.order_id, order.links.page);
    bought(key, order.order_id);
  } catch (problem) {
    if (problem.status !== 401 && problem.code !== "other_customer") throw problem;
    // The session is over. Sent as somebody else the payment still serves one order only.
    note(key, { customer_id: await customerId({ again: true }) });
  }
}
