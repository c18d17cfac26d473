// Calls the API. An answer is `{status, data}`; what may succeed when tried again is thrown as `Away`.

export class Away extends Error {
  /** `code` of the problem, if there was an answer; `after` in seconds, if it said when to come again. */
  constructor(code, after) {
    super(code ?? "no answer");
    this.code = code;
    this.after = after;
  }
}

const PATIENCE = 20_000;

export async function call(method, path, { body, key } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let answer, data;
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    answer = await fetch(path, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) });
    data = answer.status === 204 ? null : await answer.json();
  } catch {
    throw new Away();
  }
  if (answer.status >= 500 || answer.status === 429) {
    const after = Number.parseFloat(answer.headers.get("Retry-After"));
    throw new Away(data?.code, Number.isFinite(after) ? after : undefined);
  }
  return { status: answer.status, data };
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

let customer = null;

/** The customer of this browser: the API keeps who it is in a cookie. */
export async function customerId({ again = false } = {}) {
  if (again || !customer) {
    const { status, data } = await call("POST", "/shop/session");
    if (status !== 200) throw new Away(data?.code);
    customer = data.customer_id;
  }
  return customer;
}

/** As `call`, with a new session where the old one is over. */
export async function callAsCustomer(...args) {
  await customerId();
  const answer = await call(...args);
  if (answer.status !== 401) return answer;
  await customerId({ again: true });
  return call(...args);
}
