// The picture of the chain: its links swell where orders pile up, and what runs between them is as thick as it is fast.

import { h, keyed, mark, say, setSince } from "./console_dom.js";
import { LINKS, count } from "./console_words.js";

const EDGES = [
  ["received", "payment"],
  ["payment", "cart"],
  ["payment", "price"],
  ["cart", "finalize"],
  ["price", "finalize"],
  ["finalize", "confirmed"],
  ["payment", "refund", "back down"],
  ["price", "release", "back down"],
  ["release", "reject", "back"],
  ["refund", "reject", "back under"],
  ["reject", "ends", "back"],
];
const FORWARD = ["received", "payment", "cart", "price", "finalize", "confirmed"];
const BACK = ["refund", "release", "reject", "ends"];

const SVG = "http://www.w3.org/2000/svg";

const UNDER = 14; // pixels between what is written and a line below it

/** 0 for none, then up to 1 for a thousand. */
const swell = (orders) => Math.min(1, Math.log10(orders + 1) / 3);

export class Chain {
  #nodes = {};
  #edges = [];
  #svg = document.createElementNS(SVG, "svg");

  /** `label` names the picture for screen readers. */
  constructor(label) {
    this.#svg.setAttribute("class", "edges");
    this.#svg.setAttribute("aria-hidden", "true");
    for (const [from, to, kind = "forward"] of EDGES) {
      const line = document.createElementNS(SVG, "path");
      const flow = document.createElementNS(SVG, "path");
      line.setAttribute("class", `edge ${kind}`);
      flow.setAttribute("class", `flow ${kind}`);
      this.#svg.append(line, flow);
      this.#edges.push({ from, to, kind, line, flow });
    }
    const list = (names) => h("ol", {}, names.map((name) => (this.#nodes[name] = node(name)).element));
    this.#back = list(BACK);
    this.element = h(
      "div",
      { class: "chain", role: "group", "aria-label": label },
      this.#svg,
      list(FORWARD),
      h("p", { class: "back-title" }, "The way back"),
      this.#back,
    );
    this.#element = this.element;
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }
  #element;
  #back;

  /**
   * `nodes`: by name { count, mood, orders, since, facts: [{ text, mood, href? }], what }; `orders` makes it swell.
   * `flows`: by name how many per second leave it.
   */
  show(nodes, flows = {}) {
    for (const [name, told] of Object.entries(nodes)) this.#nodes[name]?.show(told);
    for (const edge of this.#edges) {
      const rate = flows[`${edge.from}>${edge.to}`] ?? flows[edge.from] ?? 0;
      mark(edge.flow, "data-flows", rate > 0 ? "" : null);
      mark(edge.line, "data-done", rate === Infinity ? "" : null);
      const width = rate === Infinity ? 3 : 2 + 3 * Math.min(1, Math.log10(1 + rate) / 2);
      edge.flow.style.setProperty("--width", `${width.toFixed(1)}px`);
    }
    this.#draw(); // what is written under the links may be longer now
  }

  #draw() {
    const home = this.#element.getBoundingClientRect();
    if (!home.width) return;
    this.#svg.setAttribute("viewBox", `0 0 ${home.width} ${home.height}`);
    const boxes = Object.fromEntries(Object.entries(this.#nodes).map(([name, each]) => [name, each.box(home)]));
    // What passes below the way back, passes below all that is written there, and what follows stands below that.
    const floor = Math.max(...BACK.map((name) => boxes[name].bottom)) + UNDER;
    const room = floor + UNDER - (this.#back.getBoundingClientRect().bottom - home.top);
    this.#element.style.setProperty("--room", `${Math.ceil(room)}px`);
    for (const { from, to, kind, line, flow } of this.#edges) {
      const path = between(boxes[from], boxes[to], kind, floor);
      line.setAttribute("d", path);
      flow.setAttribute("d", path);
    }
  }
}

/** A path from one link to the next: to its side if it stands beside, else to its top. */
function between(a, b, kind, floor) {
  const round = Math.round;
  if (kind.includes("under") && b.left > a.right) {
    const y = floor;
    return `M${round(a.x)} ${round(a.bottom)} C${round(a.x)} ${round(y)} ${round(a.x)} ${round(y)} ${round(a.x + 24)} ${round(y)} H${round(b.x - 24)} C${round(b.x)} ${round(y)} ${round(b.x)} ${round(y)} ${round(b.x)} ${round(b.bottom)}`;
  }
  if (b.left >= a.right - 1) {
    const bend = (b.left - a.right) / 2;
    return `M${round(a.right)} ${round(a.y)} C${round(a.right + bend)} ${round(a.y)} ${round(b.left - bend)} ${round(b.y)} ${round(b.left)} ${round(b.y)}`;
  }
  const bend = (b.top - a.bottom) / 2;
  return `M${round(a.x)} ${round(a.bottom)} C${round(a.x)} ${round(a.bottom + bend)} ${round(b.x)} ${round(b.top - bend)} ${round(b.x)} ${round(b.top)}`;
}

function node(name) {
  const number = h("span", { class: "count number" });
  const what = h("span", { class: "for-screen-readers" });
  const oldest = h("time", { class: "oldest number" });
  const facts = h("ul", { class: "facts" });
  const parts = ["bad", "wait", "busy"].map((mood) => h("i", { "data-mood": mood }));
  const split = h("span", { class: "split", "aria-hidden": "true" }, parts);
  const ring = h(
    "div",
    { class: "ring" },
    h("span", { class: "name" }, name === "ends" ? "Rejected" : LINKS[name]),
    h("span", { class: "many" }, number, what),
    split,
  );
  const below = h("div", { class: "below" }, facts, oldest);
  const element = h("li", { class: `link ${name}`, "data-link": name, "data-mood": "calm" }, ring, below);
  return {
    element,
    box(home) {
      const { left, right, top, bottom } = ring.getBoundingClientRect();
      const inside = { left: left - home.left, right: right - home.left, top: top - home.top, bottom: bottom - home.top };
      // What is written under the ring is not to be crossed by a line that leaves downwards.
      const under = below.offsetHeight ? below.getBoundingClientRect().bottom + 4 : bottom;
      return {
        ...inside,
        bottom: under - home.top,
        x: (inside.left + inside.right) / 2,
        y: (inside.top + inside.bottom) / 2,
      };
    },
    show(told) {
      mark(element, "data-mood", told.mood);
      mark(element, "data-orders", told.orders ?? null);
      ring.style.setProperty("--swell", swell(told.orders ?? 0).toFixed(3));
      say(number, told.count ?? "");
      say(what, told.what ?? "");
      setSince(oldest, told.since ?? null);
      split.hidden = !told.split || told.split.filter(Boolean).length < 2;
      parts.forEach((part, nth) => part.style.setProperty("flex-grow", told.split?.[nth] ?? 0));
      keyed(
        facts,
        (told.facts ?? []).filter((fact) => fact.text),
        (fact) => fact.key ?? fact.mood,
        (fact) => h("li", { class: "number" }, h(fact.href ? "a" : "span")),
        (child, fact) => {
          mark(child, "data-mood", fact.mood ?? null);
          mark(child.firstElementChild, "href", fact.href ?? null);
          say(child.firstElementChild, fact.text);
        },
      );
    },
  };
}

// ---- all orders ----------------------------------------------------------------------------------------------------

const rate = (perSecond) => (perSecond > 0 ? `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)} /s` : "");

/** What the chain shows of a picture of all open orders. */
export function allOrders(picture) {
  const nodes = {};
  const flows = {};
  for (const link of picture.links) {
    const orders = link.waiting + link.in_progress + link.parked;
    nodes[link.name] = {
      orders,
      count: count(orders),
      what: orders === 1 ? " order" : " orders",
      mood: link.parked ? "bad" : link.waiting ? "wait" : link.in_progress ? "busy" : "calm",
      since: link.oldest,
      split: [link.parked, link.waiting, link.in_progress],
      facts: [
        { mood: "bad", text: link.parked && `${count(link.parked)} parked`, href: "#/parked" },
        { mood: "wait", text: link.waiting && `${count(link.waiting)} waiting` },
        { mood: "busy", text: link.in_progress && `${count(link.in_progress)} in progress` },
        { key: "done", text: [rate(link.per_second), link.done && `${count(link.done)} done`].filter(Boolean).join(" · ") },
      ],
    };
    flows[link.name] = link.per_second;
  }
  // The way back branches off: what flows there is what its own links do, not what comes of payment and price.
  const back = Object.fromEntries(picture.links.map((link) => [link.name, link.per_second]));
  flows["payment>refund"] = back.refund ?? 0;
  flows["price>release"] = back.release ?? 0;
  const ends = Object.fromEntries(picture.ends.map((end) => [end.status, end]));
  nodes.confirmed = {
    count: count(ends.confirmed.done),
    what: " confirmed",
    mood: "good",
    facts: [{ key: "rate", text: rate(ends.confirmed.per_second) }],
  };
  nodes.ends = {
    count: count(ends.rejected.done),
    what: " rejected",
    mood: "soft",
    facts: [
      { key: "rate", text: rate(ends.rejected.per_second + ends.cancelled.per_second) },
      { key: "cancelled", text: ends.cancelled.done && `${count(ends.cancelled.done)} cancelled` },
    ],
  };
  return [nodes, flows];
}

/** In a sentence, where it hurts most. */
export function headline(picture) {
  // What is stuck farther on makes others wait to be taken, so those are named only where nothing else waits.
  const beyond = picture.links.filter((link) => link.name !== "received");
  const forward = beyond.some((link) => link.waiting) ? beyond : picture.links;
  const parked = picture.parked.reduce((sum, group) => sum + group.orders, 0);
  const worst = forward.reduce((most, link) => (link.waiting > (most?.waiting ?? 0) ? link : most), null);
  if (!picture.open) return parked ? `${count(parked)} parked, nothing else on its way.` : "All quiet. Nothing is on its way.";
  const open = `${count(picture.open)} ${picture.open === 1 ? "order is" : "orders are"} on the way`;
  const where = worst && (worst.name === "received" ? "wait to be taken" : `wait at ${LINKS[worst.name].toLowerCase()}`);
  const parts = [worst && `${count(worst.waiting)} ${where}`, parked && `${count(parked)} parked`].filter(Boolean);
  return parts.length ? `${open}: ${parts.join(", ")}.` : `${open}, and all of them move.`;
}
