// Draws the chain of an order, whichever links it has: rings that hold each other, and shackles that part and join the
// way where several go side by side.

import { h, setAttribute, svg } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { icon } from "../kit/icons.js";

const WIDTH = 540; // units of the drawing
const LONGEST = 170;
const SHORTEST = 130; // what an icon needs between two shackles
const HEIGHT = 74;
const PITCH = 106; // from one ring to the next below it
const HOLD = 34; // how far one ring reaches into the next
const GAP = 8; // between two rings that a shackle holds
const MARGIN = 12;

const GLYPHS = {
  done: "M-5 0l4 4 7-8",
  refused: "M-5-5L5 5M5-5L-5 5",
  parked: "M-3.5-5v10M3.5-5v10",
  awaited: "M0-5v5l4 3",
  slow: "M0-5v5l4 3",
  undone: "M-5-2h6a3.5 3.5 0 0 1 0 7h-4M-2-5l-3 3 3 3",
};

/** Where all of it goes: rings by the name of their link, shackles with the columns they hold, and the places where
 * what is drawn before is seen to pass over what is drawn after. */
function layout(columns) {
  const shackled = columns.slice(1).map((column, nth) => column.length > 1 || columns[nth].length > 1);
  const gaps = shackled.reduce((sum, held) => sum + (held ? GAP : -HOLD), 2 * MARGIN);
  const length = Math.min(LONGEST, Math.max(SHORTEST, (WIDTH - gaps) / columns.length));
  const width = Math.max(WIDTH, gaps + length * columns.length);
  const most = Math.max(...columns.map((column) => column.length));
  const middle = (most * PITCH) / 2 + 1;
  const rings = new Map();
  const shackles = [];
  const over = [];
  let x = (width - gaps - length * columns.length) / 2 + MARGIN;
  for (const [nth, column] of columns.entries()) {
    const top = middle - ((column.length - 1) * PITCH + HEIGHT) / 2;
    column.forEach((name, below) => rings.set(name, { x, y: top + below * PITCH, width: length, height: HEIGHT }));
    const tops = column.map((name) => rings.get(name).y);
    if (nth && shackled[nth - 1]) over.push(...tops.map((y) => [x + HOLD, y]));
    if (shackled[nth]) {
      const tall = Math.max(column.length, columns[nth + 1].length) * PITCH;
      over.push(...tops.map((y) => [x + length - HOLD, y]));
      shackles.push({ between: nth, x: x + length - HOLD, y: middle - tall / 2, width: 2 * HOLD + GAP, height: tall });
    } else if (nth < columns.length - 1) over.push([x + length - HOLD / 2, top + 3]);
    x += length + (shackled[nth] ? GAP : -HOLD);
  }
  return { rings, shackles, over, width, height: most * PITCH + 2 };
}

function ring(box, props) {
  const shape = { ...box, rx: Math.min(box.width, box.height) / 2, pathLength: 100, ...props };
  return ["halo", "ring", "glint"].map((name) => svg("rect", { ...shape, class: `${name} ${props.class ?? ""}` }));
}

const clip = (id, places, more) => {
  const d = places
    .map(([x, y]) => `M${x - 23 - more} ${y - 19 - more}h${46 + 2 * more}v${40 + 2 * more}h${-46 - 2 * more}z`)
    .join("");
  return svg("clipPath", { id }, svg("path", { d }));
};

function badge(name, { x, y, width }) {
  const glyphs = Object.entries(GLYPHS).map(([state, d]) => svg("path", { d, "data-for": state }));
  return svg(
    "g",
    { class: "badge", transform: `translate(${x + width / 2} ${y})`, "data-link": name },
    svg("circle", { r: 13 }),
    glyphs,
  );
}

function drawing(graph, columns) {
  const { rings, shackles, over, width, height } = layout(columns);
  const each = (draw) => [...rings].flatMap(([name, box]) => draw(name, box));
  const drawn = (name, box) => ring(box, { "data-link": name });
  const layer = (name, children, clipped) =>
    svg("g", { class: name, "clip-path": clipped && `url(#${clipped})` }, children);
  const at = ({ x, y, ...box }) => `translate(${x + box.width / 2} ${y + box.height / 2})`;
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("defs", {}, clip("over", over, 0), clip("over-and-more", over, 4)),
    layer("rings", each(drawn)),
    shackles.flatMap(({ between, ...box }) => ring(box, { class: "shackle", "data-between": between })),
    // Of two rings that hold each other the earlier one passes over the later.
    layer("halos", each((name, box) => drawn(name, box).slice(0, 1)).toReversed(), "over"),
    layer("rings-over", each((name, box) => drawn(name, box).slice(1).toReversed()).toReversed(), "over-and-more"),
    each((name, box) =>
      svg("path", { class: "icon", d: icon(graph.link(name).icon), transform: at(box), "data-link": name }),
    ),
    each(badge),
  );
}

/** Draws the links of `columns`, each a list of names, and the list in which their states are read. */
export function drawChain(figure, graph, columns) {
  if (figure.dataset.drawn === JSON.stringify(columns)) return;
  figure.dataset.drawn = JSON.stringify(columns);
  const list = h("ol", { class: "links", id: "links", "aria-label": text("chain.steps") });
  list.style.setProperty("--columns", columns.length);
  const most = Math.max(...columns.map((column) => column.length));
  columns.forEach((column, nth) =>
    column.forEach((name, below) => {
      const { customer, title } = graph.link(name);
      const item = h(
        "li",
        { "data-link": name },
        h("h2", {}, customer?.title ?? title),
        h("p", { class: "state" }),
        h("p", { class: "small soft time" }),
      );
      item.style.setProperty("--column", nth + 1);
      item.style.setProperty("--row", column.length === 1 ? `1 / span ${most}` : below + 1);
      list.append(item);
    }),
  );
  figure.replaceChildren(drawing(graph, columns), list);
}

/** `states` by the name of the link. */
export function showChain(figure, columns, states) {
  for (const drawn of figure.querySelectorAll("[data-link]"))
    setAttribute(drawn, "data-state", states[drawn.dataset.link] ?? "ahead");
  for (const drawn of figure.querySelectorAll("[data-between]")) {
    const [left, right] = [0, 1].map((side) =>
      columns[Number(drawn.dataset.between) + side].map((name) => states[name]),
    );
    const gone = right.every((state) => state === "left_out");
    const closed = left.every((state) => state === "done" || state === "undone");
    setAttribute(drawn, "data-state", gone ? "left_out" : closed ? "done" : "ahead");
  }
}
