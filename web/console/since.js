// Times that pass: a <time> that says for how long it has been, and goes on saying it.

import { setAttribute, setText } from "../kit/elements.js";
import { duration } from "../kit/words.js";

let ahead = 0; // milliseconds that the server's clock is ahead of ours
export const clockIs = (server) => (ahead = server - Date.now());

/** The server's clock, in milliseconds. */
export const now = () => Date.now() + ahead;

const age = (moment) => duration((now() - new Date(moment)) / 1000);

/** Without a moment it says nothing. */
export function setSince(element, moment) {
  setAttribute(element, "datetime", moment ?? null);
  setText(element, moment ? age(moment) : "");
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[datetime]")) setText(element, age(element.dateTime));
}, 1000);
