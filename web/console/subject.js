// One order, or one subject of any chain: where it stands at each link, and its journal as a timeline.

import { h, keyed, setText } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { clock, count, date, lower, money, seconds, took, words } from "../kit/words.js";
import { capital } from "./counted.js";
import { toast } from "./dialog.js";
import { call, follow } from "./live.js";
import { ordersOf } from "./addresses.js";
import { cancel, reject, release } from "./parked.js";
import { Picture, endNode } from "./picture.js";
import { showStatus } from "./trouble.js";

const LOOK_AGAIN = 2000; // milliseconds: what is being tried changes without an event in the journal

const STATES = {
  ahead: { mood: "calm", sign: "" },
  in_progress: { mood: "busy", sign: "…", open: true },
  waiting: { mood: "wait", sign: "…", open: true },
  parked: { mood: "bad", sign: "‖", open: true },
  done: { mood: "good", sign: "✓" },
  refused: { mood: "bad", sign: "✕" },
  undone: { mood: "soft", sign: "↩" },
  left_out: { mood: "calm", sign: "–" },
};

export const orderPage = (graph, orderId, signal) =>
  page(graph, orderId, `/operations/orders/${encodeURIComponent(orderId)}`, signal);

export const subjectPage = (graph, subject, signal) =>
  page(graph, subject, `/operations/subjects/${encodeURIComponent(subject)}`, signal);

function page(graph, id, address, signal) {
  const title = () => h("h1", { class: "id", tabindex: "-1" }, id);
  const element = h("div", { class: "page subject" }, h("div", { class: "heading" }, title()));
  let parts = null;
  const look = async () => {
    const seen = await call("GET", address);
    if (signal.aborted) return;
    if (!parts) {
      parts = build(graph, id, title(), seen);
      element.replaceChildren(...parts.elements);
    }
    parts.show(seen);
  };
  const fail = (problem) => {
    if (parts) return;
    const said =
      problem.status === 404 || problem.status === 422
        ? text("subject.unknown", { subject: graph.subject })
        : problem.message;
    element.replaceChildren(h("div", { class: "heading" }, title()), h("p", { class: "empty panel" }, said));
  };
  const again = follow(look, signal, fail);
  const timer = setInterval(() => parts?.open && !document.hidden && again(), LOOK_AGAIN);
  signal.addEventListener("abort", () => clearInterval(timer));
  return element;
}

/** Of a subject that is no order: what the last event of its journal says that says anything of it. */
const statusOf = (graph, { order, events }) =>
  order?.status ?? events.map((event) => graph.event(event.type).status).findLast(Boolean) ?? "received";

function build(graph, id, title, { order, events }) {
  const now = h("span", { class: "status" });
  const number = h("span", { class: "number soft" });
  const reason = h("p", { class: "because" });
  const decisions = h("div", { class: "decisions" });
  const picture = new Picture(graph, text("subject.chain_of", { subject: graph.subject, id }));
  const error = h("p", { class: "last-error", hidden: true });
  const timeline = h("ol", { class: "timeline" });
  const whole = h("span", { class: "total number" });
  const about = aboutPanel(graph, order, events);
  const parts = {
    open: true,
    elements: [
      h("div", { class: "heading" }, title, now, number, decisions),
      reason,
      h("section", { class: "panel picture", "aria-label": text("subject.where") }, picture.element, error),
      h(
        "div",
        { class: "columns" },
        h(
          "section",
          { class: "panel", "aria-labelledby": "journal-title" },
          h("h2", { id: "journal-title" }, text("subject.journal"), " ", whole),
          timeline,
        ),
        about.element,
      ),
    ],
    show(seen) {
      parts.open = !graph.end(statusOf(graph, seen));
      showStatus(now, graph.status(statusOf(graph, seen)));
      setText(number, seen.order?.order_number ?? "");
      setText(reason, whyNot(graph, seen.events));
      keyed(decisions, decisionsOn(graph, id, seen, parts.open), ({ verb }) => verb, decisionButton);
      picture.show(...oneSubject(graph, seen));
      const failing = seen.steps.find((step) => step.last_error);
      error.hidden = !failing;
      if (failing)
        setText(
          error,
          text("subject.trying", { title: failing.title, attempts: failing.attempts, error: failing.last_error }),
        );
      setText(whole, parts.open ? "" : took(seconds(seen.events[0].time, seen.events.at(-1).time)));
      keyed(
        timeline,
        rowsOf(graph, seen),
        (row) => row.id,
        eventRow,
        (element, row) => element.show(row),
      );
      about.show(seen);
    },
  };
  return parts;
}

/** What sent it back, and the sentence that the link gave. */
function backward(graph, events) {
  const kinds = ["withdrawal", "refusal"];
  return kinds.map((kind) => events.find((event) => graph.event(event.type).kind === kind)).find(Boolean);
}

function whyNot(graph, events) {
  const { reason, detail } = backward(graph, events)?.data ?? {};
  return reason ? [words(reason), detail].filter(Boolean).join(": ") : "";
}

function decisionsOn(graph, id, { order, parked, events }, open) {
  const forward = !backward(graph, events);
  const releaseAt = ({ link }) =>
    parked.length > 1 ? text("parked.release_at", { link: lower(graph.link(link).title) }) : text("parked.release");
  return [
    ...parked.map((parking) => ({
      verb: releaseAt(parking),
      act: () => release(parking.id, id),
      kind: "primary",
    })),
    parked.some(({ rejectable }) => rejectable) &&
      forward && { verb: text("parked.reject"), act: () => reject(id, id, graph), kind: "" },
    order && open && forward && { verb: text("subject.cancel"), act: () => cancel(id), kind: "quiet" },
  ].filter(Boolean);
}

const decisionButton = ({ verb, act, kind }) => h("button", { type: "button", class: kind, onclick: act }, `${verb}…`);

// ---- about it ------------------------------------------------------------------------------------------------------

function aboutPanel(graph, order, events) {
  const elsewhere = h("p", { class: "elsewhere" });
  const traceId = h("code", { class: "id" });
  const trace = h(
    "div",
    { hidden: true },
    h("dt", {}, text("subject.trace")),
    h("dd", {}, traceId, " ", copies(text("subject.copy_trace"), traceId)),
  );
  const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, value)];
  const facts = h(
    "dl",
    {},
    fact(text("subject.received"), h("span", { class: "number" }, date(events[0].time))),
    order && fact(text("column.customer"), ordersOf(order.customer_id)),
    order && fact(text("subject.payment"), ordersOf(order.payment_id)),
    fact(text("subject.elsewhere"), elsewhere),
    trace,
  );
  const heading = h("h2", { id: "about-title" }, capital(graph.subject));
  return {
    element: h(
      "section",
      { class: "panel about", "aria-labelledby": "about-title" },
      heading,
      facts,
      order && linesOf(order),
    ),
    show({ workflow_id, workflow_url, trace_id, trace_url }) {
      const pages = [
        workflow_url && [text("subject.history"), workflow_url],
        trace_url && [text("subject.trace"), trace_url],
      ].filter(Boolean);
      keyed(
        elsewhere,
        pages,
        ([name]) => name,
        ([name, url]) => h("a", { href: url, target: "_blank", rel: "noopener" }, `${name} ↗`),
      );
      if (!pages.length) setText(elsewhere, workflow_id ?? text("subject.untaken"));
      trace.hidden = !trace_id;
      setText(traceId, trace_id ?? "");
    },
  };
}

function linesOf({ lines, total, currency }) {
  const cell = (text) => h("td", { class: "number" }, text);
  const inCurrency = (amount) => money(amount, currency, "code");
  const line = ({ sku, quantity, unit_price }) =>
    h("tr", {}, h("th", { scope: "row", class: "id" }, sku), cell(count(quantity)), cell(inCurrency(unit_price)));
  return h(
    "table",
    {},
    h("caption", { class: "for-screen-readers" }, text("subject.lines")),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["sku", "quantity", "each"].map((name) => h("th", { scope: "col" }, text(`column.${name}`))),
      ),
    ),
    h("tbody", {}, lines.map(line)),
    h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, text("column.total")), h("td"), cell(inCurrency(total)))),
  );
}

/** A button that puts what `source` says on the clipboard. */
function copies(label, source) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      toast(text("subject.copied"));
    } catch {
      getSelection().selectAllChildren(source); // an http page of another machine has no clipboard
      toast(text("subject.select"), "wait");
    }
  };
  return h("button", { type: "button", class: "small", "aria-label": label, onclick: copy }, text("subject.copy"));
}

// ---- in the picture ------------------------------------------------------------------------------------------------

/** How often a link was tried, where once was not enough or it is being tried still. */
const tries = ({ attempts, state }) =>
  !attempts
    ? ""
    : STATES[state].open
      ? text("subject.attempt", { attempts })
      : text("subject.attempts", { count: attempts });

/** What the picture shows of one subject: of several links at one place the last that it has come to. */
function oneSubject(graph, seen) {
  const { steps, events } = seen;
  const passed = (sign, what, ...facts) => ({ mood: "good", count: sign, what: ` ${what}`, facts });
  const nodes = { received: passed("✓", text("state.done"), { key: "at", text: clock(events[0].time) }) };
  const reached = new Set(["received"]);
  for (const step of steps) {
    const place = graph.place(step.link);
    const here = !["ahead", "left_out"].includes(step.state);
    if (reached.has(place) && !here) continue;
    if (here) reached.add(place);
    nodes[place] = stepNode(step);
  }
  for (const { status } of graph.ends)
    nodes[endNode(graph, status)] ??= { mood: "calm", what: ` ${text("state.ahead")}` };
  const end = graph.end(statusOf(graph, seen));
  if (end) {
    const name = endNode(graph, end.status);
    reached.add(name);
    nodes[name] = {
      ...passed("✓", text("subject.reached"), { key: "no", text: seen.order?.order_number }),
      mood: end.good ? "good" : "soft",
      title: end.title,
    };
  }
  for (const name of graph.aside.flat()) nodes[name] ??= null;
  for (const { name } of graph.links)
    if (!(graph.place(name) in nodes)) nodes[name] = { mood: "calm", what: ` ${text("state.ahead")}` };
  return [nodes, ({ from, to, of }) => (reached.has(of ?? from) && reached.has(to) ? Infinity : 0)];
}

function stepNode(step) {
  const { mood, sign, open } = STATES[step.state];
  const name = text(`state.${step.state}`);
  const lasted =
    step.ended && step.since
      ? took(seconds(step.since, step.ended))
      : step.state === "done"
        ? text("subject.nothing_to_do")
        : "";
  return {
    mood,
    count: sign,
    what: ` ${name}`,
    subjects: open ? 9 : 0,
    since: open ? step.since : null,
    before: text("subject.for"),
    facts: [
      { key: "state", mood, text: open || step.state === "undone" ? name : "" },
      { key: "took", text: lasted },
      { key: "attempts", text: tries(step) },
    ],
  };
}

// ---- the journal ---------------------------------------------------------------------------------------------------

/** Each event, when it came, and how long its link took for it. */
function rowsOf(graph, { steps, events }) {
  const began = new Date(events[0].time);
  const whole = Math.max(1, new Date(events.at(-1).time) - began);
  return events.map((event) => {
    const link = event.source.replace("/lanka/", "");
    const step = steps.find((each) => each.link === link && each.ended === event.time);
    const from = new Date(step?.since ?? event.time);
    const known = graph.links.some(({ name }) => name === link);
    return {
      id: `${event.source} ${event.id}`,
      event,
      title: graph.event(event.type).title,
      place: known ? text("parked.at", { link: lower(graph.link(link).title) }) : link,
      after: took(seconds(began, event.time)),
      took: step?.since ? text("subject.took", { length: took(seconds(step.since, event.time)) }) : "",
      tries: step && tries(step) ? text("subject.and_attempts", { attempts: tries(step) }) : "",
      left: (from - began) / whole,
      width: (new Date(event.time) - from) / whole,
      mood: moodOf(graph, event),
      notes: notes(event.data),
    };
  });
}

function moodOf(graph, { type, data }) {
  const { kind, status } = graph.event(type);
  if (kind === "end" && graph.end(status)?.good) return "good";
  return { parked: "bad", released: "busy" }[kind] ?? (data.reason ? "bad" : "calm");
}

const APART = ["reason", "detail", "by", "why", "link", "attempts", "last_error"];

/** What an event carries, in words: whatever chain it is of. */
function notes(data) {
  const { reason, detail, by, why, attempts, last_error } = data;
  const rest = Object.entries(data).filter(([name]) => !APART.includes(name));
  return [
    reason && [words(reason), detail].filter(Boolean).join(": "),
    attempts && text("subject.after_attempts", { count: attempts }),
    last_error,
    by && `${text("subject.by", { name: by })}${why ? `: “${why}”` : ""}`,
    asMoney(data),
    ...rest.map(([name, value]) => note(name, value)),
  ].filter(Boolean);
}

const asMoney = ({ amount, total, currency }) =>
  currency && Number.isInteger(amount ?? total) && money(amount ?? total, currency, "code");

function note(name, value) {
  if (typeof value === "string" && name !== "currency")
    return `${words(name)} ${/^\d{4}-\d\d-\d\dT/.test(value) ? date(value) : value}`;
  if (Array.isArray(value))
    return value.every((each) => each?.sku) && value.map((each) => `${each.quantity} × ${each.sku}`).join(", ");
  const sum = value && typeof value === "object" && asMoney(value);
  return sum && `${value.status ?? words(name)} ${sum}`;
}

function eventRow(row) {
  const bar = h("span", { class: "bar" });
  const what = h(
    "div",
    { class: "what" },
    h("b", {}, row.title),
    h("span", { class: "soft" }, ` ${row.place}${row.took}${row.tries}`),
    row.notes.map((note) => h("p", {}, note)),
    h(
      "details",
      {},
      h("summary", {}, text("subject.event")),
      h("pre", { tabindex: "0" }, JSON.stringify(row.event, null, 2)),
    ),
  );
  const track = h("span", { class: "track", "aria-hidden": "true" }, bar);
  const element = h(
    "li",
    { "data-mood": row.mood },
    h("span", { class: "after number" }, `+${row.after}`),
    track,
    what,
  );
  element.show = (now) => {
    bar.style.setProperty("--left", `${(now.left * 100).toFixed(2)}%`);
    bar.style.setProperty("--width", `${(now.width * 100).toFixed(2)}%`);
  };
  return element;
}
