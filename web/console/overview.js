// All chains at a glance: where their subjects stand, and in a sentence where it hurts most.

import { h, keyed, setText } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { count, hour, lower } from "../kit/words.js";
import { listOf } from "./addresses.js";
import { called, capital } from "./counted.js";
import { drillPanel } from "./drill.js";
import { hoursPanel } from "./hours.js";
import { onPicture } from "./live.js";
import { parkedPanel, refundsPanel } from "./parked.js";
import { Picture, endNode } from "./picture.js";
import { kindOf, sign, troublePanel, troublesOf, whyWaiting } from "./trouble.js";

const MOODS = ["busy", "wait", "outage", "pending", "bad"];

export function overview(graphs, signal) {
  const title = h("h1", { tabindex: "-1" }, text("page.looking"));
  const counted = h("p", { class: "hint" });
  const chains = h("div", { class: "stack" });
  const troubles = troublePanel();
  onPicture((picture) => {
    setText(title, headline(graphs, picture));
    setText(counted, text("overview.counted_since", { hour: hour(picture.counted_since) }));
    troubles.show(troublesOf(graphs, picture));
    const known = [...graphs.values()]
      .map((graph, nth) => ({ graph, first: nth === 0, now: chainOf(picture, graph) }))
      .filter(({ now }) => now);
    keyed(
      chains,
      known,
      ({ graph }) => graph.name,
      (each) => chainPanel(each, signal),
      (panel, { graph, now }) => panel.show(now, parkedOf(picture, graph)),
    );
  }, signal);
  return h(
    "div",
    { class: "page overview" },
    h("div", { class: "heading" }, title, counted),
    troubles.element,
    chains,
    h(
      "div",
      { class: "columns" },
      h("div", { class: "stack" }, parkedPanel(graphs, signal), refundsPanel(graphs, signal)),
      drillPanel(signal),
    ),
  );
}

const chainOf = (picture, { name }) => picture.chains.find((chain) => chain.name === name);
const parkedOf = (picture, { name }) =>
  sum(picture.parked.filter((group) => group.chain === name).map((group) => group.subjects));
const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);

/** The first chain is always drawn; each other one is folded up while nothing is on its way, until somebody looks. */
function chainPanel({ graph, first }, signal) {
  const picture = new Picture(graph, text("overview.picture", { title: graph.title }));
  const sentence = h("span", { class: "soft" });
  const legend =
    first &&
    h(
      "ul",
      { class: "legend", "aria-label": text("overview.colours") },
      MOODS.map((mood) =>
        h("li", { "data-mood": mood }, ["outage", "pending"].includes(mood) && sign(mood), text(`legend.${mood}`)),
      ),
    );
  const panel = h(
    "details",
    { class: "panel picture", "data-chain": graph.name, open: first },
    h("summary", {}, h("h2", {}, graph.title), " ", sentence),
    picture.element,
    legend,
    hoursPanel(graph, signal),
  );
  let open = false;
  panel.show = (chain, parked) => {
    const busy = chain.open > 0 || parked > 0;
    if (busy && !open) panel.open = true;
    open = busy;
    setText(sentence, inWords(graph, chain, parked) ?? text("overview.idle"));
    picture.show(...allSubjects(graph, chain));
  };
  return panel;
}

const perSecond = (rate) =>
  rate > 0 ? text("overview.per_second", { rate: rate < 10 ? rate.toFixed(1) : Math.round(rate) }) : "";

/** What the picture shows of all open subjects. */
function allSubjects(graph, chain) {
  const nodes = {};
  const rates = {};
  const aside = new Set(graph.aside.flat()); // shown once something has come there
  for (const [name, links] of Map.groupBy(chain.links, (link) => graph.place(link.name))) {
    const all = (field) => sum(links.map((link) => link[field]));
    const [parked, waiting, inProgress, done] = ["parked", "waiting", "in_progress", "done"].map(all);
    const subjects = parked + waiting + inProgress;
    rates[name] = all("per_second");
    if (aside.has(name) && !subjects && !done) {
      nodes[name] = null;
      continue;
    }
    const [busiest] = links.toSorted((a, b) => at(b) - at(a));
    nodes[name] = {
      subjects,
      count: count(subjects),
      what: ` ${subjects === 1 ? graph.subject : graph.subjects}`,
      href: at(busiest) === subjects ? listOf({ chain: graph.name, link: busiest.name }) : null,
      mood: parked ? "bad" : waiting ? moodOf(links) : inProgress ? "busy" : "calm",
      since: links
        .map((link) => link.oldest)
        .filter(Boolean)
        .toSorted()[0],
      split: [parked, waiting, inProgress],
      facts: [
        ...links.flatMap((link) => factsOf(graph, link)),
        {
          key: "done",
          text: [perSecond(rates[name]), done && text("overview.done", { count: done })].filter(Boolean).join(" · "),
        },
      ],
    };
  }
  for (const [name, [first, ...others]] of Map.groupBy(chain.ends, (end) => endNode(graph, end.status))) {
    rates[name] = sum([first, ...others].map((end) => end.per_second));
    nodes[name] = {
      count: count(first.done),
      href: listOf({ chain: graph.name, status: first.status }),
      what: ` ${graph.subjects}`,
      mood: graph.end(first.status)?.good ? "good" : "soft",
      facts: [
        { key: "rate", text: perSecond(rates[name]) },
        ...others.map(({ status, done }) => ({
          key: status,
          href: listOf({ chain: graph.name, status }),
          text: done && `${count(done)} ${lower(graph.status(status).title)}`,
        })),
      ],
    };
  }
  return [nodes, ({ from, to, of }) => (of || to.startsWith("end ") ? rates[to] : rates[from])];
}

const at = ({ parked, waiting, in_progress }) => parked + waiting + in_progress;

/** Of what waits: an outage is worse than what only takes its time. */
function moodOf(links) {
  const kinds = links.filter(({ waiting }) => waiting).map(whyWaiting);
  return kindOf(["outage", "backlog", "pending"].find((kind) => kinds.includes(kind))).mood;
}

/** The numbers of one link, each a way to the list behind it, and why those wait that do. */
function factsOf(graph, link) {
  const fact = (state, number, said, more) => ({
    key: `${link.name} ${state} ${more.sign}`,
    text: number && said,
    href: listOf({ chain: graph.name, link: link.name, state }),
    ...more,
  });
  const why = link.waiting > 0 && whyWaiting(link);
  const known = why && why !== "backlog";
  return [
    fact("parked", link.parked, text("overview.parked", { count: link.parked }), { mood: "bad" }),
    fact("waiting", link.waiting, waitingText(link.waiting, known && why), {
      mood: kindOf(why || "backlog").mood,
      sign: known && why,
    }),
    fact("in_progress", link.in_progress, text("overview.in_progress", { count: link.in_progress }), { mood: "busy" }),
  ];
}

const waitingText = (count, why) =>
  why ? text("overview.waiting_why", { count, why: lower(text(`kind.${why}`)) }) : text("overview.waiting", { count });

// ---- in a sentence -------------------------------------------------------------------------------------------------

function headline(graphs, picture) {
  const sentences = [...graphs.values()].map((graph) =>
    inWords(graph, chainOf(picture, graph), parkedOf(picture, graph)),
  );
  const owed = picture.owed > 0 && text("overview.owed", { count: picture.owed });
  return [...sentences, owed].filter(Boolean).join(" ") || text("overview.quiet");
}

/** Where it hurts most; null where nothing is on its way. */
function inWords(graph, chain, parked) {
  if (!chain?.open) return parked ? capital(text("overview.only_parked", { count: parked, ...called(graph) })) : null;
  // What is stuck farther on makes others wait to be taken, so those are named only where nothing else waits.
  const waiting = chain.links.filter((link) => link.waiting).toSorted((a, b) => b.waiting - a.waiting);
  const worst = waiting.find((link) => link.name !== "received") ?? waiting[0];
  const open = capital(text("overview.open", { count: chain.open, ...called(graph) }));
  const wait = ({ name, waiting: count }) =>
    name === "received"
      ? text("overview.wait_taken", { count })
      : text("overview.wait_at", { count, link: lower(graph.link(graph.place(name)).title) });
  const parts = [worst && wait(worst), parked > 0 && text("overview.parked", { count: parked })].filter(Boolean);
  return parts.length ? `${open}: ${parts.join(", ")}.` : `${open}, ${text("overview.all_move")}.`;
}
