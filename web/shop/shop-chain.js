// Draws the chain: four links, and the two shackles that part and join the way where stock and price go side by side.

const SVG = "http://www.w3.org/2000/svg";

const RINGS = {
  payment: { x: 12, y: 69, width: 170, height: 76 },
  cart: { x: 190, y: 18, width: 160, height: 72 },
  price: { x: 190, y: 124, width: 160, height: 72 },
  finalize: { x: 358, y: 69, width: 170, height: 76 },
};
const BARS = {
  fork: { x: 148, y: 2, width: 76, height: 210 },
  join: { x: 316, y: 2, width: 76, height: 210 },
};
const ICONS = {
  payment: "M-15-10h30a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-30a3 3 0 0 1-3-3V-7a3 3 0 0 1 3-3zM-18-3h36M-12 4h8",
  cart: "M-15-6L0-13 15-6V8L0 15-15 8zM-15-6L0 1 15-6M0 1v14",
  price: "M-14-12H0L15 3 4 14-14-1zM-8-6h.1",
  finalize: "M-11-14h16l7 7v21h-23zM5-14v7h7M-5-1H6M-5 6H6",
};
const GLYPHS = {
  done: "M-5 0l4 4 7-8",
  refused: "M-5-5L5 5M5-5L-5 5",
  parked: "M-3.500-5v10M3.500-5v10",
  awaiting: "M0-5v5l4 3",
  slow: "M0-5v5l4 3",
  undone: "M-5-2h6a3.5 3.5 0 0 1 0 7h-4M-2-5l-3 3 3 3",
};

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

function ring(name, box, parent, behind = parent) {
  const shape = { ...box, rx: Math.min(box.width, box.height) / 2, pathLength: 100, "data-link": name };
  element("rect", { ...shape, class: "halo" }, behind);
  element("rect", { ...shape, class: "ring" }, parent);
  element("rect", { ...shape, class: "glint" }, parent);
}

export function drawChain(figure) {
  const layer = (id) => figure.querySelector(`#${id}`);
  for (const [name, box] of Object.entries(RINGS)) {
    ring(name, box, layer("rings"));
    ring(name, box, layer("rings-over"), layer("halos-over"));
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    element("path", { class: "icon", d: ICONS[name], transform: `translate(${x} ${y})`, "data-link": name }, layer("icons"));
    const badge = element("g", { class: "badge", transform: `translate(${x} ${box.y})`, "data-link": name }, layer("badges"));
    element("circle", { r: 13 }, badge);
    for (const [state, d] of Object.entries(GLYPHS)) element("path", { d, "data-for": state }, badge);
  }
  for (const [name, box] of Object.entries(BARS)) ring(name, box, layer("bars"));
}

/** `states` by the name of the link. */
export function showChain(figure, states) {
  const all = {
    ...states,
    fork: ["done", "undone"].includes(states.payment) ? "done" : ["refused", "stopped"].includes(states.payment) ? "stopped" : "waiting",
    join: states.cart === "done" && states.price === "done" ? "done" : states.finalize === "stopped" ? "stopped" : "waiting",
  };
  for (const drawn of figure.querySelectorAll("[data-link]")) drawn.dataset.state = all[drawn.dataset.link];
}
