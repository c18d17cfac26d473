// One order: where it stands at each link, and its journal as a timeline.

import { Chain } from "./console_chain.js";
import { toast } from "./console_dialog.js";
import { duration, h, keyed, say } from "./console_dom.js";
import { cancel, reject, release } from "./console_parked.js";
import { showStatus, status } from "./console_orders.js";
import { call, follow } from "./console_server.js";
import { EVENTS, LINKS, clock, count, day, many, money, took, words } from "./console_words.js";

const ENDED = ["confirmed", "rejected", "cancelled"];
const SIGN = { done: "✓", in_progress: "…", waiting: "…", parked: "‖", ahead: "", left_out: "–" };
const MOOD = { done: "good", in_progress: "busy", waiting: "wait", parked: "bad", ahead: "calm", left_out: "calm" };
const STATE = { done: "done", in_progress: "in progress", waiting: "waiting", parked: "parked", ahead: "not reached", left_out: "not reached" };

const REFUSALS = ["lanka.PaymentDeclined", "lanka.CartUnavailable", "lanka.PriceChanged"];

const span = (seconds) => took(seconds) ?? duration(seconds);
const seconds = (from, to) => (new Date(to) - new Date(from)) / 1000;

export function orderPage(orderId, signal) {
  const page = h("div", { class: "page order" }, h("div", { class: "heading" }, h("h1", { class: "id", tabindex: "-1" }, orderId)));
  let parts = null;
  const look = async () => {
    const seen = await call("GET", `/operations/orders/${encodeURIComponent(orderId)}`);
    if (signal.aborted) return;
    if (!parts) {
      parts = build(seen);
      page.replaceChildren(...parts.elements);
    }
    parts.show(seen);
  };
  const fail = (error) => {
    if (parts) return;
    const text = error.code === "order_not_found" || error.code === "invalid_id" ? "There is no order with this id." : error.message;
    page.replaceChildren(h("div", { class: "heading" }, h("h1", { class: "id", tabindex: "-1" }, orderId)), h("p", { class: "empty panel" }, text));
  };
  const again = follow(look, signal, fail);
  // What Temporal is trying changes without an event in the journal.
  const timer = setInterval(() => parts?.open && again(), 2000);
  signal.addEventListener("abort", () => clearInterval(timer));
  return page;
}

function build({ order }) {
  const id = order.order_id;
  const now = status();
  const number = h("span", { class: "number soft" });
  const reason = h("p", { class: "because" });
  const links = h("p", { class: "elsewhere" });
  const decisions = h("div", { class: "decisions" });
  const chain = new Chain(`The chain of order ${id}`);
  const error = h("p", { class: "last-error", hidden: true });
  const timeline = h("ol", { class: "timeline" });
  const whole = h("span", { class: "total number" });
  const traceId = h("code", { class: "id" });
  const trace = h("div", { hidden: true }, h("dt", {}, "Trace"), h("dd", {}, traceId, " ", copies("Copy the trace id", traceId)));
  const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, value)];
  const find = (text) => h("a", { class: "id", href: `#/orders?${new URLSearchParams({ q: text })}` }, text);
  const lines = h(
    "table",
    {},
    h("caption", { class: "for-screen-readers" }, "Lines of the order"),
    h("thead", {}, h("tr", {}, ["SKU", "Quantity", "Each"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, order.lines.map((line) => h("tr", {}, h("th", { scope: "row", class: "id" }, line.sku), h("td", { class: "number" }, count(line.quantity)), h("td", { class: "number" }, money(line.unit_price, order.currency))))),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Total"), h("td"), h("td", { class: "number" }, money(order.total, order.currency)))),
  );
  const parts = {
    open: true,
    elements: [
      h("div", { class: "heading" }, h("h1", { class: "id", tabindex: "-1" }, id), now, number, decisions),
      reason,
      h("section", { class: "panel picture", "aria-label": "Where it stands" }, chain.element, error),
      h(
        "div",
        { class: "columns" },
        h("section", { class: "panel", "aria-labelledby": "journal-title" }, h("h2", { id: "journal-title" }, "Journal ", whole), timeline),
        h(
          "section",
          { class: "panel about", "aria-labelledby": "about-title" },
          h("h2", { id: "about-title" }, "Order"),
          h("dl", {}, fact("Received", h("span", { class: "number" }, `${day(order.received_at)}, ${clock(order.received_at)}`)), fact("Customer", find(order.customer_id)), fact("Payment", find(order.payment_id)), fact("Elsewhere", links), trace),
          lines,
        ),
      ),
    ],
    show(seen) {
      parts.open = !ENDED.includes(seen.order.status);
      showStatus(now, seen.order.status);
      say(number, seen.order.order_number ?? "");
      say(reason, seen.order.reason ? whyNot(seen) : "");
      const verbs = [
        seen.parked.length && ["Release", () => release(id), "primary"],
        seen.parked.length && !order.reason && ["Reject", () => reject(id), ""],
        parts.open && !order.reason && ["Cancel", () => cancel(id), "quiet"],
      ].filter(Boolean);
      keyed(decisions, verbs, ([verb]) => verb, ([verb, act, kind]) => h("button", { type: "button", class: kind, onclick: act }, `${verb}…`), () => {});
      const pages = [
        seen.workflow_url && ["Temporal history", seen.workflow_url],
        seen.trace_url && ["Trace", seen.trace_url],
      ].filter(Boolean);
      trace.hidden = !seen.trace_id;
      say(traceId, seen.trace_id ?? "");
      keyed(links, pages, ([name]) => name, ([name, url]) => h("a", { href: url, target: "_blank", rel: "noopener" }, `${name} ↗`), () => {});
      if (!pages.length) say(links, seen.workflow_id ?? "not taken by a workflow yet");
      chain.show(...oneOrder(seen));
      const failing = seen.steps.find((step) => step.last_error);
      error.hidden = !failing;
      if (failing) say(error, `${LINKS[failing.link]}, attempt ${failing.attempts}: ${failing.last_error}`);
      const rows = told(seen);
      say(whole, parts.open ? "" : span(seconds(order.received_at, seen.events.at(-1).time)));
      keyed(timeline, rows, (row) => row.id, eventRow, (element, row) => element.show(row));
    },
  };
  return parts;
}

/** A button that puts what `source` says on the clipboard. */
function copies(label, source) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      toast("Copied.");
    } catch {
      getSelection().selectAllChildren(source); // an http page of another machine has no clipboard
      toast("It is selected: copy it by keyboard.", "wait");
    }
  };
  return h("button", { type: "button", class: "small", "aria-label": label, onclick: copy }, "Copy");
}

function whyNot({ order, events }) {
  const detail = events.map((event) => event.data).findLast((data) => data.reason === order.reason && data.detail)?.detail;
  return words(order.reason) + (detail ? `: ${detail}` : "");
}

/** What the chain shows of one order. */
function oneOrder({ order, steps, events }) {
  const nodes = { received: { mood: "good", count: "✓", what: " done", facts: [{ key: "at", text: clock(order.received_at) }] } };
  const flows = { received: Infinity };
  const at = (link) => steps.filter((step) => (link === "payment" ? ["payment", "settlement"].includes(step.link) : link === "refund" ? ["refund", "late-refund"].includes(step.link) : step.link === link)).at(-1);
  for (const link of ["payment", "cart", "price", "finalize", "release", "refund", "reject"]) {
    const step = at(link);
    if (!step) {
      nodes[link] = { mood: "calm", count: "", what: " not reached" };
      continue;
    }
    const open = ["in_progress", "waiting", "parked"].includes(step.state);
    const no = events.some((event) => event.source === `/lanka/${step.link}` && REFUSALS.includes(event.type));
    nodes[link] = {
      mood: no ? "bad" : MOOD[step.state],
      count: no ? "✕" : SIGN[step.state],
      what: no ? " refused" : ` ${STATE[step.state]}`,
      orders: open ? 9 : 0,
      since: open ? step.began : null,
      facts: [
        { key: "state", mood: MOOD[step.state], text: open ? STATE[step.state] : "" },
        { key: "took", text: step.ended && step.began ? span(seconds(step.began, step.ended)) : step.state === "done" ? "nothing to do" : "" },
        { key: "attempts", text: tries(step, open) },
      ],
    };
    if (step.state === "done" && !no) flows[link] = Infinity;
  }
  const refused = steps.some((step) => step.link === "reject");
  flows["payment>refund"] = refused ? Infinity : 0;
  flows["price>release"] = refused && at("price").began ? Infinity : 0;
  const checked = at("cart").began ? Infinity : 0;
  flows["payment>cart"] = flows["payment>price"] = checked;
  flows["cart>finalize"] = flows["price>finalize"] = at("finalize").began ? Infinity : 0;
  nodes.confirmed = { mood: order.status === "confirmed" ? "good" : "calm", count: order.status === "confirmed" ? "✓" : "", what: order.status === "confirmed" ? " reached" : " not reached", facts: [{ key: "no", text: order.order_number ?? "" }] };
  const back = ["rejected", "cancelled"].includes(order.status);
  nodes.ends = { mood: back ? "soft" : "calm", count: back ? "✓" : "", what: back ? ` ${order.status}` : " not reached", facts: [{ key: "how", text: order.status === "cancelled" ? "cancelled" : "" }] };
  return [nodes, flows];
}

/** How often a link was tried, where once was not enough or it is being tried still. */
const tries = ({ attempts }, open = false) => (!attempts ? "" : open ? `attempt ${attempts}` : many(attempts, "attempt"));

/** The rows of the timeline: each event, when it came, and how long its link took for it. */
function told({ order, steps, events }) {
  const began = new Date(order.received_at);
  const last = new Date(events.at(-1).time);
  const whole = Math.max(1, last - began);
  return events.map((event) => {
    const link = event.source.replace("/lanka/", "");
    const name = event.type.replace("lanka.", "");
    const step = steps.find((each) => each.link === link && each.ended === event.time);
    const from = step?.began ? new Date(step.began) : new Date(event.time);
    return {
      id: event.id,
      event,
      name,
      link,
      after: seconds(began, event.time),
      took: step?.began ? seconds(step.began, event.time) : null,
      tries: step ? tries(step) : "",
      left: (from - began) / whole,
      width: (new Date(event.time) - from) / whole,
      mood: { OrderParked: "bad", OrderReleased: "busy", OrderConfirmed: "good" }[name] ?? (event.data.reason ? "bad" : "calm"),
      notes: notes(event.data),
    };
  });
}

function notes(data) {
  const list = [];
  if (data.order_number) list.push(data.order_number);
  if (data.reason) list.push(words(data.reason) + (data.detail ? `: ${data.detail}` : ""));
  if (data.attempts) list.push(`after ${data.attempts} attempts`);
  if (data.last_error) list.push(data.last_error);
  if (data.by) list.push(`by ${data.by}${data.why ? `: “${data.why}”` : ""}`);
  if (data.deadline) list.push(`until ${clock(data.deadline)}`);
  if (data.reservations) list.push(data.reservations.map((each) => `${each.quantity} × ${each.sku}`).join(", "));
  if (data.payment && data.payment.status) list.push(`${data.payment.status} ${money(data.payment.amount, data.payment.currency)}`);
  if (data.amount && data.currency) list.push(money(data.amount, data.currency));
  return list;
}

function eventRow(row) {
  const bar = h("span", { class: "bar" });
  const element = h(
    "li",
    { "data-mood": row.mood },
    h("span", { class: "after number" }, `+${span(row.after)}`),
    h("span", { class: "track", "aria-hidden": "true" }, bar),
    h(
      "div",
      { class: "what" },
      h("b", {}, EVENTS[row.name] ?? row.name),
      h("span", { class: "soft" }, ` ${LINKS[row.link] ? `at ${LINKS[row.link].toLowerCase()}` : row.link}`, row.took === null ? "" : `, took ${span(row.took)}`, row.tries && ` and ${row.tries}`),
      row.notes.map((note) => h("p", {}, note)),
      h("details", {}, h("summary", {}, "Event"), h("pre", { tabindex: "0" }, JSON.stringify(row.event, null, 2))),
    ),
  );
  element.show = (now) => {
    bar.style.setProperty("--left", `${(now.left * 100).toFixed(2)}%`);
    bar.style.setProperty("--width", `${(now.width * 100).toFixed(2)}%`);
  };
  return element;
}
