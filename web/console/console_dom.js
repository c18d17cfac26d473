// A few words for the DOM. Nothing is drawn anew that is there already: focus and what was opened stay.

/** h("p", { class: "x", onclick: f }, "text", node): an element. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list" && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets a text, only if it is another one. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute, or takes it away with null; only if that changes anything. */
export function mark(element, name, value) {
  if (value === null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Makes the children of `parent` stand for `items`: one each, known again by `key`, brought up to date by `update`. */
export function keyed(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const gone of known.values()) gone.remove();
}

let nth = 0;
/** An id that nobody else has, for labels. */
export const newId = (name) => `${name}-${++nth}`;

// ---- times that pass -----------------------------------------------------------------------------------------------

/** A <time> that says for how long it has been, and goes on saying it. */
export function since(moment, props = {}) {
  const element = h("time", props);
  setSince(element, moment);
  return element;
}

export function setSince(element, moment) {
  mark(element, "datetime", moment ?? null);
  mark(element, "data-since", moment ?? null);
  say(element, moment ? age(moment) : "");
}

let ahead = 0; // milliseconds that the server's clock is ahead of ours
export const clockIs = (server) => (ahead = server - Date.now());

export const age = (moment) => duration((Date.now() + ahead - new Date(moment)) / 1000);

/** 0.35 s, 12 s, 4 m 05 s, 3 h 20 m, 2 d 4 h */
export function duration(seconds) {
  const s = Math.max(0, seconds);
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-since]")) say(element, age(element.dataset.since));
}, 1000);
