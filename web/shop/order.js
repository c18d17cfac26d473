// One order on the page: the chain, what it says in words, and what can still be done about it. Whatever is said of the
// order comes from the API.

import { Away, Problem, pause, untilAnswered } from "../kit/api.js";
import { graphOf } from "../kit/chains.js";
import { $, h, setText } from "../kit/elements.js";
import { date, hour, money, seconds, took, withAmounts } from "../kit/words.js";
import { refill } from "./basket.js";
import { drawChain, showChain } from "./chain.js";
import { follow } from "./follow.js";
import { callAsCustomer, customerId } from "./session.js";

const SLOW_AFTER = 5_000; // milliseconds
const GAP = 260; // between two links that close, so that an eye can follow; the times shown are the real ones
const FRESH = 5_000; // what is older than this is history, and shown at once

const calm = matchMedia("(prefers-reduced-motion: reduce)");

const STATES = {
  ahead: "Not yet",
  in_progress: "Working on it",
  slow: "Taking longer",
  done: "Done",
  refused: "Refused",
  undone: "Undone",
  parked: "On hold",
  left_out: "Not needed",
};
const CLOSED = ["done", "refused", "undone", "parked"];

const TROUBLE = {
  offline: "You are offline.",
  away: "The shop does not answer.",
  busy: "The shop is very busy just now.",
  payments_unavailable: "The payment provider does not answer.",
  payments_not_configured: "This shop has no payment provider yet.",
};

let known = null;

/** What the chain of orders is made of and called; asked for until the API answers. */
export function chainOfOrders() {
  const look = async () => {
    await customerId();
    return graphOf("orders");
  };
  known ??= untilAnswered(look);
  return known;
}

let shown = null; // what is shown now: {orderId, graph, order, newest, story, states, ...}
let names = () => new Map();
let refreshProducts = async () => {};

/** `products` gives the products by SKU, as far as the page knows them; `refresh` asks for them anew. */
export function setUp({ products, refresh }) {
  names = products;
  refreshProducts = refresh;
  $("cancel").addEventListener("click", cancel);
  for (const button of $("bank").querySelectorAll("button")) button.addEventListener("click", () => playBank(button));
  $("again-go").addEventListener("click", orderAgain);
}

/** Leaves the order that is shown. */
export function closeOrder() {
  shown?.stop?.();
  clearInterval(shown?.timer);
  clearTimeout(shown?.next);
  shown = null;
}

/** A purchase that has no order yet. */
export async function showPurchase({ lines, total, currency }) {
  const mine = begin(null, { headline: "Sending your order", text: "" });
  mine.order = { lines, total, currency };
  render();
  const graph = await chainOfOrders();
  if (mine !== shown) return;
  mine.graph = graph;
  render();
}

/** How the purchase gets on: `{doing, trouble?, after?}`. */
export function tellPurchase({ doing, trouble, after }) {
  if (!shown || shown.orderId) return;
  const paying = doing === "paying";
  shown.story.headline = paying ? "Asking the payment provider" : "Sending your order";
  const safe = paying ? "Nothing was taken." : "Your money is reserved, nothing was taken.";
  const again = `We try again by ourselves${after >= 3 ? `, in ${Math.ceil(after)} seconds` : ""}. However often, it stays one order.`;
  note(trouble ? `${TROUBLE[trouble]} ${safe} ${again}` : "");
  $("stop-trying").hidden = !(trouble && paying);
  shown.slow = Boolean(trouble);
  render();
}

export async function showOrder(orderId) {
  if (shown?.orderId === orderId) return;
  const mine = begin(orderId, { headline: "One moment …", text: "" });
  render();
  const graph = await chainOfOrders();
  if (mine !== shown) return;
  mine.graph = graph;
  mine.timer = setInterval(lookAtTheClock, 1000);
  const types = graph.events.map((event) => event.type);
  mine.stop = follow(orderId, types, {
    hear: (order) => mine === shown && hear(order),
    connection: (ok) => {
      if (mine !== shown) return;
      mine.lost = !ok;
      notes();
    },
    unknown: () => mine === shown && unknown(),
  });
}

function unknown() {
  setText($("order-title"), "We do not know this order here");
  setText($("order-text"), "It may belong to another browser, or its address is not complete.");
  for (const part of [$("chain"), $("receipt")]) part.hidden = true;
}

function begin(orderId, story) {
  const before = shown;
  closeOrder();
  // A purchase that becomes an order goes on where it is; another order starts anew.
  const goesOn = before && !before.orderId && orderId;
  const rest = goesOn
    ? { order: before.order, graph: before.graph, states: before.states, story: before.story }
    : { states: {}, story };
  shown = { orderId, unseen: new Set(), lastNews: Date.now(), ...rest };
  if (!goesOn) $("spoken").replaceChildren();
  for (const id of ["verdict", "again", "bank", "order-number", "order-money", "stop-trying"]) $(id).hidden = true;
  $("receipt").hidden = false;
  $("chain").hidden = !shown.graph;
  note("");
  return shown;
}

// ---- news, one link after the other ------------------------------------------------------------------------------

/** True once nothing more will come. */
function hear(order) {
  if (JSON.stringify(order) !== JSON.stringify(shown.newest)) shown.lastNews = Date.now();
  shown.newest = order;
  if (!shown.next) advance();
  return Boolean(shown.graph.end(order.status));
}

/** Shows the next link that has closed, and once all are shown what the order says as a whole. */
function advance() {
  const mine = shown;
  const { newest, states } = mine;
  mine.next = undefined;
  const closed = newest.steps.filter((step) => CLOSED.includes(step.state) && states[step.link] !== step.state);
  const late = calm.matches || document.visibilityState === "hidden" || Date.now() - lastTime(newest) > FRESH;
  mine.unseen = new Set(late ? [] : closed.slice(1).map((step) => step.link));
  mine.order = newest;
  if (!mine.unseen.size) mine.story = newest.story;
  render();
  if (mine.unseen.size) mine.next = setTimeout(() => mine === shown && advance(), GAP);
}

const lastTime = ({ steps }) =>
  Math.max(...steps.flatMap(({ since, ended }) => [since, ended]).map((time) => Date.parse(time) || 0));

function lookAtTheClock() {
  const slow =
    Boolean(shown.newest) && !shown.graph.end(shown.newest.status) && Date.now() - shown.lastNews > SLOW_AFTER;
  if (slow === Boolean(shown.slow)) return;
  shown.slow = slow;
  render();
}

// ---- what is shown -----------------------------------------------------------------------------------------------

function render() {
  const { graph, order, story, orderId } = shown;
  const whole = orderId && order?.story === story; // nothing is still to be shown
  shown.slow &&= !whole || Date.now() - shown.lastNews > SLOW_AFTER;
  const spoken = graph ? renderChain() : [];
  if ($("order-title").textContent !== story.headline) {
    setText($("order-title"), story.headline);
    if (whole) spoken.push(`${story.headline}.`);
  }
  setText(
    $("order-text"),
    [story.text, story.deadline && `It has until ${hour(story.deadline)}.`].filter(Boolean).join(" "),
  );
  setText($("order-eyebrow"), order?.received_at ? `Order of ${date(order.received_at)}` : "Your order");
  document.title = `${story.headline} · Lanka`;
  $("order").dataset.mood = whole ? moodOf(graph, order) : "";

  const number = whole ? order.order_number : null;
  $("order-number").hidden = !number;
  setText($("order-number").querySelector("strong"), number ?? "");
  if (number) spoken.push(`Order number ${number}.`);
  $("order-money").hidden = !story.money;
  if (story.money) {
    setText($("order-money"), withAmounts(story.money.text));
    $("order-money").dataset.mood = story.money.mood;
    spoken.push(withAmounts(story.money.text));
  }
  $("bank").hidden = !story.deadline;
  $("cancel").hidden = !story.cancellable;
  if (whole) renderAgain(graph, order);
  renderReceipt(order);
  notes();
  speak(spoken);
}

/** An order that a link has refused is worse than one that was taken back. */
function moodOf(graph, { status, steps }) {
  return steps.some((step) => step.state === "refused") ? "bad" : graph.status(status).mood;
}

/** Returns what a screen reader says of it. */
function renderChain() {
  const { graph, order, states, unseen } = shown;
  const steps = order?.steps;
  const columns = graph.columns(({ name, customer }) => (steps ? steps.some((step) => step.link === name) : customer));
  const turn = columns.findIndex((column) => column.some((name) => unseen.has(name)));
  const now = Object.fromEntries(
    columns.flatMap((column, nth) => column.map((name) => [name, stateOf(name, nth, turn)])),
  );
  $("chain").hidden = false;
  drawChain($("chain"), graph, columns);
  showChain($("chain"), columns, now);
  const spoken = [];
  for (const item of $("links").children) {
    const name = item.dataset.link;
    const step = steps?.find(({ link }) => link === name);
    setText(
      item.querySelector(".state"),
      now[name] === "awaited" ? graph.status(order.status).title : STATES[now[name]],
    );
    setText(item.querySelector(".time"), step ? timeOf(step, now[name]) : "");
    if (states[name] !== now[name]) spoken.push(spokenOf(step, now[name]));
  }
  shown.states = now;
  return spoken;
}

/** `nth`: its column; `turn`: the first column in which a link has closed that is not shown yet. */
function stateOf(name, nth, turn) {
  const { graph, order, slow, unseen } = shown;
  const working = slow ? "slow" : "in_progress";
  const state = order?.steps?.find((step) => step.link === name).state ?? (nth === 0 ? working : "ahead");
  if (turn >= 0 && (nth > turn || unseen.has(name))) return nth > turn ? "ahead" : "in_progress";
  if (state === "waiting" && graph.status(order.status).mood === "wait") return "awaited";
  return state === "waiting" || state === "in_progress" ? working : state;
}

function spokenOf(step, state) {
  if (!step) return "";
  if (state === "slow") return `${step.title} takes longer than usual. Your order is kept and goes on by itself.`;
  return state === "awaited" || CLOSED.includes(state) ? step.sentence : "";
}

function timeOf({ since, ended }, state) {
  if (["in_progress", "slow", "awaited", "parked"].includes(state)) return since ? `since ${hour(since)}` : "";
  if (!ended || !CLOSED.includes(state)) return "";
  return since && state !== "undone" ? `${hour(ended)} · took ${took(seconds(since, ended))}` : hour(ended);
}

function notes() {
  if (!shown?.orderId) return;
  const { graph, newest, lost, slow } = shown;
  const moves = newest && graph.status(newest.status).mood === "busy";
  const kept = "This takes longer than usual. Your order is kept and goes on by itself; you may close this page.";
  note(lost ? "Reconnecting … your order goes on meanwhile." : slow && moves ? kept : "");
}

const note = (text) => setText($("order-note"), text);

function speak(texts) {
  const said = new Set([...$("spoken").children].map((line) => line.textContent));
  $("spoken").append(...[...new Set(texts)].filter((text) => text && !said.has(text)).map((text) => h("p", {}, text)));
}

const nameOf = (sku, order) => names().get(sku)?.name ?? order.lines.find((line) => line.sku === sku)?.name ?? sku;

function renderReceipt(order) {
  $("receipt-lines").replaceChildren(...(order?.lines ?? []).map((line) => receiptLine(line, order)));
  setText($("receipt-total"), order ? money(order.total, order.currency) : "");
  setText($("receipt-id"), shown.orderId ? `Order id ${shown.orderId}` : "");
}

function receiptLine({ sku, quantity, unit_price }, order) {
  const sum = money(quantity * unit_price, order.currency);
  return h("li", {}, h("span", {}, `${quantity} × ${nameOf(sku, order)}`), h("span", { class: "number" }, sum));
}

// ---- after a refusal ---------------------------------------------------------------------------------------------

function renderAgain(graph, order) {
  const over = graph.end(order.status)?.good === false;
  $("again").hidden = !over;
  if (!over || shown.offered === names()) return;
  shown.offered = names();
  const { lines, differences, verb } = offer(order);
  shown.again = { currency: order.currency, lines };
  $("again-why").replaceChildren(...differences.map((text) => h("li", {}, text)));
  $("again-go").hidden = !lines.length;
  setText($("again-go"), verb);
  if (shown.asked) return;
  shown.asked = true;
  refreshProducts().then(() => shown && render()); // prices and stock of now, not of when the page came
}

/** What could be ordered instead, and how it differs. */
function offer(order) {
  const products = names();
  const differences = [];
  const lines = [];
  let verb = "Put it into the basket again";
  for (const line of order.lines) {
    const now = products.get(line.sku);
    const name = nameOf(line.sku, order);
    if (products.size && !now) {
      differences.push(`${name} is no longer sold.`);
      verb = "Take the rest";
      continue;
    }
    const { unit_price, available } = now ?? { unit_price: line.unit_price, available: line.quantity };
    if (available < line.quantity) {
      differences.push(
        available > 0 ? `${name}: ${available} left, you wanted ${line.quantity}.` : `${name} is sold out.`,
      );
      verb = "Take what is left";
    }
    if (unit_price !== line.unit_price) {
      differences.push(
        `${name}: ${money(unit_price, now.currency)} now, it was ${money(line.unit_price, order.currency)}.`,
      );
      verb = "Order at the new price";
    }
    const quantity = Math.min(line.quantity, Math.max(available, 0));
    if (quantity) lines.push({ sku: line.sku, name, quantity, unit_price });
  }
  return { lines, differences, verb };
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
  showVerdict("Asking …");
  for (let decided = false; !decided && mine === shown;) decided = await askToCancel(mine);
  $("cancel").removeAttribute("aria-disabled");
  if (mine === shown && document.activeElement === document.body) $("order-title").focus();
}

/** Whether it is decided. */
async function askToCancel(mine) {
  const tell = (text) => mine === shown && showVerdict(text);
  try {
    const { verdict } = await callAsCustomer("POST", `/orders/${encodeURIComponent(mine.orderId)}/cancel`, {
      body: {},
    });
    tell(VERDICTS[verdict] ?? "It could not be cancelled.");
    return true;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const away = problem instanceof Away;
    tell(away ? "Nobody has decided yet. We ask again." : problem.message);
    if (away) await pause(problem.after ?? 2);
    return !away;
  }
}

async function playBank(button) {
  const mine = shown;
  const body = { accepted: button.dataset.accepted === "true" };
  let text = "The bank has told the shop.";
  try {
    await callAsCustomer("POST", `/shop/orders/${encodeURIComponent(mine.orderId)}/bank`, { body });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    text = problem instanceof Away ? "The bank does not answer. Try it once more." : problem.message;
  }
  if (mine !== shown) return;
  showVerdict(text);
  if (document.activeElement === button) $("order-title").focus();
}

function showVerdict(text) {
  $("verdict").hidden = false;
  setText($("verdict"), text);
}
