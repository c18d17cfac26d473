// Buys: authorises the payment, then submits the order. Every request may be sent again with the same key, so
// whatever breaks in the middle, going on is safe, here, after a reload or in another tab.

import { Away, call, callAsCustomer, customerId, pause } from "./shop-api.js";
import { bought, giveUp, note, orderOf, purchase } from "./shop-basket.js";

const LONGEST_PAUSE = 15;

export class Refused extends Error {
  /** The shop will not take this purchase, whenever it is sent. */
  constructor(problem) {
    super(problem?.detail ?? "");
    this.code = problem?.code;
  }
}

let running = null;

/** Goes on with the purchase under way until its order is accepted; resolves to the order id, null where it was given
 * up. `tell` hears `{doing, trouble?, after?}`. Raises `Refused`. */
export function goOn(tell) {
  const key = purchase().key;
  if (running?.key !== key) running = { key, accepted: run(key, tell) };
  return running.accepted;
}

async function run(key, tell) {
  for (let failures = 0; ; ) {
    const now = purchase();
    if (now?.key !== key) return orderOf(key); // accepted, or given up; perhaps in another tab
    const doing = now.payment_id ? "order" : "payment";
    tell({ doing });
    try {
      await step(now);
      failures = 0;
    } catch (error) {
      if (!(error instanceof Away)) {
        giveUp(key);
        throw error;
      }
      if (purchase()?.key !== key) continue;
      failures += 1;
      const after = Math.min(error.after ?? 2 ** (failures - 1), LONGEST_PAUSE);
      tell({ doing, trouble: trouble(error), after });
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
    const { status, data } = await callAsCustomer("POST", "/shop/payments", {
      key: now.key,
      body: { amount, currency, method },
    });
    if (status !== 201) throw new Refused(data);
    note(now.key, { payment_id: data.payment_id });
    return;
  }
  if (!now.customer_id) {
    note(now.key, { customer_id: await customerId() });
    return;
  }
  const body = {
    customer_id: now.customer_id,
    payment_id: now.payment_id,
    currency: now.currency,
    lines: now.lines.map(({ sku, quantity, unit_price }) => ({ sku, quantity, unit_price })),
  };
  const { status, data } = await call("POST", "/orders", { key: now.key, body });
  if (status === 401 || data?.code === "other_customer") {
    // The session is over. Sent as somebody else the payment still serves one order only.
    note(now.key, { customer_id: await customerId({ again: true }) });
    return;
  }
  if (status !== 202) throw new Refused(data);
  bought(now.key, data.order_id);
}
