// What things are called on the page.

export const LINKS = {
  received: "Received",
  payment: "Payment",
  settlement: "Settlement",
  cart: "Cart",
  price: "Price",
  finalize: "Finalize",
  release: "Release stock",
  refund: "Refund",
  reject: "Reject",
  "late-refund": "Refund late money",
  confirmed: "Confirmed",
  rejected: "Rejected",
  cancelled: "Cancelled",
};

export const STATUS = {
  received: "Received",
  processing: "On its way",
  awaiting_payment: "Awaiting payment",
  parked: "Parked",
  confirmed: "Confirmed",
  rejected: "Rejected",
  cancelled: "Cancelled",
};

export const MOODS = {
  received: "busy",
  processing: "busy",
  awaiting_payment: "wait",
  parked: "bad",
  confirmed: "good",
  rejected: "soft",
  cancelled: "soft",
};

export const EVENTS = {
  OrderReceived: "Received",
  PaymentPending: "Payment is pending",
  PaymentConfirmed: "Payment confirmed",
  PaymentDeclined: "Payment refused",
  StockReserved: "Stock reserved",
  CartUnavailable: "Not in stock",
  PriceConfirmed: "Price confirmed",
  PriceChanged: "Price has changed",
  CartConfirmed: "All checks passed",
  OrderConfirmed: "Confirmed",
  OrderRejected: "Rejected",
  OrderCancelled: "Cancelled",
  OrderWithdrawn: "Taken back",
  OrderParked: "Parked",
  OrderReleased: "Released",
  StockReleased: "Stock released",
  PaymentRefunded: "Money given back",
  PaymentArrivedLate: "Money arrived late",
};

/** `unexpected_answer` is for programs, `unexpected answer` for people. */
export const words = (code) => code.replaceAll("_", " ");

export const count = (number) => number.toLocaleString("en");

export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

/** From minor units. */
export function money(amount, currency) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

export const clock = (moment) =>
  new Date(moment).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const day = (moment) =>
  new Date(moment).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** Seconds as precisely as they matter: 8 ms, 0.42 s, 3.1 s, then in words of the clock. */
export function took(seconds) {
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 0.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  return null;
}

export function broken(faults) {
  const percent = (rate) => `${Math.round(rate * 100)} %`;
  return [
    faults.down && "down",
    faults.latency_ms && `${count(faults.latency_ms)} ms slow`,
    faults.error_rate && `errors ${percent(faults.error_rate)}`,
    faults.timeout_rate && `timeouts ${percent(faults.timeout_rate)}`,
    faults.garbage_rate && `garbage ${percent(faults.garbage_rate)}`,
  ].filter(Boolean);
}
