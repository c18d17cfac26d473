// What is wrong: where, since when, why, and what somebody who was woken by it is to do.

import { h, keyed, setAttribute, setText, svg } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { date, hour, lower, words } from "../kit/words.js";
import { listOf } from "./addresses.js";
import { called, capital } from "./counted.js";
import { now, setSince } from "./since.js";

const BACKLOG_AFTER = 30_000; // milliseconds: what waits for less without a known reason is only on its way

/** The most urgent first. `icon`: a path of 16 by 16. */
const KINDS = {
  fault: {
    mood: "bad",
    icon: "M8 1.5 15 14H1zM8 6v4M8 11.8v.4",
    verb: "parked",
  },
  outage: {
    mood: "outage",
    icon: "M13.5 8a5.5 5.5 0 1 1-1.6-3.9M12.5 1v3.5H9",
    verb: "waiting",
  },
  owed: {
    mood: "outage",
    icon: "M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13zM10 5.5H7a1.5 1.5 0 0 0 0 3h2a1.5 1.5 0 0 1 0 3H5.8M8 4v1.5M8 11.5v1",
  },
  backlog: {
    mood: "wait",
    icon: "M2 4h12M2 8h12M2 12h7",
    verb: "waiting",
  },
  pending: {
    mood: "pending",
    icon: "M4 1.5h8M4 14.5h8M5 1.5v3L8 8l3-3.5v-3M5 14.5v-3L8 8l3 3.5v3",
    verb: "waiting",
  },
};

export const sign = (kind) =>
  svg("svg", { class: "sign", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: KINDS[kind].icon }));

export const kindOf = (kind) => KINDS[kind];

/** `pending` stands still because of somebody outside: it is told apart from an outage. */
export function showStatus(element, { title, mood }) {
  setAttribute(element, "data-mood", mood === "wait" ? "pending" : mood);
  setText(element, title);
}

/** Why those that wait at a link do; `backlog` where no error is known. */
export const whyWaiting = ({ why }) => (why && why.kind !== "fault" ? why.kind : "backlog");

/** What is wrong in all chains: { kind, graph, link, subjects, since, error, reasons }. */
export function troublesOf(graphs, picture) {
  const found = picture.chains.flatMap((chain) => {
    const graph = graphs.get(chain.name);
    return graph ? [...faults(graph, chain, picture), ...waits(graph, chain)] : [];
  });
  if (picture.owed) found.push({ kind: "owed", subjects: picture.owed });
  const order = Object.keys(KINDS);
  return found.toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || b.subjects - a.subjects);
}

function faults(graph, { name, links }, { parked }) {
  const groups = Map.groupBy(
    parked.filter(({ chain }) => chain === name),
    ({ link }) => link,
  );
  return [...groups].map(([link, at]) => ({
    kind: "fault",
    graph,
    link,
    subjects: at.reduce((sum, { subjects }) => sum + subjects, 0),
    since: at
      .map(({ since }) => since)
      .filter(Boolean)
      .toSorted()[0],
    error: links.find((each) => each.name === link && each.why?.kind === "fault" && !known(at, each.why))?.why.error,
    reasons: at.map(({ reason }) => words(reason)),
  }));
}

/** Of errors that differ the API tells the reason's code, which has words of its own. */
const known = (groups, { error }) => groups.some(({ reason }) => reason === error);

/** Those that wait to be taken do so because others are stuck farther on, so they count only where nobody else waits. */
function waits(graph, { links }) {
  const all = links
    .filter(({ waiting }) => waiting)
    .map((link) => ({
      kind: whyWaiting(link),
      graph,
      link: link.name,
      subjects: link.waiting,
      since: link.why?.since ?? link.oldest,
      error: link.why?.error,
    }))
    .filter(({ kind, since }) => kind !== "backlog" || now() - new Date(since) > BACKLOG_AFTER);
  const stuck = all.filter(({ link }) => link !== "received");
  return stuck.length ? stuck : all;
}

export function troublePanel() {
  const rows = h("ul", { class: "troubles" });
  const panel = h("section", { class: "panel trouble", "aria-label": text("overview.wrong"), hidden: true }, rows);
  return {
    element: panel,
    show(troubles) {
      panel.hidden = !troubles.length;
      keyed(
        rows,
        troubles,
        ({ kind, graph, link }) => `${kind} ${graph?.name} ${link}`,
        troubleRow,
        (row, trouble) => row.show(trouble),
      );
    },
  };
}

function troubleRow({ kind, graph, link }) {
  const { mood, verb } = KINDS[kind];
  const number = h("a", {
    href: graph ? listOf({ chain: graph.name, link, state: verb }) : "#/refunds",
  });
  const since = h("span", { class: "number" });
  const age = h("time", { class: "number" });
  const passed = h("span", { class: "soft" }, since, age, ")");
  const error = h("p", { class: "error" });
  const row = h(
    "li",
    { "data-mood": mood, "data-kind": kind },
    h("p", { class: "kind" }, sign(kind), text(`kind.${kind}`)),
    h("p", { class: "what" }, number, passed),
    error,
    h(
      "p",
      { class: "advice" },
      text(kind === "fault" && !graph.canReject(link) ? "advice.only_release" : `advice.${kind}`),
    ),
  );
  row.show = (trouble) => {
    setText(number, inWords(trouble));
    passed.hidden = !trouble.since;
    setText(since, trouble.since ? text("trouble.since", { moment: shortly(trouble.since) }) : "");
    setSince(age, trouble.since);
    setText(error, trouble.error ?? trouble.reasons?.join(", ") ?? "");
    setAttribute(error, "title", trouble.error ?? null);
  };
  return row;
}

/** 09:44, with its day where that is not today. */
const shortly = (moment) => (now() - new Date(moment) < 12 * 3_600_000 ? hour(moment) : date(moment));

function inWords({ kind, graph, link, subjects: count }) {
  if (kind === "owed") return text("trouble.owed", { count });
  const who = { count, ...called(graph) };
  if (link === "received") return capital(text("trouble.wait_taken", who));
  const key = KINDS[kind].verb === "parked" ? "trouble.parked_at" : "trouble.wait_at";
  return capital(text(key, { ...who, link: lower(graph.link(link).title) }));
}
