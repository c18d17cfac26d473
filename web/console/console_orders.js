// Orders: the newest, or those that were searched for.

import { h, keyed, mark, say, setSince } from "./console_dom.js";
import { toast } from "./console_dialog.js";
import { call, follow } from "./console_server.js";
import { LINKS, MOODS, STATUS, count, many, money, words } from "./console_words.js";

const ENDED = ["confirmed", "rejected", "cancelled"];

export const status = (props = {}) => h("span", { class: "status", ...props });

export function showStatus(element, value) {
  mark(element, "data-mood", MOODS[value]);
  say(element, STATUS[value]);
}

export function ordersPage(query, signal) {
  const sought = query.get("q") ?? "";
  const title = h("h1", { tabindex: "-1" }, sought ? `Orders of “${sought}”` : "Newest orders");
  const hint = h("p", { class: "hint", role: "status" });
  const empty = h("p", { class: "empty", hidden: true });
  const body = h("tbody");
  const choice = h(
    "select",
    { "aria-label": "Status" },
    h("option", { value: "" }, "Every status"),
    Object.entries(STATUS).map(([value, label]) => h("option", { value }, label)),
  );
  choice.value = query.get("status") ?? "";
  choice.addEventListener("change", () => (location.hash = choice.value ? `#/orders?status=${choice.value}` : "#/orders"));
  const table = h(
    "table",
    { class: "orders" },
    h("caption", { class: "for-screen-readers" }, sought ? "Orders found" : "Newest orders"),
    h("thead", {}, h("tr", {}, ["Order", "Number", "Status", "Stands at", "Reason", "Total", "Customer", "Received"].map((name) => h("th", { scope: "col" }, name)))),
    body,
  );
  const look = async () => {
    let orders;
    if (sought) {
      orders = await call("GET", `/operations/orders?${new URLSearchParams({ q: sought })}`);
      say(hint, orders.length === 100 ? "The newest 100 are shown." : many(orders.length, "order"));
    } else {
      const wanted = new URLSearchParams({ limit: "50" });
      if (choice.value) wanted.set("status", choice.value);
      const page = await call("GET", `/orders?${wanted}`);
      orders = page.orders;
      say(hint, page.next_cursor ? `The newest ${count(orders.length)} are shown.` : many(orders.length, "order"));
    }
    if (signal.aborted) return;
    table.hidden = !orders.length;
    empty.hidden = orders.length > 0;
    say(empty, sought ? "No order, order number, customer or payment is called that. Ids are compared as a whole." : "There are no such orders.");
    keyed(body, orders, (order) => order.order_id, orderRow, (row, order) => row.show(order));
  };
  follow(look, signal, (error) => toast(error.message, "bad"));
  return h("div", { class: "page" }, h("div", { class: "heading" }, title, hint, sought ? h("a", { href: "#/orders" }, "All orders") : choice), h("div", { class: "panel" }, empty, table));
}

function orderRow(order) {
  const now = status();
  const number = h("td", { class: "number" });
  const at = h("td", { class: "at" });
  const reason = h("td", { class: "reason soft" });
  const received = h("time");
  const row = h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { class: "id", href: `#/orders/${order.order_id}` }, order.order_id)),
    number,
    h("td", { class: "now" }, now),
    at,
    reason,
    h("td", { class: "total number" }, money(order.total, order.currency)),
    h("td", { class: "customer" }, h("a", { class: "id", href: `#/orders?${new URLSearchParams({ q: order.customer_id })}` }, order.customer_id)),
    h("td", { class: "received number soft" }, received, " ago"),
  );
  setSince(received, order.received_at);
  row.show = (told) => {
    showStatus(now, told.status);
    say(number, told.order_number ?? "");
    say(at, ENDED.includes(told.status) ? "" : LINKS[told.stage]);
    say(reason, told.reason ? words(told.reason) : "");
  };
  return row;
}
