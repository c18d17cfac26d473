// Follows an order: looks at it when the live stream tells something new, and now and then where the stream does not hold.

import { Away, Problem } from "../kit/api.js";
import { callAsCustomer } from "./session.js";

const LOST_FOR = 4_000; // then we ask, and the customer hears that the connection is lost
const ASK_EVERY = 5_000;
const hidden = () => document.visibilityState === "hidden";
const SILENT_FOR = 20_000; // a phone that slept may hold a stream that is dead and does not know it

/** `types`: of the events that the stream may tell. `signature`: for whoever has come by a link; it must not stand in an
 * address that is logged, so without a stream we ask. Calls `hear(order)` with each answer, which says whether that was
 * the last; `connection(ok)`; `unknown()` where there is no such order for this customer. Returns how to stop. */
export function follow(orderId, types, signature, { hear, connection, unknown }) {
  const path = `/orders/${encodeURIComponent(orderId)}`;
  let source = null;
  let over = false;
  let connected = false;
  let heardAt = Date.now();
  let lostAt = Date.now();
  let askedAt = 0;
  let asking = false;
  let again = false;

  function becomes(ok) {
    if (!ok && connected) lostAt = Date.now();
    connected = ok;
    if (ok) connection(true);
  }

  function connect() {
    source?.close();
    source = null;
    if (signature !== undefined || hidden()) return;
    const mine = new EventSource(`${path}/events`);
    source = mine;
    mine.onopen = () => becomes(true);
    mine.onerror = () => {
      if (over || source !== mine) return;
      becomes(false);
      if (mine.readyState !== EventSource.CLOSED) return; // it tries again by itself
      source = null;
      ask();
    };
    for (const type of types) mine.addEventListener(type, ask);
  }

  /** Never twice at once; what is told meanwhile is asked for afterwards. */
  async function ask() {
    again = true;
    if (asking) return;
    asking = true;
    while (again && !over) {
      again = false;
      await look();
    }
    asking = false;
  }

  async function look() {
    try {
      const headers = signature === undefined ? {} : { "Order-Signature": signature };
      const order = await callAsCustomer("GET", path, { headers });
      if (over) return;
      heardAt = Date.now();
      connection(true);
      if (hear(order)) stop();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (over) return;
      if (problem instanceof Away) return connection(false);
      stop();
      unknown();
    }
  }

  const timer = setInterval(() => {
    const now = Date.now();
    const lost = !connected && !hidden() && now - lostAt > LOST_FOR;
    const silent = now - heardAt > SILENT_FOR;
    if ((!lost && !silent) || now - askedAt < (lost ? ASK_EVERY : SILENT_FOR)) return;
    askedAt = now;
    ask();
    if (!source) connect();
  }, 1000);

  /** A hidden page gives its stream up, for a browser has few connections to one server, and asks now and then. */
  function looked() {
    if (hidden()) {
      source?.close();
      source = null;
      connected = false;
      lostAt = Date.now();
      return;
    }
    lostAt = Date.now();
    ask();
    if (!source || source.readyState === EventSource.CLOSED) connect();
  }
  function online() {
    connect(); // the old one may be dead without knowing it
    ask();
  }
  function offline() {
    becomes(false);
    connection(false);
  }
  addEventListener("online", online);
  addEventListener("offline", offline);
  document.addEventListener("visibilitychange", looked);

  function stop() {
    over = true;
    source?.close();
    clearInterval(timer);
    removeEventListener("online", online);
    removeEventListener("offline", offline);
    document.removeEventListener("visibilitychange", looked);
    connection(true);
  }

  connect();
  ask();
  return stop;
}
