// A few words for the DOM. Nothing is drawn anew that is there already: focus and what was opened stay.

export const $ = (id) => document.getElementById(id);

/** h("p", { class: "x", onclick: f }, "text", node): an element. */
export const h = (tag, props, ...children) => built(document.createElement(tag), props, children);

/** The same for what is drawn. */
export const svg = (tag, props, ...children) =>
  built(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

function built(element, props = {}, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets a text, only if it is another one. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute, or takes it away with null; only if that changes anything. */
export function setAttribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Makes the children of `parent` stand for `items`: one each, known again by `key`, brought up to date by `update`.
 * `leave` hears of each that goes, before it does. */
export function keyed(parent, items, key, make, update = () => {}, leave = () => {}) {
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
  for (const gone of known.values()) {
    leave(gone);
    gone.remove();
  }
}

let nth = 0;
/** An id that nobody else has, for labels. */
export const newId = (name) => `${name}-${++nth}`;
