// What those hear who hear the page: one log, and nothing else speaks.

import { $, h } from "../kit/elements.js";

const KEPT = 20; // lines

export function say(text) {
  $("spoken").append(h("p", {}, text));
  while ($("spoken").children.length > KEPT) $("spoken").firstChild.remove();
}
