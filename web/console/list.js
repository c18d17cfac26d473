// The list behind a number: subjects of any chain, by where they stand, why, when and whose they are. All of what is
// asked for is in the address, so it can be shared, and is still there after going back.

import { h, keyed, setText } from "../kit/elements.js";
import { count, date, lower, many, money, words } from "../kit/words.js";
import { listOf, ordersOf, queryOf } from "./addresses.js";
import { field } from "./dialog.js";
import { follow, list, live } from "./live.js";
import { decideMany, head, linkTo, parkedTable, showParked } from "./parked.js";
import { setSince } from "./since.js";
import { showStatus } from "./trouble.js";

const SHOWN = 50;
const STATES = { waiting: "Waiting", in_progress: "In progress", parked: "Parked" };

/** What is asked of the API. */
const FILTERS = ["chain", "link", "state", "status", "reason", "customer_id", "since", "before"];

const ofParkings = (filters) => ({ ...filters, state: null, status: null });

export function listPage(graphs, query, signal) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const graph = graphs.get(filters.chain) ?? (graphs.size === 1 ? [...graphs.values()][0] : undefined);
  const parked = filters.state === "parked";
  const path = parked ? "/operations/parked" : "/operations/subjects";
  const asked = parked ? ofParkings(filters) : filters;
  const before = Number(query.get("shown") ?? 0); // those of the parts before this one

  const hint = h("p", { class: "hint", role: "status" });
  const problem = h("p", { class: "problem", role: "alert" });
  const empty = h("p", { class: "empty", hidden: true }, "Nothing is like this now.");
  const table = parked ? parkedTable(graph, titleOf(graph, filters)) : subjectTable(graph);
  const body = table.querySelector("tbody");
  const next = h("a", { class: "button" }, "Next");
  const first = h("a", { class: "button", href: listOf(filters), hidden: !query.get("cursor") }, "First");
  const pages = h("nav", { class: "pages", "aria-label": "Parts of the list" }, first, next);
  const csv = h(
    "a",
    { class: "button", href: `${path}?${queryOf({ ...asked, format: "csv" })}`, download: "" },
    "CSV of all of them",
  );
  const decisions = parked && bulk(filters, graph);

  const look = async () => {
    const {
      items,
      total,
      next: more,
    } = await list(`${path}?${queryOf({ ...asked, limit: SHOWN, cursor: query.get("cursor") })}`);
    if (signal.aborted) return;
    setText(problem, "");
    const cursor = more && new URL(more, location.href).searchParams.get("cursor");
    next.hidden = !cursor;
    if (cursor)
      next.href = `${listOf(filters)}${queryOf(filters) ? "&" : "?"}${queryOf({ cursor, shown: before + items.length })}`;
    pages.hidden = next.hidden && first.hidden;
    setText(hint, countOf(graph, before, items.length, total));
    table.hidden = csv.hidden = !items.length;
    if (decisions) decisions.hidden = !items.length;
    empty.hidden = items.length > 0 || Boolean(cursor);
    if (parked) showParked(body, items, (chain) => graphs.get(chain), !filters.reason || !filters.link);
    else showSubjects(body, items, graphs);
  };
  follow(look, signal, (failed) => setText(problem, failed.message));
  return h(
    "div",
    { class: "page list" },
    h("div", { class: "heading" }, h("h1", { tabindex: "-1", id: "list-title" }, titleOf(graph, filters)), hint, csv),
    filterForm(graphs, filters),
    problem,
    h("div", { class: `panel${parked ? " parked-subjects" : ""}` }, decisions, empty, table, pages),
  );
}

function titleOf(graph, { link, state, status }) {
  const where = link && ` at ${graph ? lower(graph.link(link).title) : words(link)}`;
  const what = STATES[state] ?? (status && graph ? graph.status(status).title : status && words(status));
  if (what) return `${what}${where}`;
  if (link) return link === "received" ? "To be taken" : `Everything${where}`;
  return graph ? `All ${graph.subjects}` : "Everything";
}

function countOf(graph, before, shown, total) {
  const named = (number) => (graph ? many(number, graph.subject, graph.subjects) : many(number, "subject"));
  if (total === null) return shown ? `${count(before + 1)} to ${count(before + shown)}` : "";
  if (total <= shown) return named(total);
  return `${count(before + 1)} to ${count(before + shown)} of ${named(total)}`;
}

function bulk(filters, graph) {
  const named = [
    "all",
    filters.reason && words(filters.reason),
    filters.link && `at ${graph ? lower(graph.link(filters.link).title) : words(filters.link)}`,
    filters.customer_id && `of ${filters.customer_id}`,
  ];
  const text = named.filter(Boolean).join(" ");
  const button = (which, verb) =>
    h(
      "button",
      { type: "button", onclick: () => decideMany(which, ofParkings(filters), graph, text) },
      `${verb} ${text}…`,
    );
  return h("div", { class: "all" }, button("release", "Release"), button("reject", "Reject"));
}

// ---- filters -------------------------------------------------------------------------------------------------------

function filterForm(graphs, filters) {
  const option = (value, text) => h("option", { value }, text);
  const select = (name, any, options) => {
    const made = h("select", { name }, option("", any), options);
    const known = [...made.options].some(({ value }) => value === filters[name]);
    if (!known) made.append(option(filters[name], words(filters[name])));
    made.value = filters[name];
    return made;
  };
  const where = h(
    "select",
    { name: "where" },
    option("?", "Every chain"),
    [...graphs.values()].map((graph) =>
      h(
        "optgroup",
        { label: graph.title },
        option(queryOf({ chain: graph.name }), `All ${graph.subjects}`),
        [graph.link("received").name, ...graph.links.map(({ name }) => name)].map((link) =>
          option(queryOf({ chain: graph.name, link }), link === "received" ? "To be taken" : graph.link(link).title),
        ),
      ),
    ),
  );
  const here = queryOf({ chain: filters.chain, link: filters.link }) || "?";
  if (![...where.options].some(({ value }) => value === here))
    where.append(option(here, words(filters.link || filters.chain)));
  where.value = here;
  const graph = graphs.get(filters.chain);
  const states = select(
    "state",
    "Any",
    Object.entries(STATES).map(([value, text]) => option(value, text)),
  );
  const status = select("status", "Any", graph?.statuses.map(({ code, title }) => option(code, title)) ?? []);
  const reason = select(
    "reason",
    "Any",
    reasonsOf(graph).map((code) => option(code, words(code))),
  );
  const customer = h("input", {
    name: "customer_id",
    value: filters.customer_id,
    maxlength: "128",
    spellcheck: "false",
  });
  const [since, before] = ["since", "before"].map((name) =>
    h("input", { type: "datetime-local", name, value: local(filters[name]) }),
  );
  const what = filters.state === "parked" ? "Parked" : "Received";
  const form = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Filters" },
    field("Where", where),
    field("State", states),
    filters.state !== "parked" && field("Status", status),
    field("Reason", reason),
    field("Customer", customer),
    field(`${what} from`, since),
    field(`${what} before`, before),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "submit", class: "primary" }, "Show"),
      h("a", { class: "button", href: "#/list" }, "Clear"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const place = new URLSearchParams(where.value);
    location.hash = listOf({
      chain: place.get("chain"),
      link: place.get("link"),
      state: states.value,
      status: states.value === "parked" ? "" : status.value,
      reason: reason.value,
      customer_id: customer.value.trim(),
      since: moment(since.value),
      before: moment(before.value),
    });
  });
  return form;
}

/** For what subjects are parked now, and what the chain refuses them for. */
function reasonsOf(graph) {
  const parked = live.picture?.parked.filter(({ chain }) => !graph || chain === graph.name) ?? [];
  return [...new Set([...parked.map(({ reason }) => reason), ...(graph?.reasons.map(({ code }) => code) ?? [])])];
}

const moment = (text) => (text ? new Date(text).toISOString() : "");

function local(text) {
  const at = new Date(text);
  return isNaN(at) ? "" : new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

// ---- subjects ------------------------------------------------------------------------------------------------------

function subjectTable(graph) {
  const subject = graph ? graph.subject.charAt(0).toUpperCase() + graph.subject.slice(1) : "Subject";
  return h(
    "table",
    { class: "orders" },
    h("caption", { class: "for-screen-readers" }, "The list"),
    head([subject, "Status", "Stands at", "Reason", "Amount", "Customer", "Received", "Moved"]),
    h("tbody"),
  );
}

function showSubjects(body, items, graphs) {
  keyed(
    body,
    items,
    ({ chain, subject }) => `${chain} ${subject}`,
    subjectRow,
    (row, each) => row.show(graphs.get(each.chain), each),
  );
}

function subjectRow({ chain, subject, customer_id, amount, currency, received_at }) {
  const now = h("span", { class: "status" });
  const at = h("td", { class: "at" });
  const reason = h("td", { class: "reason soft" });
  const received = h("time");
  const moved = h("time");
  const row = h(
    "tr",
    {},
    linkTo(chain, subject),
    h("td", { class: "now" }, now),
    at,
    reason,
    h("td", { class: "total amount number" }, currency && money(amount, currency, "code")),
    h("td", { class: "customer" }, customer_id && ordersOf(customer_id)),
    h("td", { class: "received number soft", title: date(received_at) }, received, " ago"),
    h("td", { class: "moved number soft" }, moved, " ago"),
  );
  setSince(received, received_at);
  row.show = (graph, { status, links, reason: why, updated_at }) => {
    if (!graph) return;
    showStatus(now, graph.status(status));
    const open = graph.end(status) ? [] : links;
    const places = open.map(({ link, state }) => `${graph.link(graph.place(link)).title}, ${words(state)}`);
    setText(at, [...new Set(places)].join("; "));
    setText(reason, why ? words(why) : "");
    setSince(moved, updated_at);
  };
  return row;
}
