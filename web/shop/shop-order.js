// One order on the page: the chain, what it says in words, and what can still be done about it.

import { Away, callAsCustomer, pause } from "./shop-api.js";
import { refill } from "./shop-basket.js";
import { drawChain, showChain } from "./shop-chain.js";
import { follow } from "./shop-follow.js";
import { money } from "./shop-money.js";
import { LINKS, clock, spoken, story } from "./shop-story.js";

const SLOW_AFTER = 5_000;
const GAP = 260; // between two links that close, so that an eye can follow; the times shown are the real ones
const FRESH = 5_000; // an event that is older than this is history, and shown at once

const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const STATES = {
  waiting: "Waiting",
  working: "Working on it",
  slow: "Taking longer",
  awaiting: "Waiting for the bank",
  done: "Done",
  refused: "Refused",
  parked: "On hold",
  stopped: "Not needed",
};

const UNDONE = { payment: "Let go", cart: "Put back" };

const TROUBLE = {
  offline: "You are offline.",
  away: "The shop does not answer.",
  busy: "The shop is very busy just now.",
  payments_unavailable: "The payment provider does not answer.",
  payments_not_configured: "This shop has no payment provider yet.",
};

drawChain($("chain"));

let shown = null; // what is shown now: {orderId, story, states, stop, ...}
let names = () => new Map();

/** `products` gives the products by SKU, as far as the page knows them; `refresh` asks for them anew. */
export function setUp({ products, refresh }) {
  names = products;
  $("cancel").addEventListener("click", cancel);
  for (const button of $("bank").querySelectorAll("button")) button.addEventListener("click", () => playBank(button));
  $("again-go").addEventListener("click", orderAgain);
  refreshProducts = refresh;
}
let refreshProducts = async () => {};

/** Leaves the order that is shown. */
export function closeOrder() {
  shown?.stop?.();
  clearInterval(shown?.timer);
  clearTimeout(shown?.next);
  shown = null;
}

/** A purchase that has no order yet. */
export function showPurchase(purchase) {
  begin(null);
  const order = { lines: purchase.lines, total: purchase.total, currency: purchase.currency };
  shown.story = { ...story([]), order };
  render();
}

/** How the purchase gets on: `{doing, trouble?, after?}`. */
export function tellPurchase({ doing, trouble, after }) {
  if (!shown || shown.orderId) return;
  shown.story.headline = doing === "payment" ? "Asking the payment provider" : "Sending your order";
  const safe = doing === "payment" ? "Nothing was taken." : "Your money is reserved, nothing was taken.";
  const again = `We try again by ourselves${after >= 3 ? `, in ${Math.ceil(after)} seconds` : ""}. However often, it stays one order.`;
  note(trouble ? `${TROUBLE[trouble]} ${safe} ${again}` : "");
  $("chain").dataset.trouble = trouble ? "yes" : "no";
  $("stop-trying").hidden = !(trouble && doing === "payment");
  shown.troubled = Boolean(trouble);
  render();
}

export function showOrder(orderId) {
  if (shown?.orderId === orderId) return;
  begin(orderId);
  const mine = shown;
  mine.timer = setInterval(lookAtTheClock, 1000);
  mine.stop = follow(orderId, {
    hear: (events) => mine === shown && hear(events),
    connection: (ok) => {
      if (mine !== shown) return;
      mine.lost = !ok;
      notes();
    },
    unknown: () => {
      if (mine !== shown) return;
      $("order-title").textContent = "We do not know this order here";
      $("order-text").textContent = "It may belong to another browser, or its address is not complete.";
      $("chain").hidden = true;
    },
  });
}

function begin(orderId) {
  const before = shown;
  closeOrder();
  // A purchase that becomes an order goes on where it is; another order starts anew.
  const goesOn = before && !before.orderId && orderId;
  shown = {
    orderId,
    events: [],
    heard: [],
    states: goesOn ? before.states : {},
    story: goesOn ? { ...story([]), order: before.story.order } : story([]),
    lastNews: Date.now(),
  };
  if (!goesOn) $("spoken").replaceChildren();
  for (const id of ["verdict", "again", "bank", "order-number", "order-money", "stop-trying"]) $(id).hidden = true;
  $("chain").hidden = false;
  note("");
  render();
}

// ---- events, one after the other ---------------------------------------------------------------------------------

function hear(events) {
  shown.heard = events;
  if (!shown.next) next();
}

function next() {
  const mine = shown;
  mine.next = undefined;
  const known = new Set(mine.events.map((event) => `${event.source} ${event.id}`));
  const news = mine.heard.filter((event) => !known.has(`${event.source} ${event.id}`));
  if (!news.length) return;
  const old = Date.now() - Date.parse(news[0].time) > FRESH;
  const atOnce = old || calm.matches || document.visibilityState === "hidden";
  mine.events = [...mine.events, ...(atOnce ? news : news.slice(0, 1))];
  mine.story = story(mine.events);
  mine.lastNews = Date.now();
  render();
  if (!atOnce && news.length > 1) mine.next = setTimeout(() => mine === shown && next(), GAP);
}

function lookAtTheClock() {
  const slow = !shown.story.ended && Date.now() - shown.lastNews > SLOW_AFTER;
  if (slow === Boolean(shown.slow)) return;
  shown.slow = slow;
  render();
}

// ---- what is shown -----------------------------------------------------------------------------------------------

function render() {
  const { story: told } = shown;
  shown.slow &&= !told.ended && Date.now() - shown.lastNews > SLOW_AFTER;
  const speaks = [];
  const headline = told.headline;
  const arrived = $("order-title").textContent !== headline;
  if (arrived) $("order-title").textContent = headline;
  $("order-text").textContent = told.text ?? "";
  $("order-eyebrow").textContent = told.since ? `Order of ${new Date(told.since).toLocaleDateString([], { day: "numeric", month: "long" })}, ${clock(told.since)}` : "Your order";
  $("order").dataset.status = told.status;
  document.title = `${headline} · Lanka`;

  const states = Object.fromEntries(LINKS.map((name) => [name, stateOf(told.links[name], name)]));
  showChain($("chain"), states);
  for (const item of $("links").children) {
    const { link: name } = item.dataset;
    item.querySelector(".state").textContent = STATES[states[name]] ?? UNDONE[name];
    item.querySelector(".time").textContent = timeOf(told.links[name], states[name]);
    if (shown.states[name] !== states[name]) speaks.push(spoken(name, states[name]));
  }
  shown.states = states;
  if (arrived && shown.orderId) speaks.push(`${headline}.`);

  $("order-number").hidden = !told.number;
  $("order-number").querySelector("strong").textContent = told.number ?? "";
  if (told.number) speaks.push(`Order number ${told.number}.`);
  $("order-money").hidden = !told.money;
  if (told.money && $("order-money").textContent !== told.money.text) {
    $("order-money").textContent = told.money.text;
    $("order-money").dataset.mood = told.money.mood;
    speaks.push(told.money.text);
  }
  $("bank").hidden = !told.deadline;
  $("cancel").hidden = !told.cancellable;
  renderAgain(told);
  renderReceipt(told);
  notes();
  speak(speaks);
}

function stateOf(link, name) {
  if (!shown.orderId && name === "payment") return shown.troubled ? "slow" : "working";
  return link.state === "working" && shown.slow ? "slow" : link.state;
}

function timeOf(link, state) {
  if (!link.at || state === "working" || state === "slow") return link.at ? `since ${clock(link.at)}` : "";
  const took = link.since && (state === "done" || state === "refused") ? Date.parse(link.at) - Date.parse(link.since) : null;
  return took === null ? clock(link.at) : `${clock(link.at)} · took ${duration(took)}`;
}

function duration(ms) {
  if (ms < 1000) return `${Math.max(1, Math.round(ms))} ms`;
  if (ms < 90_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

function notes() {
  if (!shown?.orderId) return;
  const said = [];
  if (shown.lost) said.push("Reconnecting … your order goes on meanwhile.");
  else if (shown.slow && ["processing", "going_back"].includes(shown.story.status)) {
    said.push("This takes longer than usual. Your order is kept and goes on by itself; you may close this page.");
  }
  note(said.join(" "));
}

function note(text) {
  if ($("order-note").textContent !== text) $("order-note").textContent = text;
}

function speak(texts) {
  for (const text of texts.filter(Boolean)) {
    if ([...$("spoken").children].some((said) => said.textContent === text)) continue;
    const line = document.createElement("p");
    line.textContent = text;
    $("spoken").append(line);
  }
}

function nameOf(sku, order) {
  return names().get(sku)?.name ?? order.lines.find((line) => line.sku === sku)?.name ?? sku;
}

function renderReceipt({ order }) {
  $("receipt-lines").replaceChildren(
    ...(order?.lines ?? []).map((line) => {
      const item = document.createElement("li");
      const what = document.createElement("span");
      what.textContent = `${line.quantity} × ${nameOf(line.sku, order)}`;
      const sum = document.createElement("span");
      sum.className = "number";
      sum.textContent = money(line.quantity * line.unit_price, order.currency);
      item.append(what, sum);
      return item;
    }),
  );
  $("receipt-total").textContent = order ? money(order.total, order.currency) : "";
  $("receipt-id").textContent = shown.orderId ? `Order id ${shown.orderId}` : "";
}

// ---- after a refusal ---------------------------------------------------------------------------------------------

function renderAgain({ status, reason, order }) {
  const over = status === "rejected" || status === "cancelled";
  $("again").hidden = !over;
  if (!over || shown.offered === names()) return;
  shown.offered = names();
  const { lines, differences } = offer(reason, order);
  shown.again = { currency: order.currency, lines };
  $("again-why").replaceChildren(
    ...differences.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }),
  );
  $("again-go").hidden = !lines.length;
  $("again-go").textContent =
    { price_changed: "Order at the new price", out_of_stock: "Take what is left", unknown_sku: "Take the rest" }[reason] ??
    (reason?.startsWith("payment_") ? "Pay in another way" : "Put it into the basket again");
  if (shown.asked !== true) {
    shown.asked = true;
    refreshProducts().then(() => shown && render()); // prices and stock of now, not of when the page came
  }
}

/** What could be ordered instead, and how it differs. */
function offer(reason, order) {
  const products = names();
  const differences = [];
  const lines = [];
  for (const line of order.lines) {
    const now = products.get(line.sku);
    const name = nameOf(line.sku, order);
    if (products.size && !now) {
      differences.push(`${name} is no longer sold.`);
      continue;
    }
    if (now && now.available < line.quantity && reason === "out_of_stock") {
      differences.push(now.available > 0 ? `${name}: ${now.available} left, you wanted ${line.quantity}.` : `${name} is sold out.`);
    }
    if (now && now.unit_price !== line.unit_price) {
      const [was, is] = [money(line.unit_price, order.currency), money(now.unit_price, now.currency)];
      differences.push(`${name}: ${is} now, it was ${was}.`);
    }
    const quantity = now ? Math.min(line.quantity, Math.max(now.available, 0)) : line.quantity;
    if (quantity) lines.push({ sku: line.sku, name, quantity, unit_price: now?.unit_price ?? line.unit_price });
  }
  return { lines, differences };
}

function orderAgain() {
  if (!shown?.again) return;
  refill(shown.again.currency, shown.again.lines);
  location.hash = "#basket";
}

// ---- what can be done --------------------------------------------------------------------------------------------

const VERDICTS = {
  cancelled: "Cancelled. Whatever was reserved is let go.",
  already_cancelled: "This order was cancelled already.",
  too_late: "Too late to cancel: the order was already being finished.",
};

async function cancel() {
  const mine = shown;
  if ($("cancel").getAttribute("aria-disabled") === "true") return;
  $("cancel").setAttribute("aria-disabled", "true");
  verdict("Asking …");
  try {
    for (;;) {
      try {
        const { data } = await callAsCustomer("POST", `/orders/${mine.orderId}/cancel`, { body: {} });
        if (mine === shown) verdict(VERDICTS[data?.verdict] ?? data?.detail ?? "It could not be cancelled.");
        return;
      } catch (error) {
        if (!(error instanceof Away)) throw error;
        if (mine !== shown) return;
        verdict("Nobody has decided yet. We ask again.");
        await pause(error.after ?? 2);
      }
    }
  } finally {
    $("cancel").removeAttribute("aria-disabled");
    if (mine === shown && document.activeElement === document.body) $("order-title").focus();
  }
}

async function playBank(button) {
  const mine = shown;
  const body = { accepted: button.dataset.accepted === "true" };
  try {
    const { status, data } = await callAsCustomer("POST", `/shop/orders/${mine.orderId}/bank`, { body });
    if (mine !== shown) return;
    verdict(status === 200 ? "The bank has told the shop." : data.detail);
    if (document.activeElement === button) $("order-title").focus();
  } catch (error) {
    if (!(error instanceof Away)) throw error;
    if (mine === shown) verdict("The bank does not answer. Try it once more.");
  }
}

function verdict(text) {
  $("verdict").hidden = false;
  $("verdict").textContent = text;
}
