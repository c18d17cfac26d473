// What a chain is made of and what everything in it is called, as the API tells it. The pages know no link by name.

import { call } from "./api.js";
import { words } from "./words.js";

const by = (name, things) => new Map(things.map((thing) => [thing[name], thing]));

/** The graph of one chain (`GET /chains/{name}`), with its parts by their names. */
export class Graph {
  #links;
  #events;
  #statuses;
  #reasons;

  constructor(chain) {
    Object.assign(this, chain);
    this.#links = by("name", chain.links);
    this.#events = by("type", chain.events);
    this.#statuses = by("code", chain.statuses);
    this.#reasons = by("code", chain.reasons);
  }

  link(name) {
    return this.#links.get(name) ?? { name, title: words(name), customer: null, icon: "link" };
  }

  /** Where a link is drawn: what settles another stands at the place of that one. */
  place(name) {
    return this.link(name).settles ?? name;
  }

  /** What is parked on the way back, or beside the way, can only be released. */
  canReject(name) {
    return !this.link(name).back && !this.aside.flat().includes(name);
  }

  event(type) {
    return this.#events.get(type) ?? { type, kind: "fact", title: words(type.replace(/^.*\./, "")) };
  }

  status(code) {
    return this.#statuses.get(code) ?? { code, title: words(code), mood: "busy" };
  }

  /** In a sentence. */
  reason(code) {
    return this.#reasons.get(code)?.sentence ?? words(code);
  }

  /** The end with this status; undefined where the subject has not come to its end. */
  end(status) {
    return this.ends.find((end) => end.status === status);
  }

  /** The straight way, of the links that `wanted` takes. */
  columns(wanted) {
    return this.forward.map((stage) => stage.filter((name) => wanted(this.link(name)))).filter((stage) => stage.length);
  }
}

export const graphOf = async (name) => new Graph(await call("GET", `/chains/${encodeURIComponent(name)}`));

/** All chains of this installation by name, in the order of the API. */
export async function allGraphs() {
  const chains = await call("GET", "/chains");
  return new Map(await Promise.all(chains.map(async ({ name }) => [name, await graphOf(name)])));
}
