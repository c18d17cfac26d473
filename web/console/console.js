// The operator's console: who is there, which page is open, and whether the line is alive.

import { Chain, allOrders, headline } from "./console_chain.js";
import { field } from "./console_dialog.js";
import { h, mark, say } from "./console_dom.js";
import { banner, drillPanel } from "./console_drill.js";
import { orderPage } from "./console_order.js";
import { ordersPage } from "./console_orders.js";
import { parkedPanel, refundsPanel } from "./console_parked.js";
import { Trouble, call, live, onPicture } from "./console_server.js";
import { clock, count } from "./console_words.js";

const main = document.getElementById("main");
const bar = document.getElementById("bar");
const pulse = document.getElementById("pulse");
const place = document.getElementById("banner");

let leaving = new AbortController(); // ends what the open page follows

// ---- pages ---------------------------------------------------------------------------------------------------------

function overview(signal) {
  const title = h("h1", { tabindex: "-1" }, "Looking…");
  const counted = h("p", { class: "hint" });
  const chain = new Chain("The chain of all orders");
  onPicture((picture) => {
    say(title, headline(picture));
    say(counted, `Rates over 10 s. Done since ${clock(picture.counted_since).slice(0, 5)}.`);
    chain.show(...allOrders(picture));
  }, signal);
  const legend = h(
    "ul",
    { class: "legend", "aria-label": "Colours" },
    [["busy", "in progress"], ["wait", "waiting: stands still"], ["bad", "parked: needs a decision"]].map(([mood, text]) => h("li", { "data-mood": mood }, text)),
  );
  return h(
    "div",
    { class: "page overview" },
    h("div", { class: "heading" }, title, counted),
    h("section", { class: "panel picture", "aria-label": "The chain" }, chain.element, legend),
    h("div", { class: "columns" }, h("div", { class: "stack" }, parkedPanel(signal), refundsPanel(signal)), drillPanel(signal)),
  );
}

function route() {
  leaving.abort();
  leaving = new AbortController();
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const [, page = "", id] = path.split("/");
  const wanted = new URLSearchParams(query);
  const shown = page === "orders" ? (id ? orderPage(decodeURIComponent(id), leaving.signal) : ordersPage(wanted, leaving.signal)) : overview(leaving.signal);
  main.replaceChildren(shown);
  for (const link of document.querySelectorAll("nav a")) mark(link, "aria-current", link.dataset.page === (page === "orders" ? "orders" : "overview") ? "page" : null);
  document.getElementById("q").value = wanted.get("q") ?? "";
  if (page === "parked") document.getElementById("parked-title").focus();
}

addEventListener("hashchange", () => {
  if (bar.hidden) return;
  route();
  if (!location.hash.startsWith("#/parked")) main.focus({ preventScroll: true });
  if (!location.hash.startsWith("#/parked")) scrollTo(0, 0);
});

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("q").value.trim();
  location.hash = text ? `#/orders?${new URLSearchParams({ q: text })}` : "#/orders";
});

// ---- the line ------------------------------------------------------------------------------------------------------

const LINE = {
  connecting: "Connecting",
  live: "Live",
  lost: "Connection lost, trying again",
  away: "PostgreSQL does not answer",
};

function showLine() {
  say(pulse, LINE[live.connection]);
  mark(pulse, "data-line", live.connection);
  mark(document.body, "data-line", live.connection);
}

live.addEventListener("connection", showLine);
live.addEventListener("left", () => logIn());
live.addEventListener("picture", () => {
  if (!live.picture) return;
  const parked = live.picture.parked.reduce((sum, group) => sum + group.orders, 0);
  const told = [live.picture.open && `${count(live.picture.open)} open`, parked && `${count(parked)} parked`].filter(Boolean);
  document.title = `${told.length ? `${told.join(", ")} · ` : ""}Lanka console`;
});
banner(place);

// ---- who is there --------------------------------------------------------------------------------------------------

function logIn() {
  leaving.abort();
  bar.hidden = true;
  place.replaceChildren();
  document.title = "Log in · Lanka console";
  mark(document.body, "data-line", null);
  const key = h("input", { type: "password", name: "key", required: true, autocomplete: "current-password" });
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Log in");
  const form = h(
    "form",
    { class: "panel log-in" },
    h("h1", {}, "Lanka"),
    h("p", {}, "The operator’s console: where every order stands, and what waits for a decision."),
    field("Operator key", key, h("span", {}, h("code", {}, "lanka up"), " writes it into ", h("code", {}, "connection.json"), ".")),
    problem,
    button,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await call("POST", "/console/session", { key: key.value.trim() });
      enter();
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      problem.textContent = { api_key_invalid: "Nobody has this key.", operator_key_required: "This is not an operator’s key." }[error.code] ?? error.message;
      key.select();
    }
    button.disabled = false;
  });
  main.replaceChildren(form);
  key.focus();
}

document.getElementById("log-out").addEventListener("click", async () => {
  await call("DELETE", "/console/session").catch(() => {});
  live.leave();
});

function enter() {
  bar.hidden = false;
  showLine();
  route();
  live.start();
}

async function begin() {
  try {
    const answer = await fetch("/operations/refunds", { cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) return logIn();
  } catch {
    // The line is dead; the console says so and tries again.
  }
  enter();
}

begin();
