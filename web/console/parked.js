// What waits for a person: what is parked, by what failed alike, and money that is owed.

import { $, h, keyed, setAttribute, setText } from "../kit/elements.js";
import { count, lower, many, money, words } from "../kit/words.js";
import { decide, field, toast } from "./dialog.js";
import { call, follow, live, onPicture } from "./live.js";
import { addressOf } from "./orders.js";
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

export function reject(id, subject) {
  decide({
    title: `Reject ${subject}`,
    text: "What was done for it is undone. This cannot be taken back.",
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

/** Nothing is released before a dry run has said what would be. */
function releaseMany({ link, reason }, graph, place) {
  const number = (max, value) =>
    h("input", { type: "number", min: "1", max: "1000", value, required: true, inputmode: "numeric" });
  const [limit, rate] = [number("1000", "1000"), number("1000", "20")];
  const outcome = h("p", { class: "outcome", role: "status" });
  const subjects = (matched) => many(matched, graph.subject, graph.subjects);
  let ready = null;
  const wanted = () => ({ link, reason, limit: limit.valueAsNumber, rate_per_second: rate.valueAsNumber });
  const dialog = decide({
    title: `Release ${words(reason)} ${place}`,
    text: "The oldest first, one after the other at this rate, so that what was mended is not run over.",
    verb: "Dry run",
    home: heading,
    more: [h("div", { class: "pair" }, field("At most", limit), field("A second", rate)), outcome],
    act: async (answers) => {
      const asked = JSON.stringify(wanted());
      const dryRun = ready !== asked;
      const answer = await call("POST", "/operations/parked/release", { ...wanted(), ...answers, dry_run: dryRun });
      if (!dryRun)
        return {
          text: `${count(answer.released)} of ${subjects(answer.matched)} released at ${rate.value} a second.`,
          mood: "good",
        };
      ready = answer.matched ? asked : null;
      foretell(answer);
      return null;
    },
  });
  function foretell({ matched, orders }) {
    const named = orders.slice(0, 3).join(", ") + (matched > 3 ? ", …" : "");
    const within = Math.ceil(matched / rate.valueAsNumber);
    outcome.textContent = matched
      ? `Dry run: ${subjects(matched)} would go on within ${within} s (${named}). Nothing was changed yet.`
      : "Dry run: nothing matches any more.";
    dialog.submit.textContent = matched ? `Release ${subjects(matched)}` : "Dry run";
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

const head = (names) =>
  h(
    "thead",
    {},
    h(
      "tr",
      {},
      names.map((name) => h("th", { scope: "col" }, name)),
    ),
  );

const linkTo = (chain, subject) =>
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
    h("h2", { id: "parked-title", tabindex: "-1" }, "Parked ", total),
    empty,
    groups,
  );
}

const keyOf = ({ chain, link, reason }) => `${chain} ${link} ${reason}`;

function groupRow(group, graph, signal) {
  const subjects = h("span", { class: "number big" });
  const oldest = h("time", { class: "number" });
  const place = `at ${lower(graph.link(group.link).title)}`;
  const list = h("div", { class: "parked-subjects" });
  const summary = [
    subjects,
    h("span", { class: "reason" }, words(group.reason)),
    h("span", { class: "at" }, place),
    h("span", { class: "since" }, "for ", oldest),
  ];
  const details = h("details", {}, h("summary", {}, summary), list);
  const all = () => releaseMany(group, graph, place);
  const label = `Release all ${words(group.reason)} ${place}`;
  const row = h(
    "li",
    { class: "group" },
    details,
    h("button", { type: "button", class: "all", onclick: all, "aria-label": label }, "Release all…"),
  );
  let open = null;
  details.addEventListener("toggle", () => {
    open?.abort();
    open = details.open ? new AbortController() : null;
    if (open) follow(() => listParked(group, graph, list), AbortSignal.any([open.signal, signal]), fail);
  });
  row.show = (now) => {
    setText(subjects, count(now.subjects));
    setSince(oldest, now.since);
  };
  return row;
}

async function listParked({ chain, link, reason }, graph, list) {
  const found = (await call("GET", `/operations/parked?${new URLSearchParams({ link, reason })}`)).filter(
    (each) => each.chain === chain,
  );
  if (!list.firstChild) list.append(...parkedTable(graph, reason));
  keyed(
    list.querySelector("tbody"),
    found.slice(0, SHOWN),
    (each) => each.id,
    parkedRow,
    (row, each) => row.show(each),
  );
  setText(
    list.querySelector("p"),
    found.length > SHOWN ? `The ${SHOWN} oldest of ${count(found.length)} are shown.` : "",
  );
}

function parkedTable(graph, reason) {
  const subject = graph.subject.charAt(0).toUpperCase() + graph.subject.slice(1);
  const decisions = h("span", { class: "for-screen-readers" }, "Decide");
  const caption = h("caption", { class: "for-screen-readers" }, `Parked by ${words(reason)}`);
  return [
    h("table", {}, caption, head([subject, "Attempts", "For", "Last error", decisions]), h("tbody")),
    h("p", { class: "hint" }),
  ];
}

function parkedRow({ id, chain, subject }) {
  const attempts = h("td", { class: "number", "data-name": "Attempts" });
  const since = h("time");
  const error = h("span");
  const button = (verb, act) =>
    h(
      "button",
      { type: "button", class: "small", onclick: () => act(id, subject), "aria-label": `${verb} ${subject}` },
      verb,
    );
  const row = h(
    "tr",
    {},
    linkTo(chain, subject),
    attempts,
    h("td", { class: "number", "data-name": "For" }, since),
    h("td", { class: "error" }, error),
    h("td", { class: "decide" }, button("Release", release), button("Reject", reject)),
  );
  row.show = (now) => {
    setText(attempts, String(now.attempts));
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
    h("h2", { id: "refunds-title" }, "Refunds owed ", total),
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
