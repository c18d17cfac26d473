// Follows an order: its events as they come, by the live stream, and by asking where the stream does not hold.

import { Away, callAsCustomer } from "./shop-api.js";

const TYPES = [
  "OrderReceived", "PaymentPending", "PaymentConfirmed", "PaymentDeclined", "StockReserved", "CartUnavailable",
  "PriceConfirmed", "PriceChanged", "CartConfirmed", "OrderConfirmed", "StockReleased", "PaymentRefunded",
  "OrderRejected", "OrderWithdrawn", "OrderCancelled", "OrderParked", "OrderReleased", "PaymentArrivedLate",
]; // prettier-ignore
const ENDS = new Set(["lanka.OrderConfirmed", "lanka.OrderRejected", "lanka.OrderCancelled"]);

const LOST_FOR = 4_000; // then we ask, and the customer hears that the connection is lost
const ASK_EVERY = 5_000;
const SILENT_FOR = 20_000; // a phone that slept may hold a stream that is dead and does not know it

/** Calls `hear(events)` with all events, each once, whenever there are new ones; `connection(ok)`; `unknown()` where
 * there is no such order for this customer. Returns how to stop. */
export function follow(orderId, { hear, connection, unknown }) {
  const path = `/orders/${encodeURIComponent(orderId)}/events`;
  const events = new Map();
  let source = null;
  let over = false;
  let connected = false;
  let heardAt = Date.now();
  let lostAt = Date.now();
  let asking = false;

  function take(news) {
    heardAt = Date.now();
    const before = events.size;
    for (const event of news) events.set(`${event.source} ${event.id}`, event);
    if (events.size > before) hear([...events.values()]);
    if ([...events.values()].some((event) => ENDS.has(event.type))) stop();
  }

  function becomes(ok) {
    if (!ok && connected) lostAt = Date.now();
    connected = ok;
    if (ok) connection(true);
  }

  function connect() {
    source?.close();
    const mine = new EventSource(path);
    source = mine;
    mine.onopen = () => becomes(true);
    mine.onerror = () => {
      if (over || source !== mine) return;
      becomes(false);
      if (mine.readyState !== EventSource.CLOSED) return; // it tries again by itself
      source = null;
      ask();
    };
    for (const type of TYPES) mine.addEventListener(`lanka.${type}`, (message) => take([JSON.parse(message.data)]));
  }

  async function ask() {
    if (asking || over) return;
    asking = true;
    try {
      const { status, data } = await callAsCustomer("GET", path);
      if (over) return;
      if (status === 200) {
        take(data);
        connection(true);
      } else if (status === 404 || status === 422) {
        stop();
        unknown();
      }
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      if (!over) connection(false);
    } finally {
      asking = false;
    }
  }

  let askedAt = 0;
  const timer = setInterval(() => {
    const now = Date.now();
    const lost = !connected && now - lostAt > LOST_FOR;
    const silent = now - heardAt > SILENT_FOR;
    if ((!lost && !silent) || now - askedAt < (lost ? ASK_EVERY : SILENT_FOR)) return;
    askedAt = now;
    ask();
    if (!source) connect();
  }, 1000);

  function wake() {
    if (over || document.visibilityState === "hidden") return;
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
  document.addEventListener("visibilitychange", wake);

  function stop() {
    over = true;
    source?.close();
    clearInterval(timer);
    removeEventListener("online", online);
    removeEventListener("offline", offline);
    document.removeEventListener("visibilitychange", wake);
    connection(true);
  }

  connect();
  return stop;
}
