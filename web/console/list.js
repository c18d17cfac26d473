// The list behind a number: subjects of any chain, by where they stand, why, when and whose they are. All of what is
// asked for is in the address, so it can be shared, and is still there after going back.

import { h, keyed, setText } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { date, lower, money, words } from "../kit/words.js";
import { listOf, ordersOf, queryOf } from "./addresses.js";
import { counted, subjectOf } from "./counted.js";
import { field } from "./dialog.js";
import { follow, list, live } from "./live.js";
import { decideMany, head, linkTo, parkedTable, showParked } from "./parked.js";
import { setSince } from "./since.js";
import { showStatus } from "./trouble.js";

const SHOWN = 50;
const STATES = ["waiting", "in_progress", "parked"];

/** What is asked of the API. */
const FILTERS = ["chain", "link", "state", "status", "reason", "customer_id", "since", "before", "q"];

const ofParkings = (filters) => ({ ...filters, state: null, status: null, q: null });

export function listPage(graphs, query, signal) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const graph = graphs.get(filters.chain) ?? (graphs.size === 1 ? [...graphs.values()][0] : undefined);
  const parked = filters.state === "parked";
  const path = parked ? "/operations/parked" : "/operations/subjects";
  const asked = parked ? ofParkings(filters) : filters;
  const before = Number(query.get("shown") ?? 0); // those of the parts before this one

  const hint = h("p", { class: "hint", role: "status" });
  const problem = h("p", { class: "problem", role: "alert" });
  const empty = h("p", { class: "empty", hidden: true }, text(filters.q ? "list.unknown" : "list.none"));
  const table = parked ? parkedTable(graph, titleOf(graph, filters)) : subjectTable(graph);
  const body = table.querySelector("tbody");
  const next = h("a", { class: "button" }, text("list.next"));
  const first = h("a", { class: "button", href: listOf(filters), hidden: !query.get("cursor") }, text("list.first"));
  const pages = h("nav", { class: "pages", "aria-label": text("list.parts") }, first, next);
  const csv = h(
    "a",
    { class: "button", href: `${path}?${queryOf({ ...asked, format: "csv" })}`, download: "" },
    text("list.csv"),
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

function titleOf(graph, { link, state, status, q }) {
  if (q) return text("list.search", { sought: q });
  const named = status && (graph ? graph.status(status).title : words(status));
  const what = STATES.includes(state) ? text(`list.${state}`) : named;
  if (link === "received" && !what) return text("list.to_be_taken");
  if (link) return text("list.at", { what: what || text("list.everything"), link: linkIn(graph, link) });
  return what || (graph ? text("subjects.all", { subjects: graph.subjects }) : text("list.everything"));
}

const linkIn = (graph, link) => (graph ? lower(graph.link(link).title) : words(link));

function countOf(graph, before, shown, total) {
  const part = { from: before + 1, to: before + shown };
  if (total === null) return shown ? text("list.range", part) : "";
  return total <= shown ? counted(graph, total) : text("list.range_of", { ...part, counted: counted(graph, total) });
}

function bulk(filters, graph) {
  const { link, reason, customer_id } = filters;
  const named = [
    reason && words(reason),
    link && text("parked.at", { link: linkIn(graph, link) }),
    customer_id && text("list.of", { customer: customer_id }),
  ]
    .filter(Boolean)
    .join(" ");
  const button = (which) =>
    h(
      "button",
      { type: "button", onclick: () => decideMany(which, ofParkings(filters), graph, named) },
      named ? text("list.all_named", { verb: text(`parked.${which}`), named }) : text(`parked.${which}_all`),
    );
  return h("div", { class: "all" }, button("release"), (!link || !graph || graph.canReject(link)) && button("reject"));
}

// ---- filters -------------------------------------------------------------------------------------------------------

function filterForm(graphs, filters) {
  const option = (value, said) => h("option", { value }, said);
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
    option("?", text("list.every_chain")),
    [...graphs.values()].map((graph) =>
      h(
        "optgroup",
        { label: graph.title },
        option(queryOf({ chain: graph.name }), text("subjects.all", { subjects: graph.subjects })),
        [graph.link("received").name, ...graph.links.map(({ name }) => name)].map((link) =>
          option(
            queryOf({ chain: graph.name, link }),
            link === "received" ? text("list.to_be_taken") : graph.link(link).title,
          ),
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
    text("list.any"),
    STATES.map((state) => option(state, text(`list.${state}`))),
  );
  const status = select(
    "status",
    text("list.any"),
    graph?.statuses.map(({ code, title }) => option(code, title)) ?? [],
  );
  const reason = select(
    "reason",
    text("list.any"),
    reasonsOf(graph).map((code) => option(code, graph?.reason(code) ?? words(code))),
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
  const what = filters.state === "parked" ? "parked" : "received";
  const form = h(
    "form",
    { class: "filters", role: "search", "aria-label": text("list.filters") },
    field(text("list.where"), where),
    field(text("list.state"), states),
    filters.state !== "parked" && field(text("column.status"), status),
    field(text("column.reason"), reason),
    field(text("column.customer"), customer),
    field(text(`list.${what}_from`), since),
    field(text(`list.${what}_before`), before),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "submit", class: "primary" }, text("list.show")),
      h("a", { class: "button", href: "#/list" }, text("list.clear")),
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
      q: filters.q,
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
  return h(
    "table",
    { class: "orders" },
    h("caption", { class: "for-screen-readers" }, text("list.caption")),
    head([
      subjectOf(graph),
      ...["status", "stands_at", "reason", "amount", "customer", "received", "moved"].map((name) =>
        text(`column.${name}`),
      ),
    ]),
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
  const at = h("td", { class: "at", "data-before": text("orders.at") });
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
    h("td", { class: "received number soft", title: date(received_at) }, received, text("list.ago")),
    h("td", { class: "moved number soft" }, moved, text("list.ago")),
  );
  setSince(received, received_at);
  row.show = (graph, { status, links, reason: why, updated_at }) => {
    if (!graph) return;
    showStatus(now, graph.status(status));
    const open = graph.end(status) ? [] : links;
    const places = open.map(({ link, state }) => `${graph.link(graph.place(link)).title}, ${text(`state.${state}`)}`);
    setText(at, [...new Set(places)].join("; "));
    setText(reason, why ? graph.reason(why) : "");
    setSince(moved, updated_at);
  };
  return row;
}
