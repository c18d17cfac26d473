// Calls the API, in the language of the page.

import { LANGUAGE, text } from "./texts.js";

const ANSWERS_WITHIN = 20_000; // milliseconds

/** A "no" of the API: `message` is a sentence, `code` stable. Without an answer, `status` is 0. */
export class Problem extends Error {
  constructor(problem, status = 0) {
    super(problem?.detail ?? (status ? text("api.answered", { status: String(status) }) : text("api.silent")));
    this.code = problem?.code;
    this.status = status;
  }
}

/** What may succeed when it is tried again; `after` in seconds, if the API said when. */
export class Away extends Problem {
  constructor(problem, status, after) {
    super(problem, status);
    this.after = Number.isFinite(after) ? after : undefined;
  }
}

/** What the API answers. Throws `Away` where nobody answers or the API is not able to, else `Problem`. */
export async function call(method, path, options) {
  return (await answered(method, path, options)).data;
}

/** A part of a list: its `items`, how many there are in all (`total`, null where nobody counts), and the address of the
 * `next` part or null. */
export async function callList(path) {
  const { data, headers } = await answered("GET", path);
  const total = headers.get("Total-Count");
  const next = /<([^>]*)>\s*;\s*rel="?next"?/.exec(headers.get("Link") ?? "")?.[1] ?? null;
  return { items: data, total: total === null ? null : Number(total), next };
}

async function answered(method, path, { body, key, headers: more } = {}) {
  const headers = { Accept: "application/json", "Accept-Language": LANGUAGE, ...more };
  const request = { method, headers, signal: AbortSignal.timeout(ANSWERS_WITHIN), cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  if (key) headers["Idempotency-Key"] = key;
  let answer, data;
  try {
    answer = await fetch(path, request);
    data = answer.status === 204 ? null : await answer.json();
  } catch {
    throw new Away(null, answer?.status);
  }
  if (answer.ok) return { data, headers: answer.headers };
  const busy = answer.status >= 500 || answer.status === 429;
  throw busy
    ? new Away(data, answer.status, parseFloat(answer.headers.get("Retry-After")))
    : new Problem(data, answer.status);
}

/** Waits so long, or until the browser is online again. */
export function pause(seconds) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", done);
  });
}

const LONGEST_PAUSE = 15; // seconds

/** What `look` resolves to, tried again after each `Problem`, which `trouble` hears; null once `over()`. */
export async function untilAnswered(look, { trouble = () => {}, over = () => false } = {}) {
  for (let failures = 0; !over(); failures += 1) {
    try {
      return await look();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      const after = Math.min(problem.after ?? 2 ** failures, LONGEST_PAUSE);
      trouble(problem, after);
      await pause(after);
    }
  }
  return null;
}
