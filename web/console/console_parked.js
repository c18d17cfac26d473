// What waits for a person: parked orders by what failed alike, and money that is owed.

import { h, keyed, mark, say, setSince } from "./console_dom.js";
import { decide, field, toast } from "./console_dialog.js";
import { call, follow, live, onPicture } from "./console_server.js";
import { LINKS, count, many, money, words } from "./console_words.js";

const SHOWN = 50;
const heading = () => document.getElementById("parked-title");

// ---- decisions -----------------------------------------------------------------------------------------------------

export function release(orderId) {
  decide({
    title: `Release ${orderId}`,
    text: "It goes on at the link where it is parked.",
    verb: "Release",
    home: heading,
    act: async ({ why, by }) => {
      const { verdict } = await call("POST", `/operations/parked/${orderId}/release`, { reason: why, by });
      return told(orderId, verdict, "released", "is released and goes on.");
    },
  });
}

export function reject(orderId) {
  decide({
    title: `Reject ${orderId}`,
    text: "What was done for it is undone: stock is released, money goes back. This cannot be taken back.",
    verb: "Reject",
    danger: true,
    home: heading,
    act: async ({ why, by }) => {
      const { verdict } = await call("POST", `/operations/parked/${orderId}/reject`, { reason: why, by });
      return told(orderId, verdict, "rejected", "is rejected; stock and money go back.");
    },
  });
}

export function cancel(orderId) {
  decide({
    title: `Cancel ${orderId}`,
    text: "For the customer. It is decided once, by the workflow: once finalisation has begun it is too late.",
    verb: "Cancel the order",
    danger: true,
    act: async ({ why, by }) => {
      const { verdict } = await call("POST", `/orders/${orderId}/cancel`, { reason: `${why} (${by})` });
      return told(orderId, verdict, "cancelled", "is cancelled; what was done is undone.");
    },
  });
}

function told(orderId, verdict, wanted, sentence) {
  if (verdict === wanted) return { text: `${orderId} ${sentence}`, mood: "good" };
  return { text: `${orderId}: ${words(verdict)}. Nothing was changed.`, mood: "wait" };
}

/** Nothing is released before a dry run has said what would be. */
function releaseMany(group) {
  const limit = h("input", { type: "number", min: "1", max: "1000", value: "1000", required: true, inputmode: "numeric" });
  const rate = h("input", { type: "number", min: "1", max: "1000", value: "20", required: true, inputmode: "numeric" });
  const outcome = h("p", { class: "outcome", role: "status" });
  let ready = null;
  const asked = () => ({
    stage: group.stage,
    reason: group.reason,
    limit: limit.valueAsNumber,
    rate_per_second: rate.valueAsNumber,
  });
  const dialog = decide({
    title: `Release ${words(group.reason)} at ${LINKS[group.link].toLowerCase()}`,
    text: "The oldest first, one after the other at this rate, so that what was mended is not run over.",
    verb: "Dry run",
    home: heading,
    more: [h("div", { class: "pair" }, field("At most", limit), field("Orders a second", rate)), outcome],
    act: async ({ why, by }) => {
      const wanted = JSON.stringify(asked());
      if (ready !== wanted) {
        const { matched, orders } = await call("POST", "/operations/parked/release", { ...asked(), why, by, dry_run: true });
        ready = matched ? wanted : null;
        const named = orders.slice(0, 3).join(", ") + (matched > 3 ? ", …" : "");
        const seconds = Math.ceil(matched / rate.valueAsNumber);
        outcome.textContent = matched
          ? `Dry run: ${many(matched, "order")} would go on within ${seconds} s (${named}). Nothing was changed yet.`
          : "Dry run: nothing matches any more.";
        dialog.submit.textContent = matched ? `Release ${many(matched, "order")}` : "Dry run";
        return null;
      }
      const { matched, released } = await call("POST", "/operations/parked/release", { ...asked(), why, by });
      return { text: `${count(released)} of ${many(matched, "order")} released at ${rate.value} a second.`, mood: "good" };
    },
  });
  const again = () => {
    ready = null;
    dialog.submit.textContent = "Dry run";
    outcome.textContent = "";
  };
  limit.addEventListener("input", again);
  rate.addEventListener("input", again);
}

// ---- parked --------------------------------------------------------------------------------------------------------

export function parkedPanel(signal) {
  const total = h("span", { class: "total number" });
  const groups = h("ul", { class: "groups" });
  const empty = h(
    "p",
    { class: "empty" },
    "Nothing is parked. What fails in a way that nobody expected waits here until somebody decides; outages wait at their link and go on by themselves.",
  );
  onPicture((picture) => {
    const orders = picture.parked.reduce((sum, group) => sum + group.orders, 0);
    say(total, orders ? count(orders) : "");
    empty.hidden = orders > 0;
    keyed(groups, picture.parked, keyOf, (group) => groupRow(group, signal), (row, group) => row.show(group));
  }, signal);
  return h(
    "section",
    { class: "panel parked", id: "parked", "aria-labelledby": "parked-title" },
    h("h2", { id: "parked-title", tabindex: "-1" }, "Parked ", total),
    empty,
    groups,
  );
}

const keyOf = (group) => `${group.link} ${group.stage} ${group.reason}`;

function groupRow(group, signal) {
  const orders = h("span", { class: "number big" });
  const oldest = h("time", { class: "number" });
  const list = h("div", { class: "parked-orders" });
  const details = h(
    "details",
    {},
    h("summary", {}, orders, h("span", { class: "reason" }, words(group.reason)), h("span", { class: "at" }, `at ${LINKS[group.link].toLowerCase()}`), h("span", { class: "since" }, "for ", oldest)),
    list,
  );
  const row = h(
    "li",
    { class: "group" },
    details,
    h(
      "button",
      { type: "button", class: "all", onclick: () => releaseMany(group), "aria-label": `Release all ${words(group.reason)} at ${LINKS[group.link].toLowerCase()}` },
      "Release all…",
    ),
  );
  let open = null;
  details.addEventListener("toggle", () => {
    open?.abort();
    open = null;
    if (!details.open) return;
    open = new AbortController();
    const both = AbortSignal.any([open.signal, signal]);
    follow(() => listOrders(group, list), both, (error) => toast(error.message, "bad"));
  });
  row.show = (now) => {
    say(orders, count(now.orders));
    setSince(oldest, now.since);
  };
  return row;
}

async function listOrders(group, list) {
  const query = new URLSearchParams({ stage: group.stage, reason: group.reason });
  const found = (await call("GET", `/operations/parked?${query}`)).filter((each) => each.link === group.link);
  if (!list.firstChild) {
    list.append(
      h(
        "table",
        {},
        h("caption", { class: "for-screen-readers" }, `Orders parked by ${words(group.reason)}`),
        h("thead", {}, h("tr", {}, ["Order", "Attempts", "For", "Last error"].map((name) => h("th", { scope: "col" }, name)), h("th", { scope: "col" }, h("span", { class: "for-screen-readers" }, "Decide")))),
        h("tbody"),
      ),
      h("p", { class: "hint" }),
    );
  }
  keyed(list.querySelector("tbody"), found.slice(0, SHOWN), (each) => each.order_id, parkedRow, (row, each) => row.show(each));
  say(list.querySelector("p"), found.length > SHOWN ? `The ${SHOWN} oldest of ${count(found.length)} are shown.` : "");
}

function parkedRow(each) {
  const attempts = h("td", { class: "number", "data-name": "Attempts" });
  const since = h("time");
  const error = h("span");
  const row = h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { class: "id", href: `#/orders/${each.order_id}` }, each.order_id)),
    attempts,
    h("td", { class: "number", "data-name": "For" }, since),
    h("td", { class: "error" }, error),
    h(
      "td",
      { class: "decide" },
      h("button", { type: "button", class: "small", onclick: () => release(each.order_id), "aria-label": `Release ${each.order_id}` }, "Release"),
      h("button", { type: "button", class: "small", onclick: () => reject(each.order_id), "aria-label": `Reject ${each.order_id}` }, "Reject"),
    ),
  );
  row.show = (now) => {
    say(attempts, String(now.attempts));
    setSince(since, now.since);
    say(error, now.last_error);
    mark(error, "title", now.last_error);
  };
  return row;
}

// ---- money that is owed --------------------------------------------------------------------------------------------

export function refundsPanel(signal) {
  const total = h("span", { class: "total number" });
  const empty = h("p", { class: "empty" }, "No money is owed. A refund that has not succeeded yet stands here; it is retried without end.");
  const body = h("tbody");
  const table = h(
    "table",
    { hidden: true },
    h("caption", { class: "for-screen-readers" }, "Refunds that are owed"),
    h("thead", {}, h("tr", {}, ["Order", "Amount", "Because", "For"].map((name) => h("th", { scope: "col" }, name)))),
    body,
  );
  let owed = null;
  const look = async () => {
    if (live.picture && !live.picture.owed && owed === 0) return;
    const refunds = await call("GET", "/operations/refunds");
    owed = refunds.length;
    say(total, owed ? count(owed) : "");
    empty.hidden = owed > 0;
    table.hidden = !owed;
    keyed(body, refunds.slice(0, SHOWN), (each) => each.order_id, refundRow, (row, each) => row.show(each));
  };
  follow(look, signal, (error) => toast(error.message, "bad"));
  return h("section", { class: "panel refunds", "aria-labelledby": "refunds-title" }, h("h2", { id: "refunds-title" }, "Refunds owed ", total), empty, table);
}

function refundRow(each) {
  const amount = h("td", { class: "number" });
  const because = h("td");
  const since = h("time");
  const row = h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { class: "id", href: `#/orders/${each.order_id}` }, each.order_id)),
    amount,
    because,
    h("td", { class: "number" }, since),
  );
  row.show = (now) => {
    say(amount, money(now.amount, now.currency));
    say(because, words(now.reason) + (now.late ? ", paid late" : ""));
    setSince(since, now.since);
  };
  return row;
}

