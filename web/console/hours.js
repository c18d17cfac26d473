// The last 24 hours of a chain: what came and what became of it, hour by hour, and how long that took beside what is usual.

import { h, setAttribute, setText, svg } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { count, hour, lower, took } from "../kit/words.js";
import { called, capital } from "./counted.js";
import { call } from "./live.js";

const AGAIN = 60_000; // milliseconds
const [WIDTH, HEIGHT] = [10, 48]; // of an hour in the drawing
const SLOWER = 2; // times as long as usual is worth a word
const ENOUGH = 20; // subjects, before it is

export function hoursPanel(graph, signal) {
  const sentence = h("p", { class: "durations" });
  const chart = h("div", { class: "chart" });
  const told = h("p", { class: "hint told", "aria-hidden": "true" });
  const table = h("div", { class: "scrolls", tabindex: "0", role: "group", "aria-label": text("hours.table") });
  const element = h(
    "section",
    { class: "hours", "aria-label": text("hours.of", { title: graph.title }), hidden: true },
    h("div", { class: "figure" }, chart, told, legend(graph)),
    h(
      "div",
      { class: "in-words" },
      h("h3", {}, text("hours.title")),
      sentence,
      h("details", {}, h("summary", {}, text("hours.table")), table),
    ),
  );
  let shown = "";
  const look = async () => {
    const seen = await call("GET", `/operations/hours?${new URLSearchParams({ chain: graph.name })}`).catch(() => null);
    if (!seen || signal.aborted || JSON.stringify(seen) === shown) return;
    shown = JSON.stringify(seen);
    element.hidden = !seen.hours.some(({ received, ended }) => received || sum(ended));
    sentence.replaceChildren(...inWords(graph, seen));
    chart.replaceChildren(drawn(graph, seen, told), axis(seen));
    table.replaceChildren(asTable(graph, seen));
  };
  look();
  const timer = setInterval(() => document.hidden || look(), AGAIN);
  signal.addEventListener("abort", () => clearInterval(timer));
  return element;
}

const sum = (ended) => Object.values(ended).reduce((total, each) => total + each, 0);

const within = ({ hour: begins }) =>
  text("hours.within", { from: hour(begins), to: hour(+new Date(begins) + 3_600_000) });

// ---- in words ------------------------------------------------------------------------------------------------------

function inWords(graph, { today, usual }) {
  const subjects = h("span", {}, capital(text("hours.ended", { count: today.count, ...called(graph) })));
  const usually = usual.count ? text("hours.usual_day", { count: Math.round(usual.count) }) : "";
  if (!today.count) return [subjects, `${usually}.`];
  return [
    subjects,
    `${usually}. ${text("hours.half")}`,
    ...beside(today, usual, "p50"),
    text("hours.most"),
    ...beside(today, usual, "p95"),
    ".",
  ];
}

/** 1.2 s, usually 0.4 s */
function beside(today, usual, which) {
  const [now, before] = [today[which], usual[which]];
  if (now === null) return ["…"];
  const slower = before && today.count >= ENOUGH && now > SLOWER * before;
  const known = before ? text("hours.usually", { length: took(before) }) : "";
  return [
    h("b", { class: "number", "data-mood": slower && "wait" }, took(now)),
    `${known}${slower ? text("hours.slower") : ""}`,
  ];
}

function inHour(graph, each) {
  const ends = Object.entries(each.ended).filter(([, number]) => number);
  return [
    within(each),
    text("hours.received", { count: each.received }),
    ...ends.map(([status, number]) => `${count(number)} ${lower(graph.status(status).title)}`),
  ].join(", ");
}

// ---- drawn ---------------------------------------------------------------------------------------------------------

function drawn(graph, { hours }, told) {
  const most = Math.max(1, ...hours.map(({ received, ended }) => Math.max(received, sum(ended))));
  const high = (number) => (number / most) * HEIGHT;
  const bars = hours.map((each, nth) => {
    const bar = (left, bottom, number, mood) =>
      number > 0 &&
      svg("rect", {
        x: nth * WIDTH + left,
        y: (HEIGHT - bottom - high(number)).toFixed(2),
        width: 3.5,
        height: high(number).toFixed(2),
        "data-mood": mood,
      });
    const good = Object.entries(each.ended).reduce(
      (total, [status, n]) => total + (graph.end(status)?.good ? n : 0),
      0,
    );
    const said = inHour(graph, each);
    return svg(
      "g",
      { tabindex: nth === hours.length - 1 ? "0" : "-1", role: "img", "aria-label": said },
      svg("title", {}, said),
      svg("rect", { class: "hit", x: nth * WIDTH, y: 0, width: WIDTH, height: HEIGHT }),
      bar(1, 0, each.received, "calm"),
      bar(5.5, 0, good, "good"),
      bar(5.5, high(good), sum(each.ended) - good, "soft"),
    );
  });
  const tell = ({ target }) => setText(told, target.closest("g")?.getAttribute("aria-label") ?? "");
  const goes = { ArrowLeft: -1, ArrowRight: 1, Home: -hours.length, End: hours.length };
  const go = (event) => {
    if (!(event.key in goes)) return;
    event.preventDefault();
    const to = Math.min(bars.length - 1, Math.max(0, bars.indexOf(event.target) + goes[event.key]));
    bars.forEach((bar, nth) => setAttribute(bar, "tabindex", nth === to ? "0" : "-1"));
    bars[to].focus();
  };
  return svg(
    "svg",
    {
      viewBox: `0 0 ${hours.length * WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "group",
      "aria-label": text("hours.keys"),
      onkeydown: go,
      onfocusin: tell,
      onpointerover: tell,
    },
    bars,
  );
}

function legend(graph) {
  const titles = (wanted) => graph.ends.filter(({ good }) => good === wanted).map(({ title }) => lower(title));
  const parts = { calm: [lower(graph.status("received").title)], good: titles(true), soft: titles(false) };
  return h(
    "ul",
    { class: "legend", "aria-label": text("hours.colours") },
    Object.entries(parts).map(([mood, names]) => names.length > 0 && h("li", { "data-mood": mood }, names.join(", "))),
  );
}

function axis({ hours }) {
  const at = [0, 0.25, 0.5, 0.75].map((part) => hours[Math.floor(part * hours.length)]);
  return h(
    "p",
    { class: "axis number", "aria-hidden": "true" },
    [...at.map((each) => hour(each.hour)), text("hours.now")].map((each) => h("span", {}, each)),
  );
}

function asTable(graph, { hours }) {
  const ends = graph.ends.map(({ status }) => status);
  const cells = (each) => [each.received, ...ends.map((status) => each.ended[status] ?? 0)];
  const names = [
    text("hours.hour"),
    graph.status("received").title,
    ...ends.map((status) => graph.status(status).title),
  ];
  return h(
    "table",
    {},
    h("caption", { class: "for-screen-readers" }, text("hours.title")),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        names.map((name, nth) => h("th", { scope: "col", class: nth && "amount" }, name)),
      ),
    ),
    h(
      "tbody",
      {},
      hours.map((each) =>
        h(
          "tr",
          {},
          h("th", { scope: "row", class: "number" }, within(each)),
          cells(each).map((number) => h("td", { class: "amount number" }, count(number))),
        ),
      ),
    ),
  );
}
