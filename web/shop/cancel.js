// Cancels an order: asked for once, it is tried until the shop has decided, wherever the customer is on the page meanwhile.

import { Away, Problem, pause } from "../kit/api.js";
import { cancels, noteCancel } from "./basket.js";
import { callAsCustomer } from "./session.js";

const AGAIN = 2; // seconds
const trying = new Set();

/** Asks for what was asked for and is not decided. `tried(orderId)` hears of each time that the shop was not reached. */
export function goOnCancelling(tried) {
  for (const [orderId, what] of Object.entries(cancels())) {
    if (what !== "asked" || trying.has(orderId)) continue;
    trying.add(orderId);
    untilDecided(orderId, tried).finally(() => trying.delete(orderId));
  }
}

async function untilDecided(orderId, tried) {
  while (cancels()[orderId] === "asked") {
    try {
      const { verdict } = await callAsCustomer("POST", `/orders/${encodeURIComponent(orderId)}/cancel`, { body: {} });
      noteCancel(orderId, verdict);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem instanceof Away) {
        tried(orderId);
        await pause(problem.after ?? AGAIN);
      } else noteCancel(orderId, problem.status === 404 ? "unknown" : "failed");
    }
  }
}
