// The way to the API: calls, and the live picture that everything on the page follows.

import { Problem, call as callApi, callList } from "../kit/api.js";
import { clockIs, now } from "./since.js";

const STALE = 12_000; // milliseconds without a heartbeat, of which there is one every 5 s
const AGAIN = [500, 1000, 2000, 4000];

/** As the kit's; whoever is no longer logged in leaves. Throws `Problem`. */
export const call = (method, path, body) => orLeave(callApi(method, path, { body }), path !== "/console/session");

export const list = (path) => orLeave(callList(path));

async function orLeave(answer, leaves = true) {
  try {
    return await answer;
  } catch (problem) {
    const out = problem.status === 401 || problem.code === "operator_key_required";
    if (out && leaves) live.leave();
    throw problem;
  }
}

/**
 * The live picture. Events: `picture`, `connection`, `moved` (anything happened to any subject), `left` (logged out).
 *
 * A tab that nobody sees holds no stream: browsers open six connections to one HTTP/1.1 host, and a seventh tab would
 * wait for one for ever.
 */
class Live extends EventTarget {
  picture = null;
  connection = "connecting"; // then live, lost, hidden, or away: connected, but the database is not
  trueAt = null; // when the picture was last known to be true, by the server's clock in milliseconds
  #stop = null;
  #wake = null;

  start() {
    if (this.#stop) return;
    this.#stop = new AbortController();
    this.#keepGoing(this.#stop.signal);
  }

  stop() {
    this.#stop?.abort();
    this.#stop = null;
    this.picture = this.trueAt = null;
    this.connection = "connecting";
  }

  leave() {
    if (!this.#stop) return;
    this.stop();
    this.dispatchEvent(new Event("left"));
  }

  /** Tries again now. */
  hurry() {
    this.#wake?.();
  }

  async #keepGoing(stopped) {
    let failed = 0;
    while (!stopped.aborted) {
      if (document.hidden) {
        this.#is("hidden");
        await shown(stopped);
        failed = 0;
        continue;
      }
      const began = Date.now();
      try {
        await this.#follow(stopped);
      } catch (error) {
        if (error instanceof Problem) return this.leave();
      }
      if (stopped.aborted) return;
      if (document.hidden) continue;
      failed = Date.now() - began > 10_000 ? 0 : failed + 1;
      this.#is("lost");
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, AGAIN[Math.min(failed, AGAIN.length - 1)]);
      });
    }
  }

  async #follow(stopped) {
    const attempt = new AbortController();
    const giveUp = () => attempt.abort();
    let stale = setTimeout(giveUp, STALE);
    stopped.addEventListener("abort", giveUp);
    addEventListener("offline", giveUp);
    document.addEventListener("visibilitychange", giveUp);
    try {
      const answer = await fetch("/operations/live", { signal: attempt.signal, cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) throw new Problem(null, answer.status);
      if (!answer.ok) return;
      clockIs(new Date(answer.headers.get("date")).getTime() + 500 || Date.now());
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(stale);
        stale = setTimeout(giveUp, STALE);
        const messages = (rest + value).split("\n\n");
        rest = messages.pop();
        messages.forEach((message) => this.#hear(message));
        if (this.connection === "live") this.trueAt = now();
      }
    } finally {
      clearTimeout(stale);
      stopped.removeEventListener("abort", giveUp);
      removeEventListener("offline", giveUp);
      document.removeEventListener("visibilitychange", giveUp);
      giveUp();
    }
  }

  #hear(message) {
    const lines = message.split("\n");
    const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    if (field("event") === "away") this.#is("away");
    if (field("event") !== "picture") return;
    const before = this.picture;
    const back = this.connection !== "live";
    this.picture = JSON.parse(field("data"));
    this.#is("live");
    this.dispatchEvent(new Event("picture"));
    if (back || before?.position !== this.picture.position) this.dispatchEvent(new Event("moved"));
  }

  #is(connection) {
    if (this.connection === connection) return;
    this.connection = connection;
    this.dispatchEvent(new Event("connection"));
  }
}

/** Resolves when the tab is seen again, or is to follow nothing any more. */
function shown(stopped) {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal: stopped });
    stopped.addEventListener("abort", resolve, { once: true });
  });
}

export const live = new Live();
addEventListener("online", () => live.hurry());

const JUDGED_EVERY = 5_000; // milliseconds: what stands still brings no other picture, and is worse the longer it does

/** Calls `show` with the current picture and each that follows, and now and then again, until `signal`. */
export function onPicture(show, signal) {
  const again = () => live.picture && show(live.picture);
  again();
  live.addEventListener("picture", again, { signal });
  const judging = setInterval(again, JUDGED_EVERY);
  signal.addEventListener("abort", () => clearInterval(judging));
}

/** Calls `look` now and whenever anything has happened, until `signal`; never twice at once. Trouble goes to `fail`. */
export function follow(look, signal, fail = () => {}) {
  let looking = false;
  let again = false;
  const go = async () => {
    again = true;
    if (looking) return;
    looking = true;
    while (again && !signal.aborted) {
      again = false;
      try {
        await look();
      } catch (error) {
        if (!signal.aborted) fail(error);
      }
    }
    looking = false;
  };
  live.addEventListener("moved", go, { signal });
  go();
  return go;
}
