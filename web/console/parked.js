// What waits for a person: what is parked, by what failed alike, and money that is owed.

import { $, h, keyed, newId, setAttribute, setText } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { count, duration, lower, money, words } from "../kit/words.js";
import { addressOf, listOf, ordersOf, queryOf } from "./addresses.js";
import { counted, subjectOf } from "./counted.js";
import { decide, field, toast } from "./dialog.js";
import { call, follow, list, live, onPicture } from "./live.js";
import { setSince } from "./since.js";

const SHOWN = 50;
const heading = () => $("parked-title");

// ---- decisions -----------------------------------------------------------------------------------------------------

/** `id` names a parking, or all those of a subject. */
export function release(id, subject) {
  decide({
    title: text("parked.release_it", { subject }),
    text: text("release.what"),
    verb: text("parked.release"),
    home: heading,
    act: (answers) =>
      parkedBecomes(
        "released",
        text("release.done", { subject }),
        `${encodeURIComponent(id)}/release`,
        subject,
        answers,
      ),
  });
}

export function reject(id, subject, graph) {
  decide({
    title: text("parked.reject_it", { subject }),
    text: undone(graph),
    verb: text("parked.reject"),
    danger: true,
    home: heading,
    act: (answers) =>
      parkedBecomes("rejected", text("reject.done", { subject }), `${encodeURIComponent(id)}/reject`, subject, answers),
  });
}

async function parkedBecomes(wanted, sentence, command, subject, { why, by }) {
  const { verdict } = await call("POST", `/operations/parked/${command}`, { why, by });
  return outcomeOf(verdict, wanted, sentence, subject);
}

export function cancel(orderId) {
  decide({
    title: text("cancel.title", { subject: orderId }),
    text: text("cancel.what"),
    verb: text("cancel.button"),
    danger: true,
    act: async ({ why, by }) => {
      const { verdict } = await call("POST", `/orders/${encodeURIComponent(orderId)}/cancel`, {
        reason: `${why} (${by})`,
      });
      return outcomeOf(verdict, "cancelled", text("cancel.done", { subject: orderId }), orderId);
    },
  });
}

function outcomeOf(verdict, wanted, sentence, subject) {
  if (verdict === wanted) return { text: sentence, mood: "good" };
  return { text: text("decide.nothing", { subject, verdict: words(verdict) }), mood: "wait" };
}

const MANY = {
  release: { done: "released", what: () => text("release.what_all") },
  reject: { done: "rejected", danger: true, what: (graph) => `${undone(graph)} ${text("reject.only_forward")}` },
};

/** What becomes of what was done for it, money and goods among it, in the words of the chain. */
function undone(graph) {
  const steps = graph?.back.flat().map((name) => lower(graph.link(name).title)) ?? [];
  return steps.length ? text("reject.what_way", { links: steps.join(", ") }) : text("reject.what");
}

/**
 * Nothing is decided of many before a dry run has said how many they are. `filters` as of the list: `chain`, `link`,
 * `reason`, `customer_id`, `since`, `before`; `named`: what they are, in words.
 */
export function decideMany(which, filters, graph, named) {
  const { done, danger, what } = MANY[which];
  const number = (value) =>
    h("input", { type: "number", min: "1", max: "1000", value, required: true, inputmode: "numeric" });
  const [limit, rate] = [number("1000"), number("20")];
  const outcome = h("p", { class: "outcome", role: "status" });
  const rest = Object.fromEntries(Object.entries(filters).filter(([, value]) => value));
  let ready = null;
  const wanted = () => ({ ...rest, limit: limit.valueAsNumber, rate_per_second: rate.valueAsNumber });
  const dialog = decide({
    title: text(`parked.${which}_all_of`, { named }),
    text: what(graph),
    verb: text("decide.dry_run"),
    danger,
    home: heading,
    more: [
      h("div", { class: "pair" }, field(text("decide.at_most"), limit), field(text("decide.a_second"), rate)),
      outcome,
    ],
    act: async (answers) => {
      const asked = JSON.stringify(wanted());
      const dryRun = ready !== asked;
      const answer = await call("POST", `/operations/parked/${which}`, { ...wanted(), ...answers, dry_run: dryRun });
      if (!dryRun)
        return {
          text: text(`decide.${done}`, {
            part: answer[done],
            counted: counted(graph, answer.matched),
            rate: rate.valueAsNumber,
          }),
          mood: "good",
        };
      ready = answer.matched ? asked : null;
      foretell(answer);
      return null;
    },
  });
  function foretell({ matched, orders }) {
    const now = Math.min(matched, limit.valueAsNumber);
    const names = orders.slice(0, 3).join(", ") + (now > 3 ? ", …" : "");
    const length = duration(Math.ceil(now / rate.valueAsNumber));
    const all = counted(graph, matched);
    const part = now < matched ? text("decide.part", { part: now, counted: all }) : all;
    const said = [
      text(`decide.would_${which}`, { part, length, names }),
      now < matched && text("decide.others", { count: matched - now }),
      text("decide.unchanged"),
    ];
    outcome.textContent = matched ? said.filter(Boolean).join(" ") : text("decide.none");
    dialog.submit.textContent = matched
      ? text(`decide.${which}_counted`, { counted: counted(graph, now) })
      : text("decide.dry_run");
  }
  for (const input of [limit, rate]) {
    input.addEventListener("input", () => {
      ready = null;
      dialog.submit.textContent = text("decide.dry_run");
      outcome.textContent = "";
    });
  }
}

// ---- tables --------------------------------------------------------------------------------------------------------

/** Numbers stand to the right, as below them. */
export const head = (names) =>
  h(
    "thead",
    {},
    h(
      "tr",
      {},
      names.map((name) => h("th", { scope: "col", class: NUMBERS.includes(name) && "amount" }, name)),
    ),
  );

const NUMBERS = [text("column.amount")];

export const linkTo = (chain, subject) =>
  h("th", { scope: "row" }, h("a", { class: "id", href: addressOf(chain, subject) }, subject));

const fail = (problem) => toast(problem.message, "bad");

// ---- parked --------------------------------------------------------------------------------------------------------

export function parkedPanel(graphs, signal) {
  const total = h("span", { class: "total number" });
  const groups = h("ul", { class: "groups" });
  const empty = h("p", { class: "empty" }, text("parked.none"));
  onPicture(({ parked }) => {
    const subjects = parked.reduce((sum, group) => sum + group.subjects, 0);
    setText(total, subjects ? count(subjects) : "");
    empty.hidden = subjects > 0;
    const make = (group) => groupRow(group, graphs.get(group.chain), signal);
    keyed(
      groups,
      parked.filter(({ chain }) => graphs.has(chain)),
      keyOf,
      make,
      (row, group) => row.show(group),
    );
  }, signal);
  return h(
    "section",
    { class: "panel parked", id: "parked", "aria-labelledby": "parked-title" },
    h(
      "h2",
      { id: "parked-title", tabindex: "-1" },
      h("a", { href: listOf({ state: "parked" }) }, text("parked.title")),
      " ",
      total,
    ),
    empty,
    groups,
  );
}

const keyOf = ({ chain, link, reason }) => `${chain} ${link} ${reason}`;

function groupRow(group, graph, signal) {
  const { chain, link, reason } = group;
  const subjects = h("span", { class: "number big" });
  const oldest = h("time", { class: "number" });
  const at = { link: lower(graph.link(link).title) };
  const place = text("parked.at", at);
  const named = text("parked.named", { reason: words(reason), ...at });
  const rows = h("div", { class: "parked-subjects", hidden: true });
  const summary = [
    subjects,
    h("span", { class: "reason" }, words(reason)),
    h("span", { class: "at" }, place),
    h("span", { class: "since" }, text("parked.for"), oldest),
  ];
  rows.id = newId("parked");
  const disclose = h(
    "button",
    { type: "button", class: "disclose", "aria-expanded": "false", "aria-controls": rows.id },
    summary,
  );
  const all = (which, kind) =>
    h(
      "button",
      {
        type: "button",
        class: kind,
        onclick: () => decideMany(which, { chain, link, reason }, graph, named),
        "aria-label": text(`parked.${which}_all_of`, { named }),
      },
      text(`parked.${which}_all`),
    );
  const row = h(
    "li",
    { class: "group" },
    disclose,
    h("div", { class: "all" }, all("release"), graph.canReject(link) && all("reject", "quiet")),
    rows,
  );
  let open = null;
  disclose.addEventListener("click", () => {
    open?.abort();
    open = open ? null : new AbortController();
    setAttribute(disclose, "aria-expanded", Boolean(open) || "false");
    rows.hidden = !open;
    if (open) follow(() => listParked(group, graph, rows), AbortSignal.any([open.signal, signal]), fail);
  });
  row.show = (now) => {
    setText(subjects, count(now.subjects));
    setSince(oldest, now.since);
  };
  return row;
}

async function listParked({ chain, link, reason }, graph, place) {
  const filters = { chain, link, reason };
  const { items, total } = await list(`/operations/parked?${queryOf({ ...filters, limit: SHOWN })}`);
  if (!place.firstChild) {
    const more = h("a", { href: listOf({ ...filters, state: "parked" }) });
    place.append(parkedTable(graph, text("parked.by", { reason: words(reason) })), h("p", { class: "hint" }, more));
  }
  showParked(place.querySelector("tbody"), items, () => graph);
  setText(
    place.querySelector("p a"),
    total > SHOWN ? text("parked.all_in_list", { count: total }) : text("parked.as_list"),
  );
}

/** `graph` is of the chain that all of them are of; without one the table names the places. */
export function parkedTable(graph, caption) {
  const decisions = h("span", { class: "for-screen-readers" }, text("column.decide"));
  const names = [
    subjectOf(graph),
    ...["customer", "amount", "parked", "attempts", "for", "error"].map((name) => text(`column.${name}`)),
    decisions,
  ];
  return h("table", {}, h("caption", { class: "for-screen-readers" }, caption), head(names), h("tbody"));
}

/** `graphOf(chain)`; `where`: whether each row says at which link it is parked, and why. */
export function showParked(body, items, graphOf, where = false) {
  keyed(
    body,
    items,
    (each) => each.id,
    (each) => parkedRow(each, graphOf(each.chain), where),
    (row, each) => row.show(each),
  );
}

function parkedRow(parked, graph, where) {
  const { id, chain, subject, link, reason, customer_id, amount, currency, rejectable } = parked;
  const attempts = h("td", { class: "number", "data-name": text("column.attempts") });
  const earlier = h("td", { class: "earlier number", "data-name": text("column.parked") });
  const since = h("time");
  const error = h("span", { tabindex: "-1" });
  const button = (which, act) =>
    h(
      "button",
      {
        type: "button",
        class: "small",
        onclick: () => act(id, subject, graph),
        "aria-label": text(`parked.${which}_it`, { subject }),
      },
      text(`parked.${which}`),
    );
  const place = graph ? graph.link(link).title : words(link);
  const row = h(
    "tr",
    {},
    linkTo(chain, subject),
    h(
      "td",
      { class: "customer", "data-name": customer_id && text("column.customer") },
      customer_id && ordersOf(customer_id),
    ),
    h("td", { class: "amount number" }, currency && money(amount, currency, "code")),
    earlier,
    attempts,
    h("td", { class: "number", "data-name": text("column.for") }, since),
    h("td", { class: "error" }, where && h("b", {}, `${place}: ${words(reason)} `), error),
    h("td", { class: "decide" }, button("release", release), rejectable && button("reject", reject)),
  );
  row.show = (now) => {
    setText(attempts, String(now.attempts));
    setText(earlier, now.earlier ? text("parked.times", { count: now.earlier + 1 }) : text("parked.once"));
    setSince(since, now.since);
    setText(error, now.last_error);
    setAttribute(error, "title", now.last_error);
  };
  return row;
}

// ---- money that is owed --------------------------------------------------------------------------------------------

export function refundsPanel(graphs, signal) {
  const total = h("span", { class: "total number" });
  const empty = h("p", { class: "empty" }, text("refunds.none"));
  const body = h("tbody");
  const caption = h("caption", { class: "for-screen-readers" }, text("refunds.caption"));
  const table = h(
    "table",
    { hidden: true },
    caption,
    head(["order", "amount", "because", "for"].map((name) => text(`column.${name}`))),
    body,
  );
  const csv = h("a", { href: "/operations/refunds?format=csv", download: "", hidden: true }, text("list.csv"));
  let owed = null;
  const look = async () => {
    if (live.picture && !live.picture.owed && owed === 0) return;
    const { items, total: all } = await list(`/operations/refunds?${queryOf({ limit: SHOWN })}`);
    owed = all;
    setText(total, owed ? count(owed) : "");
    empty.hidden = owed > 0;
    table.hidden = csv.hidden = !owed;
    keyed(
      body,
      items,
      (each) => each.order_id,
      refundRow,
      (row, each) => row.show(each),
    );
  };
  follow(look, signal, fail);
  return h(
    "section",
    { class: "panel refunds", "aria-labelledby": "refunds-title" },
    h("h2", { id: "refunds-title", tabindex: "-1" }, text("refunds.title"), " ", total),
    empty,
    table,
    h("p", { class: "hint" }, csv),
  );
}

function refundRow({ order_id }) {
  const amount = h("td", { class: "number" });
  const because = h("td");
  const since = h("time");
  const row = h("tr", {}, linkTo("orders", order_id), amount, because, h("td", { class: "number" }, since));
  row.show = (now) => {
    setText(amount, money(now.amount, now.currency, "code"));
    setText(because, now.late ? text("refunds.late", { reason: words(now.reason) }) : words(now.reason));
    setSince(since, now.since);
  };
  return row;
}
