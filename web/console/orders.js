// Orders: the newest, or those that were searched for.

import { h, keyed, setText } from "../kit/elements.js";
import { count, many, money, words } from "../kit/words.js";
import { toast } from "./dialog.js";
import { addressOf, ordersOf } from "./addresses.js";
import { call, follow } from "./live.js";
import { setSince } from "./since.js";
import { showStatus } from "./trouble.js";

export function ordersPage(graph, query, signal) {
  const sought = query.get("q") ?? "";
  const title = h("h1", { tabindex: "-1" }, sought ? `Orders of “${sought}”` : "Newest orders");
  const hint = h("p", { class: "hint", role: "status" });
  const nothing = sought
    ? "No order, order number, customer or payment is called that. Ids are compared as a whole."
    : "There are no such orders.";
  const empty = h("p", { class: "empty", hidden: true }, nothing);
  const body = h("tbody");
  const choice = h(
    "select",
    { "aria-label": "Status" },
    h("option", { value: "" }, "Every status"),
    graph.statuses.map(({ code, title }) => h("option", { value: code }, title)),
  );
  choice.value = query.get("status") ?? "";
  choice.addEventListener(
    "change",
    () => (location.hash = choice.value ? `#/orders?status=${choice.value}` : "#/orders"),
  );
  const columns = ["Order", "Number", "Status", "Stands at", "Reason", "Total", "Customer", "Received"];
  const table = h(
    "table",
    { class: "orders" },
    h("caption", { class: "for-screen-readers" }, sought ? "Orders found" : "Newest orders"),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        columns.map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    body,
  );
  const look = async () => {
    const { orders, more } = await (sought ? search(sought) : newest(choice.value));
    if (signal.aborted) return;
    setText(hint, more ? `The newest ${count(orders.length)} are shown.` : many(orders.length, "order"));
    table.hidden = !orders.length;
    empty.hidden = orders.length > 0;
    keyed(
      body,
      orders,
      (order) => order.order_id,
      orderRow,
      (row, order) => row.show(graph, order),
    );
  };
  follow(look, signal, (problem) => toast(problem.message, "bad"));
  return h(
    "div",
    { class: "page" },
    h("div", { class: "heading" }, title, hint, sought ? h("a", { href: "#/orders" }, "All orders") : choice),
    h("div", { class: "panel" }, empty, table),
  );
}

async function search(text) {
  const orders = await call("GET", `/operations/orders?${new URLSearchParams({ q: text })}`);
  return { orders, more: orders.length === 100 };
}

async function newest(status) {
  const { orders, next_cursor } = await call(
    "GET",
    `/orders?${new URLSearchParams({ limit: "50", ...(status && { status }) })}`,
  );
  return { orders, more: next_cursor };
}

function orderRow(order) {
  const now = h("span", { class: "status" });
  const number = h("td", { class: "number" });
  const at = h("td", { class: "at" });
  const reason = h("td", { class: "reason soft" });
  const received = h("time");
  const row = h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { class: "id", href: addressOf("orders", order.order_id) }, order.order_id)),
    number,
    h("td", { class: "now" }, now),
    at,
    reason,
    h("td", { class: "total number" }, money(order.total, order.currency, "code")),
    h("td", { class: "customer" }, ordersOf(order.customer_id)),
    h("td", { class: "received number soft" }, received, " ago"),
  );
  setSince(received, order.received_at);
  row.show = (graph, { status, order_number, links_at, reason: why }) => {
    showStatus(now, graph.status(status));
    setText(number, order_number ?? "");
    setText(
      at,
      graph.end(status) ? "" : [...new Set(links_at.map((name) => graph.link(graph.place(name)).title))].join(", "),
    );
    setText(reason, why ? words(why) : "");
  };
  return row;
}
