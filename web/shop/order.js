// One order on the page: the chain, what it says in words, and what can still be done about it. Whatever is said of the
// order comes from the API.

import { Problem, untilAnswered } from "../kit/api.js";
import { graphOf } from "../kit/chains.js";
import { $, h, setAttribute, setText } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { count, date, hour, money, withAmounts } from "../kit/words.js";
import { cancels, keepLink, keptLinks, merged, noteCancel, onChange, refill } from "./basket.js";
import { basketNotice } from "./basket-panel.js";
import { goOnCancelling } from "./cancel.js";
import { drawChain, showChain } from "./chain.js";
import { follow } from "./follow.js";
import { nameOf, offer } from "./offer.js";
import { callAsCustomer, customerId } from "./session.js";
import { say } from "./spoken.js";

const SLOW_AFTER = 5_000; // milliseconds
const GAP = 260; // between two links that close, so that an eye can follow; the times shown are the real ones
const FRESH = 5_000; // what is older than this is history, and shown at once

const calm = matchMedia("(prefers-reduced-motion: reduce)");

const CLOSED = ["done", "refused", "undone", "parked"];
const TOLD = ["done", "refused", "undone"]; // in this order; of what is parked the headline tells
const BACK = ["refused", "undone"];

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

let shown = null; // what is shown now: {orderId, graph, order, newest, story, states, said, ...}
let names = () => new Map();
let refreshProducts = async () => {};

/** `products` gives the products by SKU, as far as the page knows them; `refresh` asks for them anew. */
export function setUp({ products, refresh }) {
  names = products;
  refreshProducts = refresh;
  $("cancel").addEventListener("click", askBeforeCancelling);
  $("cancel-dialog").addEventListener("close", ({ target }) => target.returnValue === "yes" && cancel());
  for (const button of $("bank").querySelectorAll("button")) button.addEventListener("click", () => playBank(button));
  $("again-go").addEventListener("click", orderAgain);
  $("share-go").addEventListener("click", share);
  onChange(showCancel);
  showCancel();
}

/** Leaves the order that is shown. */
export function closeOrder() {
  shown?.stop?.();
  clearInterval(shown?.timer);
  clearTimeout(shown?.next);
  shown = null;
  $("cancel-dialog").close("");
}

/** A purchase that has no order yet. */
export async function showPurchase({ method, lines, total, currency }) {
  const mine = begin(null, { headline: text("purchase.ordering"), text: "" });
  mine.method = method;
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
  shown.story.headline = text(paying ? "purchase.paying" : "purchase.ordering");
  const reserved = !paying && shown.method === "card";
  const told = trouble && [text(`trouble.${trouble}`), text(reserved ? "purchase.reserved" : "purchase.nothing_taken")];
  const again = after >= 3 ? text("purchase.again_in", { count: Math.ceil(after) }) : text("purchase.again");
  note(trouble ? [...told, again].join(" ") : "", told?.join(" "));
  $("stop-trying").hidden = !(trouble && paying);
  shown.slow = Boolean(trouble);
  render();
}

/** `signature`: of a link to this one order, for whoever is not the customer. */
export async function showOrder(orderId, signature) {
  if (shown?.orderId === orderId && shown.signature === signature) return;
  const mine = begin(orderId, { headline: text("shop.one_moment"), text: "" });
  mine.signature = signature;
  render();
  const graph = await chainOfOrders();
  if (mine !== shown) return;
  mine.graph = graph;
  mine.timer = setInterval(lookAtTheClock, 1000);
  followOrder(mine, signature);
  showCancel();
}

function followOrder(mine, signature) {
  const { orderId, graph } = mine;
  const types = graph.events.map((event) => event.type);
  mine.stop = follow(orderId, types, signature, {
    hear: (order) => mine === shown && hear(order),
    connection: (ok) => {
      if (mine !== shown || mine.unknown) return;
      if (ok && mine.lost) say(text("order.found"));
      if (ok && $("verdict").dataset.passing === "true") $("verdict").hidden = true;
      mine.lost = !ok;
      notes();
    },
    unknown: () => mine === shown && unknown(signature),
  });
}

/** This browser may have forgotten who its customer is; its orders it can still show. `tried`: a signature. */
function unknown(tried) {
  const kept = keptLinks().get(shown.orderId);
  if (kept && kept !== tried) {
    shown.stop?.();
    shown.forgotten = true;
    return followOrder(shown, kept);
  }
  shown.unknown = true;
  shown.story = { headline: text("unknown.title"), text: text("unknown.text") };
  shown.order = null;
  render();
}

function begin(orderId, story) {
  const before = shown;
  closeOrder();
  // A purchase that becomes an order goes on where it is; another order starts anew.
  const goesOn = before && !before.orderId && orderId;
  const rest = goesOn
    ? { order: before.order, graph: before.graph, states: before.states, story: before.story, seen: true }
    : { states: {}, story, seen: false };
  shown = { orderId, unseen: new Set(), said: new Set(), lastNews: Date.now(), ...rest };
  $("verdict").dataset.passing = "false";
  for (const id of [
    "verdict",
    "again",
    "bank",
    "order-number",
    "order-money",
    "stop-trying",
    "cancel",
    "share",
    "seen-by-link",
  ]) {
    $(id).hidden = true;
  }
  $("share-by-hand").hidden = true;
  setText($("share-go"), text("share.copy"));
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
  const back = newest.steps.some(({ state }) => BACK.includes(state)); // whose links close in no order of the picture
  const late = back || calm.matches || document.visibilityState === "hidden" || Date.now() - lastTime(newest) > FRESH;
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
  const whole = Boolean(orderId && order) && order.story === story; // nothing is still to be shown
  shown.slow &&= !whole || Date.now() - shown.lastNews > SLOW_AFTER;
  const told = graph && !shown.unknown ? renderChain() : [];
  $("chain").hidden = !graph || shown.unknown || (orderId && !order);
  setText($("order-title"), story.headline);
  // What is being done is no news; what was done the links have told.
  const news = shown.unknown || (whole && graph.status(order.status).mood !== "busy");
  if (story.goes_back) told.unshift(story.text);
  else if (news) told.push(`${story.headline}.`, story.text);
  const deadline = story.deadline && text("order.deadline", { time: date(story.deadline) });
  const usual = !(shown.slow && whole && moves(graph, order)); // what usually is would contradict the note
  setText($("order-text"), [usual && story.text, deadline].filter(Boolean).join(" "));
  setText($("order-eyebrow"), eyebrow(order));
  document.title = text("order.tab", { headline: story.headline });
  $("order").dataset.mood = whole ? moodOf(graph, order) : "";

  const number = whole ? order.order_number : null;
  $("order-number").hidden = !number;
  setText($("order-number").querySelector("strong"), number ?? "");
  if (number) told.push(text("order.number_is", { number }));
  $("order-money").hidden = !story.money;
  if (story.money) {
    setText($("order-money"), withAmounts(story.money.text));
    $("order-money").dataset.mood = story.money.mood;
    told.push(withAmounts(story.money.text));
  }
  renderReceipt(order);
  if (whole) renderDoable(graph, order);
  notes();
  speak(told, whole || shown.unknown);
}

/** On its way, not going back, and waited for by nobody outside. */
const moves = (graph, { status, story }) => graph.status(status).mood === "busy" && !story.goes_back;

function eyebrow(order) {
  if (shown.unknown) return "";
  return order?.received_at ? text("order.of", { time: date(order.received_at) }) : text("order.yours");
}

/** What whoever looks may do. Who has come by a link may only look. */
function renderDoable(graph, order) {
  const mine = Boolean(order.links.cancel);
  const cancellable = mine && order.story.cancellable;
  if (!cancellable && $("cancel-dialog").open) {
    $("cancel-dialog").close("");
    say(text("cancel.ended", { headline: order.story.headline }));
  }
  hide($("bank"), !(mine && order.story.deadline));
  hide($("cancel"), !cancellable);
  $("share").hidden = !(mine && order.links.page);
  $("seen-by-link").hidden = mine;
  setText($("seen-by-link"), text(shown.forgotten ? "share.forgotten" : "share.seen"));
  if (mine) keepLink(order.order_id, order.links.page);
  if (mine) renderAgain(graph, order);
}

/** The focus does not go with it. */
function hide(element, hidden) {
  if (hidden && element.contains(document.activeElement)) $("order-title").focus();
  element.hidden = hidden;
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
  drawChain($("chain"), graph, columns);
  showChain($("chain"), columns, now);
  const told = [];
  for (const item of $("links").children) {
    const name = item.dataset.link;
    const step = steps?.find(({ link }) => link === name);
    const state = now[name] === "awaited" ? graph.status(order.status).title : text(`states.${now[name]}`);
    setText(item.querySelector(".state"), state);
    setText(item.querySelector(".time"), step ? timeOf(step, now[name], order) : "");
    if (step && TOLD.includes(now[name]) && states[name] !== now[name])
      told.push([TOLD.indexOf(now[name]), step.sentence]);
  }
  shown.states = now;
  return told.toSorted(([one], [other]) => one - other).map(([, sentence]) => sentence);
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

function timeOf({ since, ended }, state, { received_at }) {
  const day = (time) => new Date(time).toDateString();
  const at = (time) => (day(time) === day(received_at) ? hour(time) : date(time));
  if (["in_progress", "slow", "awaited", "parked"].includes(state))
    return since ? text("order.since", { time: at(since) }) : "";
  return ended && CLOSED.includes(state) ? at(ended) : "";
}

function notes() {
  if (!shown?.orderId) return;
  const { graph, newest, lost, slow } = shown;
  const works = newest && graph.status(newest.status).mood === "busy";
  const late = slow && works && text(moves(graph, newest) ? "order.slow" : "order.slow_back");
  note(lost ? text(newest ? "order.lost" : "shop.away") : late || "");
}

/** `spoken`: as much of it as those hear who hear the page. */
function note(message, spoken = message) {
  setText($("order-note"), message);
  if (spoken && shown && shown.noted !== spoken) say(spoken);
  if (shown) shown.noted = spoken;
}

/** Says what was not said yet. Of what had happened before somebody came, the last word is enough. */
function speak(texts, whole) {
  const news = texts.filter((each) => each && !shown.said.has(each));
  for (const each of news) shown.said.add(each);
  if (shown.seen) for (const each of news) say(each);
  else if (whole) say(`${shown.story.headline}.`);
  shown.seen ||= whole;
}

function renderReceipt(order) {
  $("receipt").hidden = !order;
  if (!order) return;
  $("receipt-lines").replaceChildren(...merged(order.lines).map((line) => receiptLine(line, order)));
  setText($("receipt-total"), money(order.total, order.currency));
  setText($("receipt-id"), shown.orderId ? text("receipt.id", { id: shown.orderId }) : "");
}

function receiptLine({ sku, quantity, unit_price }, order) {
  const sum = money(quantity * unit_price, order.currency);
  return h(
    "li",
    {},
    h("span", {}, `${count(quantity)} × ${nameOf(sku, order, names())}`),
    h("span", { class: "number" }, sum),
  );
}

// ---- after a refusal ---------------------------------------------------------------------------------------------

function renderAgain(graph, order) {
  const over = graph.end(order.status)?.good === false;
  $("again").hidden = !over;
  if (!over || shown.offered === names()) return;
  shown.offered = names();
  const { lines, differences, verb } = offer(order, names());
  shown.again = { currency: order.currency, lines };
  $("again-why").replaceChildren(...differences.map((each) => h("li", {}, each)));
  $("again-go").hidden = !lines.length;
  $("again").hidden = !lines.length && !differences.length;
  setText($("again-go"), text(verb));
  if (shown.asked) speak([...differences, text(verb)], true);
  if (shown.asked) return;
  shown.asked = true;
  refreshProducts().then(() => shown && render()); // prices and stock of now, not of when the page came
}

function orderAgain() {
  if (!shown?.again) return;
  const other = refill(shown.again.currency, shown.again.lines);
  basketNotice(other ? text("basket.replaced", { currency: other }) : "");
  location.hash = "#basket";
}

// ---- what can be done --------------------------------------------------------------------------------------------

function askBeforeCancelling() {
  if ($("cancel").getAttribute("aria-disabled") === "true") return;
  $("cancel-dialog").returnValue = "";
  setText($("cancel-text"), text("cancel.about", { amount: money(shown.order.total, shown.order.currency) }));
  $("cancel-dialog").showModal();
}

function cancel() {
  noteCancel(shown.orderId, "asked");
}

/** What has become of a cancel of the order that is shown; those of other orders go on as well. */
function showCancel() {
  goOnCancelling((orderId) => orderId === shown?.orderId && showVerdict("cancel.again"));
  const what = shown?.graph && cancels()[shown.orderId];
  setAttribute($("cancel"), "aria-disabled", what === "asked");
  if (what === "asked" && $("verdict").hidden) showVerdict("cancel.asking", { aloud: false });
  if (!what || what === "asked") return;
  noteCancel(shown.orderId, null);
  showVerdict(what === "unknown" ? "share.forgotten" : what === "failed" ? "cancel.failed" : `verdict.${what}`);
  if (what === "unknown") unknown();
}

async function playBank(button) {
  const mine = shown;
  if (mine.played) return;
  mine.played = true;
  const body = { accepted: button.dataset.accepted === "true" };
  let answer = "demo.bank_told";
  try {
    await callAsCustomer("POST", `/shop/orders/${encodeURIComponent(mine.orderId)}/bank`, { body });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const away = problem.status ? "demo.bank_away" : "demo.shop_away";
    const no = { order_not_found: "share.forgotten", payment_decided: "demo.bank_decided" }[problem.code];
    answer = no ?? away;
    mine.played = false;
  }
  if (mine !== shown) return;
  showVerdict(answer, { passing: answer === "demo.shop_away" });
  if (answer === "share.forgotten") unknown();
  if (document.activeElement === button) $("order-title").focus();
}

/** `passing`: it is over once the shop is reached again. */
function showVerdict(key, { aloud = true, passing = key === "cancel.again" } = {}) {
  const message = text(key);
  const news = $("verdict").hidden || $("verdict").textContent !== message;
  $("verdict").hidden = false;
  $("verdict").dataset.passing = String(passing);
  setText($("verdict"), message);
  if (news && aloud) say(message);
}

async function share() {
  const address = new URL(shown.order.links.page, location.href).href;
  try {
    await navigator.clipboard.writeText(address);
    setText($("share-go"), text("share.copied"));
    say(text("share.copied"));
  } catch {
    // Not allowed, or the page is not from a secure origin.
    $("share-by-hand").hidden = false;
    $("share-address").value = address;
    $("share-address").select();
  }
}
