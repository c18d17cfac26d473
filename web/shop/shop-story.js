// What the journal of an order tells its customer. No page in here: events in, words and states out.

import { money } from "./shop-money.js";

export const LINKS = ["payment", "cart", "price", "finalize"];

const NAMES = { payment: "payment", cart: "stock", price: "price", finalize: "finalising" };

const WHY = {
  payment_not_found: "The payment provider does not know this payment.",
  payment_declined: "The bank has declined the payment.",
  payment_amount_mismatch: "The amount that was paid is not what the order comes to.",
  payment_currency_mismatch: "It was paid in another currency than the order’s.",
  payment_already_used: "This payment already belongs to another order.",
  payment_expired: "The bank’s permission to take the money ran out.",
  payment_timeout: "The bank did not confirm the payment in time.",
  unknown_sku: "Something in the basket is no longer sold.",
  out_of_stock: "Somebody was faster: there is not enough left of what you ordered.",
  price_changed: "A price has changed since you saw it.",
  cancelled_by_customer: "You have cancelled this order.",
  rejected_by_operator: "Somebody in the shop has looked at it and could not let it through.",
};

export const why = (reason) => WHY[reason] ?? "The shop could not confirm it.";

const short = (event) => event.type.replace(/^lanka\./, "");
const linkOf = (event) => event.source.replace(/^\/lanka\//, "");

/** `events` as the journal gives them, each once. */
export function story(events) {
  const of = (type) => events.find((event) => short(event) === type);
  const received = of("OrderReceived");
  const order = received?.data.order;
  const paid = of("PaymentConfirmed");
  const pending = of("PaymentPending");
  const confirmed = of("OrderConfirmed");
  const withdrawn = of("OrderWithdrawn");
  const end = confirmed ?? of("OrderRejected") ?? of("OrderCancelled");
  const declined = of("PaymentDeclined");
  const declinedLate = declined && linkOf(declined) === "finalize" ? declined : undefined;
  const refusals = { cart: of("CartUnavailable"), price: of("PriceChanged"), finalize: declinedLate };
  refusals.payment = declinedLate ? undefined : declined;
  const refused = withdrawn ?? declined ?? refusals.cart ?? refusals.price ?? (confirmed ? undefined : end);
  const parked = parkedNow(events, end);

  const made = { payment: paid, cart: of("StockReserved"), price: of("PriceConfirmed"), finalize: confirmed };
  const begun = {
    payment: received,
    cart: paid,
    price: paid,
    finalize: made.cart && made.price && later(made.cart, made.price),
  };
  const undone = { payment: of("PaymentRefunded"), cart: of("StockReleased") };

  const links = Object.fromEntries(LINKS.map((name) => [name, { ...link(name), name }]));

  function link(name) {
    const waitsInParking = parked && !refused && parked.data.stage === name;
    if (refusals[name]) return { state: "refused", at: refusals[name].time, since: begun[name]?.time };
    if (made[name]) {
      const back = refused && undone[name];
      return { state: back ? "undone" : "done", at: (back || made[name]).time, since: begun[name]?.time };
    }
    if (refused) return { state: "stopped" };
    if (waitsInParking) return { state: "parked", at: parked.time };
    if (name === "payment" && pending) return { state: "awaiting", at: pending.time };
    return begun[name] ? { state: "working", at: begun[name].time } : { state: "waiting" };
  }

  const told = {
    order,
    links,
    events,
    ended: Boolean(end),
    number: confirmed?.data.order_number,
    reason: refused?.data.reason,
    detail: refused?.data.detail,
    parked: parked?.data,
    deadline: pending && !paid && !refused ? pending.data.deadline : undefined,
    cancellable: Boolean(received) && !refused && !end,
    since: received?.time,
    until: end?.time,
  };
  told.status = status();
  return { ...told, ...words(told), money: moneyWords() };

  function status() {
    if (confirmed) return "confirmed";
    if (end) return short(end) === "OrderCancelled" ? "cancelled" : "rejected";
    if (refused) return "going_back";
    if (parked) return "parked";
    if (told.deadline) return "awaiting_payment";
    return received ? "processing" : "sending";
  }

  function moneyWords() {
    if (!order) return null;
    const amount = money(order.total, order.currency);
    if (confirmed) return { mood: "good", text: `${amount} was taken, once.` };
    if (!refused) return null;
    const reserved = paid?.data.payment.status === "authorized";
    if (undone.payment) {
      return reserved
        ? { mood: "good", text: `Nothing was taken. The ${amount} reserved on your account is free again.` }
        : { mood: "good", text: `${amount} has been given back to you.` };
    }
    const held = paid && !declinedLate;
    if (held && !end) {
      if (parked) return { mood: "wait", text: `${amount} goes back to you. It got stuck, and somebody is looking at it.` };
      return reserved
        ? { mood: "wait", text: `Nothing was taken. The ${amount} reserved on your account is being let go.` }
        : { mood: "wait", text: `${amount} is being given back to you.` };
    }
    if (end) return { mood: "good", text: "Nothing was taken." };
    return { mood: "wait", text: "Whatever was reserved or taken is being given back." };
  }
}

function later(one, other) {
  return one.time > other.time ? one : other;
}

/** The parking that nobody has ended yet. */
function parkedNow(events, end) {
  const open = new Map();
  for (const event of [...events].sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0))) {
    if (short(event) === "OrderParked") open.set(event.data.link, event);
    else if (short(event) === "OrderReleased") open.delete(event.data.link);
    else open.delete(linkOf(event));
  }
  return end ? undefined : [...open.values()].at(-1);
}

function words({ status, links, reason, deadline }) {
  switch (status) {
    case "confirmed":
      return { headline: "Your order is confirmed", text: "Every link has closed. Thank you." };
    case "cancelled":
      return { headline: "Your order is cancelled", text: why(reason) };
    case "rejected":
      return { headline: "We could not confirm your order", text: why(reason) };
    case "going_back":
      return {
        headline: reason === "cancelled_by_customer" ? "Cancelling your order" : "We cannot confirm your order",
        text: why(reason),
      };
    case "parked":
      return {
        headline: "Somebody is looking at it",
        text: "Something went wrong on our side. Your order is kept where it is, and goes on when a person has looked.",
      };
    case "awaiting_payment":
      return {
        headline: "Waiting for your bank",
        text: `The transfer is on its way. We wait for your bank to confirm it until ${clock(deadline)}.`,
      };
    case "sending":
      return { headline: "Sending your order", text: "" };
    default:
      return underway(links);
  }
}

function underway(links) {
  if (links.finalize.state === "working") {
    return { headline: "Finishing your order", text: "Everything is there. The money is taken now, and the order gets its number." };
  }
  if (links.payment.state === "done") {
    return { headline: "Checking stock and price", text: "Both at the same time." };
  }
  return { headline: "Checking your payment", text: "We ask the payment provider itself." };
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

/** What a screen reader says when a link comes to another state; empty for what needs no word. */
export function spoken(name, state) {
  const what = { payment: "Payment", cart: "Stock", price: "Price", finalize: "Finalising" }[name];
  switch (state) {
    case "done":
      return { payment: "Payment checked.", cart: "Stock reserved.", price: "Price confirmed.", finalize: "Order finalised." }[name];
    case "refused":
      return `${what} refused.`;
    case "parked":
      return `${what} is held: somebody is looking at it.`;
    case "undone":
      return { payment: "Money given back.", cart: "Stock put back." }[name];
    case "slow":
      return `Checking ${NAMES[name]} takes longer than usual. Your order is kept and goes on by itself.`;
    default:
      return "";
  }
}
