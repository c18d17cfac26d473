// What waits for a person: what is parked, by what failed alike, and money that is owed.

import { $, h, keyed, newId, setAttribute, setText } from "../kit/elements.js";
import { count, duration, lower, many, money, words } from "../kit/words.js";
import { addressOf, listOf, ordersOf, queryOf } from "./addresses.js";
import { decide, field, toast } from "./dialog.js";
import { call, follow, list, live, onPicture } from "./live.js";
import { setSince } from "./since.js";

const SHOWN = 50;
const heading = () => $("parked-title");

// ---- decisions -----------------------------------------------------------------------------------------------------

/** `id` names a parking, or all those of a subject. */
export function release(id, subject) {
  decide({
    title: `Release ${subject}`,
    text: "It goes on at the link where it is parked.",
    verb: "Release",
    home: heading,
    act: (answers) =>
      parkedBecomes(
        "released",
        `${subject} is released and goes on.`,
        `${encodeURIComponent(id)}/release`,
        subject,
        answers,
      ),
  });
}

export function reject(id, subject, graph) {
  decide({
    title: `Reject ${subject}`,
    text: undone(graph),
    verb: "Reject",
    danger: true,
    home: heading,
    act: (answers) =>
      parkedBecomes(
        "rejected",
        `${subject} is rejected; what was done is undone.`,
        `${encodeURIComponent(id)}/reject`,
        subject,
        answers,
      ),
  });
}

async function parkedBecomes(wanted, sentence, command, subject, { why, by }) {
  const { verdict } = await call("POST", `/operations/parked/${command}`, { why, by });
  return outcomeOf(verdict, wanted, sentence, subject);
}

export function cancel(orderId) {
  decide({
    title: `Cancel ${orderId}`,
    text: "For the customer. It is decided once, by the workflow: from some link on it is too late.",
    verb: "Cancel the order",
    danger: true,
    act: async ({ why, by }) => {
      const { verdict } = await call("POST", `/orders/${encodeURIComponent(orderId)}/cancel`, {
        reason: `${why} (${by})`,
      });
      return outcomeOf(verdict, "cancelled", `${orderId} is cancelled; what was done is undone.`, orderId);
    },
  });
}

function outcomeOf(verdict, wanted, sentence, subject) {
  if (verdict === wanted) return { text: sentence, mood: "good" };
  return { text: `${subject}: ${words(verdict)}. Nothing was changed.`, mood: "wait" };
}

const MANY = {
  release: {
    verb: "Release",
    done: "released",
    would: "go on",
    rate: "20",
    what: () =>
      "They go on at the links where they are parked; nothing that was done is done again. The oldest first, one after the other at this rate, so that what was mended is not run over.",
  },
  reject: {
    verb: "Reject",
    done: "rejected",
    would: "be rejected",
    rate: "20",
    danger: true,
    what: (graph) => `${undone(graph)} One that is on its way back already can only be released.`,
  },
};

/** What becomes of what was done for it, money and goods among it, in the words of the chain. */
function undone(graph) {
  const steps = graph?.back.flat().map((name) => lower(graph.link(name).title)) ?? [];
  const way = steps.length ? `: it goes the way back (${steps.join(", ")})` : "";
  return `What was done for it is undone${way}. This cannot be taken back.`;
}

/**
 * Nothing is decided of many before a dry run has said how many they are. `filters` as of the list: `chain`, `link`,
 * `reason`, `customer_id`, `since`, `before`; `named`: what they are, in words.
 */
export function decideMany(which, filters, graph, named) {
  const { verb, done, would, rate: usual, danger, what } = MANY[which];
  const number = (value) =>
    h("input", { type: "number", min: "1", max: "1000", value, required: true, inputmode: "numeric" });
  const [limit, rate] = [number("1000"), number(usual)];
  const outcome = h("p", { class: "outcome", role: "status" });
  const subjects = (matched) => many(matched, graph?.subject ?? "subject", graph?.subjects ?? "subjects");
  const rest = Object.fromEntries(Object.entries(filters).filter(([, value]) => value));
  let ready = null;
  const wanted = () => ({ ...rest, limit: limit.valueAsNumber, rate_per_second: rate.valueAsNumber });
  const dialog = decide({
    title: `${verb} ${named}`,
    text: what(graph),
    verb: "Dry run",
    danger,
    home: heading,
    more: [h("div", { class: "pair" }, field("At most", limit), field("A second", rate)), outcome],
    act: async (answers) => {
      const asked = JSON.stringify(wanted());
      const dryRun = ready !== asked;
      const answer = await call("POST", `/operations/parked/${which}`, { ...wanted(), ...answers, dry_run: dryRun });
      if (!dryRun)
        return {
          text: `${count(answer[done])} of ${subjects(answer.matched)} ${done} at ${rate.value} a second.`,
          mood: "good",
        };
      ready = answer.matched ? asked : null;
      foretell(answer);
      return null;
    },
  });
  function foretell({ matched, orders }) {
    const now = Math.min(matched, limit.valueAsNumber);
    const named = orders.slice(0, 3).join(", ") + (now > 3 ? ", …" : "");
    const within = duration(Math.ceil(now / rate.valueAsNumber));
    const part = now < matched ? `${count(now)} of ${subjects(matched)}` : subjects(matched);
    const others = now < matched ? ` The other ${count(matched - now)} stay parked: do it again for them.` : "";
    outcome.textContent = matched
      ? `Dry run: ${part} would ${would} within ${within} (${named}).${others} Nothing was changed yet.`
      : "Dry run: nothing matches any more.";
    dialog.submit.textContent = matched ? `${verb} ${subjects(now)}` : "Dry run";
  }
  for (const input of [limit, rate]) {
    input.addEventListener("input", () => {
      ready = null;
      dialog.submit.textContent = "Dry run";
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

const NUMBERS = ["Amount"];

export const linkTo = (chain, subject) =>
  h("th", { scope: "row" }, h("a", { class: "id", href: addressOf(chain, subject) }, subject));

const fail = (problem) => toast(problem.message, "bad");

// ---- parked --------------------------------------------------------------------------------------------------------

export function parkedPanel(graphs, signal) {
  const total = h("span", { class: "total number" });
  const groups = h("ul", { class: "groups" });
  const empty = h(
    "p",
    { class: "empty" },
    "Nothing is parked. What fails in a way that nobody expected waits here until somebody decides; outages wait at their link and go on by themselves.",
  );
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
      h("a", { href: listOf({ state: "parked" }) }, "Parked"),
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
  const place = `at ${lower(graph.link(link).title)}`;
  const named = `${words(reason)} ${place}`;
  const rows = h("div", { class: "parked-subjects", hidden: true });
  const summary = [
    subjects,
    h("span", { class: "reason" }, words(reason)),
    h("span", { class: "at" }, place),
    h("span", { class: "since" }, "for ", oldest),
  ];
  rows.id = newId("parked");
  const disclose = h(
    "button",
    { type: "button", class: "disclose", "aria-expanded": "false", "aria-controls": rows.id },
    summary,
  );
  const all = (which, verb, kind) =>
    h(
      "button",
      {
        type: "button",
        class: kind,
        onclick: () => decideMany(which, { chain, link, reason }, graph, named),
        "aria-label": `${verb} all ${named}`,
      },
      `${verb} all…`,
    );
  const row = h(
    "li",
    { class: "group" },
    disclose,
    h("div", { class: "all" }, all("release", "Release"), all("reject", "Reject", "quiet")),
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
    place.append(parkedTable(graph, `Parked by ${words(reason)}`), h("p", { class: "hint" }, more));
  }
  showParked(place.querySelector("tbody"), items, () => graph);
  setText(
    place.querySelector("p a"),
    total > SHOWN ? `The ${SHOWN} oldest are shown: all ${count(total)} in a list` : "As a list, with filters and CSV",
  );
}

/** `graph` is of the chain that all of them are of; without one the table names the places. */
export function parkedTable(graph, caption) {
  const subject = graph ? capital(graph.subject) : "Subject";
  const decisions = h("span", { class: "for-screen-readers" }, "Decide");
  const names = [subject, "Customer", "Amount", "Parked", "Attempts", "For", "Last error", decisions];
  return h("table", {}, h("caption", { class: "for-screen-readers" }, caption), head(names), h("tbody"));
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

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

function parkedRow({ id, chain, subject, link, reason, customer_id, amount, currency }, graph, where) {
  const attempts = h("td", { class: "number", "data-name": "Attempts" });
  const earlier = h("td", { class: "earlier number", "data-name": "Parked" });
  const since = h("time");
  const error = h("span", { tabindex: "-1" });
  const button = (verb, act) =>
    h(
      "button",
      { type: "button", class: "small", onclick: () => act(id, subject, graph), "aria-label": `${verb} ${subject}` },
      verb,
    );
  const place = graph ? graph.link(link).title : words(link);
  const row = h(
    "tr",
    {},
    linkTo(chain, subject),
    h("td", { class: "customer", "data-name": customer_id && "Customer" }, customer_id && ordersOf(customer_id)),
    h("td", { class: "amount number" }, currency && money(amount, currency, "code")),
    earlier,
    attempts,
    h("td", { class: "number", "data-name": "For" }, since),
    h("td", { class: "error" }, where && h("b", {}, `${place}: ${words(reason)} `), error),
    h("td", { class: "decide" }, button("Release", release), button("Reject", reject)),
  );
  row.show = (now) => {
    setText(attempts, String(now.attempts));
    setText(earlier, now.earlier ? `${count(now.earlier + 1)} times` : "once");
    setSince(since, now.since);
    setText(error, now.last_error);
    setAttribute(error, "title", now.last_error);
  };
  return row;
}

// ---- money that is owed --------------------------------------------------------------------------------------------

export function refundsPanel(graphs, signal) {
  const total = h("span", { class: "total number" });
  const empty = h(
    "p",
    { class: "empty" },
    "No money is owed. A refund that has not succeeded yet stands here; it is retried without end.",
  );
  const body = h("tbody");
  const caption = h("caption", { class: "for-screen-readers" }, "Refunds that are owed");
  const table = h("table", { hidden: true }, caption, head(["Order", "Amount", "Because", "For"]), body);
  let owed = null;
  const look = async () => {
    if (live.picture && !live.picture.owed && owed === 0) return;
    const refunds = await call("GET", "/operations/refunds");
    owed = refunds.length;
    setText(total, owed ? count(owed) : "");
    empty.hidden = owed > 0;
    table.hidden = !owed;
    keyed(
      body,
      refunds.slice(0, SHOWN),
      (each) => each.order_id,
      refundRow,
      (row, each) => row.show(each),
    );
  };
  follow(look, signal, fail);
  return h(
    "section",
    { class: "panel refunds", "aria-labelledby": "refunds-title" },
    h("h2", { id: "refunds-title", tabindex: "-1" }, "Refunds owed ", total),
    empty,
    table,
  );
}

function refundRow({ order_id }) {
  const amount = h("td", { class: "number" });
  const because = h("td");
  const since = h("time");
  const row = h("tr", {}, linkTo("orders", order_id), amount, because, h("td", { class: "number" }, since));
  row.show = (now) => {
    setText(amount, money(now.amount, now.currency, "code"));
    setText(because, words(now.reason) + (now.late ? ", paid late" : ""));
    setSince(since, now.since);
  };
  return row;
}
