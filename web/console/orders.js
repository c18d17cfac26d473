// Orders, the newest.

import { h, keyed, setText } from "../kit/elements.js";
import { text as said } from "../kit/texts.js";
import { money } from "../kit/words.js";
import { counted } from "./counted.js";
import { toast } from "./dialog.js";
import { addressOf, ordersOf } from "./addresses.js";
import { call, follow } from "./live.js";
import { setSince } from "./since.js";
import { showStatus } from "./trouble.js";

export function ordersPage(graph, query, signal) {
  const title = h("h1", { tabindex: "-1" }, said("orders.newest"));
  const hint = h("p", { class: "hint", role: "status" });
  const empty = h("p", { class: "empty", hidden: true }, said("orders.none"));
  const body = h("tbody");
  const choice = h(
    "select",
    { "aria-label": said("column.status") },
    h("option", { value: "" }, said("orders.every_status")),
    graph.statuses.map(({ code, title }) => h("option", { value: code }, title)),
  );
  choice.value = query.get("status") ?? "";
  choice.addEventListener(
    "change",
    () => (location.hash = choice.value ? `#/orders?status=${choice.value}` : "#/orders"),
  );
  const columns = ["order", "number", "status", "stands_at", "reason", "total", "customer", "received"];
  const table = h(
    "table",
    { class: "orders" },
    h("caption", { class: "for-screen-readers" }, said("orders.newest")),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        columns.map((name) => h("th", { scope: "col" }, said(`column.${name}`))),
      ),
    ),
    body,
  );
  const look = async () => {
    const { orders, more } = await newest(choice.value);
    if (signal.aborted) return;
    setText(hint, more ? said("orders.newest_shown", { count: orders.length }) : counted(graph, orders.length));
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
    h("div", { class: "heading" }, title, hint, choice),
    h("div", { class: "panel" }, empty, table),
  );
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
  const at = h("td", { class: "at", "data-before": said("orders.at") });
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
    h("td", { class: "received number soft" }, received, said("list.ago")),
  );
  setSince(received, order.received_at);
  row.show = (graph, { status, order_number, links_at, reason: why }) => {
    showStatus(now, graph.status(status));
    setText(number, order_number ?? "");
    setText(
      at,
      graph.end(status) ? "" : [...new Set(links_at.map((name) => graph.link(graph.place(name)).title))].join(", "),
    );
    setText(reason, why ? graph.reason(why) : "");
  };
  return row;
}
