// The picture of a chain, whichever it is: its links swell where subjects pile up, and what runs between them is as
// thick as it is fast.

import { h, keyed, setAttribute, setText, svg } from "../kit/elements.js";
import { text as said } from "../kit/texts.js";
import { setSince } from "./since.js";
import { sign } from "./trouble.js";

const NARROW = 118; // pixels a column, below which the columns stand one below the other
const UNDER = 14; // pixels between what is written and a line below it

/** The name of the node at which an end is drawn: each good one has its own, all others share one. */
export function endNode(graph, status) {
  const soft = graph.ends.find((end) => !end.good);
  return `end ${graph.end(status)?.good === false ? soft.status : status}`;
}

/** Rows of stages, each the names of its nodes side by side, and the lines between them. */
function layout(graph) {
  const ends = (wanted) => [...new Set(graph.ends.filter(wanted).map((end) => endNode(graph, end.status)))];
  const [good, soft] = [ends((end) => end.good), ends((end) => !end.good)];
  const lastOf = (stages, last) => (last.length ? [...stages, last] : stages);
  const forward = lastOf([["received"], ...graph.forward], graph.back.length ? good : [...good, ...soft]);
  const back = graph.back.length ? lastOf(graph.back, soft) : [];
  const columns = Math.max(forward.length, back.length + 1, graph.aside.length + 1);
  const rows = [
    { name: "forward", stages: forward },
    { name: "back", title: said("overview.way_back"), ...spread(graph, back, forward, columns) },
    { name: "aside", title: said("overview.aside"), stages: graph.aside },
  ].filter((row) => row.stages.length);
  return { columns, rows, edges: [...rows.flatMap(along), ...down(graph, forward)] };
}

/** The way back has each link below the one that it undoes, where there is room, and its end in the last column. */
function spread(graph, stages, forward, columns) {
  const above = (name) => forward.findIndex((stage) => stage.includes(graph.link(name).undoes));
  const sorted = stages.map((stage) => stage.toSorted((a, b) => above(a) - above(b)));
  const at = {};
  let column = 0;
  for (const name of sorted.flat()) at[name] = column = Math.max(column + 1, above(name));
  if (column >= columns || sorted.at(-1)?.length !== 1) return { stages };
  at[sorted.at(-1)[0]] = columns - 1;
  return { stages: sorted, at };
}

/** From each node to each of the next stage. `under`: something else stands between them; `meet`: where all lines
 * between two stages of several links run together. */
function along({ name, stages, at }) {
  if (name === "aside") return [];
  return stages.slice(1).flatMap((stage, nth) => {
    const before = stages[nth];
    const meet = before.length > 1 && stage.length > 1 && !at ? [before[0], before.at(-1)] : null;
    const under = (from, to) => at && Object.values(at).some((each) => each > at[from] && each < at[to]);
    const edge = (from, to) => ({ from, to, meet, kind: `${name}${under(from, to) ? " under" : ""}` });
    return before.flatMap((from) => stage.map((to) => edge(from, to)));
  });
}

/** From the lowest of the links side by side to what undoes one of them, `of`. */
function down(graph, forward) {
  return graph.back.flat().flatMap((to) => {
    const of = graph.link(to).undoes;
    const from = forward.find((stage) => stage.includes(of))?.at(-1);
    return from ? [{ from, to, of, kind: "back down" }] : [];
  });
}

export class Picture {
  #nodes = {};
  #edges;
  #rows = [];
  #stages = [];
  #columns;
  #svg = svg("svg", { class: "edges", "aria-hidden": "true" });

  /** `label` names the picture for screen readers. */
  constructor(graph, label) {
    const { columns, rows, edges } = layout(graph);
    this.#columns = columns;
    this.#edges = edges.map((edge) => this.#edge(edge));
    const drawn = rows.map((row) => this.#row(graph, row));
    this.element = h("div", { class: "chain", role: "group", "aria-label": label }, this.#svg, drawn);
    this.element.style.setProperty("--columns", columns);
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  #edge(edge) {
    const line = svg("path", { class: `edge ${edge.kind}` });
    const flow = svg("path", { class: `flow ${edge.kind}` });
    this.#svg.append(line, flow);
    return { ...edge, line, flow };
  }

  #row(graph, { name, title, stages, at }) {
    const list = h(
      "ol",
      {},
      stages.map((stage, nth) => this.#stage(graph, stage, at, title ? nth + 2 : nth + 1)),
    );
    const row = h("div", { class: `row ${name}` }, title && h("p", { class: "row-title" }, title), list);
    this.#rows.push({ row, names: stages.flat() });
    return row;
  }

  #stage(graph, names, at, column) {
    const stage = h("li", { class: `stage${at ? " spread" : ""}${names.length > 1 ? " several" : ""}` });
    stage.style.setProperty("--at", column);
    for (const name of names) {
      const made = (this.#nodes[name] = node(graph, name));
      if (at) made.element.style.setProperty("--at", at[name] + 1);
      stage.append(made.element);
    }
    this.#stages.push({ names, stage });
    return stage;
  }

  /**
   * `nodes`: by name { count, mood, subjects, since, split, title, facts: [{ text, key, mood?, href?, sign? }], what,
   * href }; `subjects` makes it swell; a row is hidden where all of its nodes are null. `rate({ from, to, of })`: how many go along a
   * line per second; Infinity: all that there was.
   */
  show(nodes, rate) {
    for (const [name, shown] of Object.entries(nodes)) this.#nodes[name]?.show(shown ?? {});
    for (const { row, names } of this.#rows) row.hidden = names.every((name) => nodes[name] === null);
    for (const edge of this.#edges) {
      const now = rate(edge) ?? 0;
      const width = now === Infinity ? 3 : 2 + 3 * Math.min(1, Math.log10(1 + now) / 2);
      setAttribute(edge.flow, "data-flows", now > 0);
      setAttribute(edge.line, "data-done", now === Infinity);
      edge.flow.style.setProperty("--width", `${width.toFixed(1)}px`);
    }
    this.#draw(); // what is written under the links may be longer now
  }

  #draw() {
    const { width } = this.element.getBoundingClientRect();
    if (!width) return;
    const tall = width / this.#columns < NARROW;
    setAttribute(this.element, "data-tall", tall);
    for (const { row, names } of this.#rows) {
      row.style.setProperty("--below", `${Math.max(...names.map((name) => this.#nodes[name].written()))}px`);
    }
    const home = this.element.getBoundingClientRect();
    setAttribute(this.#svg, "viewBox", `0 0 ${home.width} ${home.height}`);
    const boxes = Object.fromEntries(Object.entries(this.#nodes).map(([name, each]) => [name, each.box(home)]));
    if (tall) this.#frame(boxes, home);
    const beside = (name) => this.#rows.find(({ names }) => names.includes(name)).names;
    for (const { from, to, kind, meet, line, flow } of this.#edges) {
      const floor = kind.includes("under") && Math.max(...beside(from).map((name) => boxes[name].bottom)) + UNDER;
      const y = meet && (boxes[meet[0]].y + boxes[meet[1]].y) / 2;
      const path = between(boxes[from], boxes[to], floor, y);
      setAttribute(line, "d", path);
      setAttribute(flow, "d", path);
    }
  }

  /** One below the other, more than two side by side are reached as one: by the frame around them. */
  #frame(boxes, home) {
    for (const { names, stage } of this.#stages.filter((each) => each.names.length > 2)) {
      const frame = inside(stage.getBoundingClientRect(), home);
      for (const name of names) boxes[name] = frame;
    }
  }
}

function inside({ left, right, top, bottom }, home) {
  const box = { left: left - home.left, right: right - home.left, top: top - home.top, bottom: bottom - home.top };
  return { ...box, x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
}

const path = (strings, ...numbers) => String.raw({ raw: strings }, ...numbers.map(Math.round));

/** A path from one link to the next: to its side if it stands beside, else to its top. It passes below what stands
 * between them at the height `floor`, and through the height `meet` halfway. */
function between(a, b, floor, meet) {
  if (b.left < a.right - 1) {
    const y = (a.bottom + b.top) / 2;
    return path`M${a.x} ${a.bottom} C${a.x} ${y} ${b.x} ${y} ${b.x} ${b.top}`;
  }
  if (floor) {
    return path`M${a.x} ${a.bottom} C${a.x} ${floor} ${a.x} ${floor} ${a.x + 24} ${floor} H${b.x - 24} C${b.x} ${floor} ${b.x} ${floor} ${b.x} ${b.bottom}`;
  }
  const x = (a.right + b.left) / 2;
  if (!meet) return path`M${a.right} ${a.y} C${x} ${a.y} ${x} ${b.y} ${b.left} ${b.y}`;
  const bend = (b.left - a.right) / 4;
  return path`M${a.right} ${a.y} C${x - bend} ${a.y} ${x - bend} ${meet} ${x} ${meet} C${x + bend} ${meet} ${x + bend} ${b.y} ${b.left} ${b.y}`;
}

function node(graph, name) {
  const status = name.startsWith("end ") && name.slice("end ".length);
  const called = status
    ? graph.end(status).title
    : name === "received"
      ? graph.status(name).title
      : graph.link(name).title;
  const title = h("a", { class: "name" }, called);
  const number = h("span", { class: "count number" });
  const what = h("span", { class: "for-screen-readers" });
  const oldest = h("time", { class: "oldest number" });
  const facts = h("ul", { class: "facts" });
  const parts = ["bad", "wait", "busy"].map((mood) => h("i", { "data-mood": mood }));
  const split = h("span", { class: "split", "aria-hidden": "true" }, parts);
  const ring = h("div", { class: "ring" }, title, h("span", { class: "many" }, number, what), split);
  const before = h("span", { class: "before" }, said("overview.oldest"));
  const text = h("div", {}, facts, h("span", { class: "age" }, before, " ", oldest));
  const element = h(
    "div",
    {
      class: `link${status || name === "received" ? " edge-of-chain" : ""}`,
      "data-link": !status && name,
      "data-end": status,
      "data-mood": "calm",
    },
    ring,
    h("div", { class: "below" }, text),
  );
  return {
    element,
    written: () => text.offsetHeight,
    box(home) {
      const box = inside(ring.getBoundingClientRect(), home);
      // What is written under the ring is not to be crossed by a line that leaves downwards.
      return text.offsetHeight ? { ...box, bottom: text.getBoundingClientRect().bottom + 4 - home.top } : box;
    },
    show(shown) {
      setAttribute(element, "data-mood", shown.mood);
      setAttribute(element, "data-subjects", shown.subjects ?? null);
      ring.style.setProperty("--swell", swell(shown.subjects ?? 0).toFixed(3));
      setText(title, shown.title ?? called);
      setAttribute(title, "href", shown.href ?? null);
      setText(number, shown.count ?? "");
      setText(what, shown.what ?? "");
      setSince(oldest, shown.since ?? null);
      oldest.parentElement.hidden = !shown.since;
      setText(before, shown.before ?? said("overview.oldest"));
      split.hidden = !shown.split || shown.split.filter(Boolean).length < 2;
      parts.forEach((part, nth) => part.style.setProperty("flex-grow", shown.split?.[nth] ?? 0));
      const facing = (shown.facts ?? []).filter((fact) => fact.text);
      keyed(facts, facing, (fact) => fact.key ?? fact.mood, factItem, showFact);
    },
  };
}

/** 0 for none, then up to 1 for a thousand. */
const swell = (subjects) => Math.min(1, Math.log10(subjects + 1) / 3);

const factItem = (fact) => h("li", { class: "number" }, h("a", {}, fact.sign && sign(fact.sign), h("span")));

function showFact(item, { mood, href, text }) {
  setAttribute(item, "data-mood", mood ?? null);
  setAttribute(item.firstElementChild, "href", href ?? null);
  setText(item.firstElementChild.lastElementChild, text);
}
