// The operator's console: who is there, which page is open, and whether the line is alive.

import { Problem, untilAnswered } from "../kit/api.js";
import { allGraphs } from "../kit/chains.js";
import { $, h, setAttribute, setText } from "../kit/elements.js";
import { text } from "../kit/texts.js";
import { hour } from "../kit/words.js";
import { listOf } from "./addresses.js";
import { field } from "./dialog.js";
import { banner } from "./drill.js";
import { listPage } from "./list.js";
import { call, live } from "./live.js";
import { ordersPage } from "./orders.js";
import { overview } from "./overview.js";
import { setSince } from "./since.js";
import { orderPage, subjectPage } from "./subject.js";

const main = $("main");
const bar = $("bar");
const pulse = $("pulse");

const SECTIONS = ["parked", "refunds"]; // of the overview, which have an address of their own

let graphs = new Map();
let leaving = new AbortController(); // ends what the open page follows

// ---- pages ---------------------------------------------------------------------------------------------------------

function route() {
  leaving.abort();
  leaving = new AbortController();
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const [, page = "", ...ids] = path.split("/").map(decodeURIComponent);
  const wanted = new URLSearchParams(query);
  main.replaceChildren(shown(page, ids, wanted, leaving.signal));
  const tab =
    page === "list" ? (wanted.get("state") === "parked" ? "parked" : "") : page === "orders" ? page : "overview";
  for (const link of document.querySelectorAll("nav a"))
    setAttribute(link, "aria-current", link.dataset.page === tab && "page");
  $("q").value = wanted.get("q") ?? "";
  if (SECTIONS.includes(page)) $(`${page}-title`).focus();
}

function shown(page, [first, second], wanted, signal) {
  const orders = graphs.get("orders");
  if (page === "orders") return first ? orderPage(orders, first, signal) : ordersPage(orders, wanted, signal);
  if (page === "list") return listPage(graphs, wanted, signal);
  if (page === "subjects" && graphs.has(first) && second) return subjectPage(graphs.get(first), second, signal);
  return overview(graphs, signal);
}

addEventListener("hashchange", () => {
  if (bar.hidden || !graphs.size) return;
  route();
  if (SECTIONS.some((name) => location.hash.startsWith(`#/${name}`))) return;
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const sought = $("q").value.trim();
  location.hash = sought ? listOf({ q: sought }) : "#/orders";
});

// ---- the line ------------------------------------------------------------------------------------------------------

function showLine() {
  setText(pulse, text(`line.${live.connection}`));
  setAttribute(pulse, "data-line", live.connection);
  setAttribute(document.body, "data-line", live.connection);
  setSince($("as-of").lastElementChild, live.trueAt && new Date(live.trueAt).toISOString());
  $("as-of").hidden = live.connection === "live" || !live.trueAt;
  showTitle();
}

/** In a tab that nobody sees it stays as it is, so it says of when that is. */
function showTitle() {
  if (!live.picture) return;
  const sum = (things, field) => things.reduce((total, each) => total + each[field], 0);
  const [open, parked] = [sum(live.picture.chains, "open"), sum(live.picture.parked, "subjects")];
  const counts = [open && text("bar.open", { count: open }), parked && text("bar.parked_count", { count: parked })]
    .filter(Boolean)
    .join(", ");
  const now = live.connection === "live";
  const told = now ? counts : text("bar.title_at", { counts, hour: hour(live.trueAt) });
  document.title = counts ? text("bar.title", { counts: told }) : text("bar.title_quiet");
}

live.addEventListener("connection", showLine);
live.addEventListener("left", () => logIn());
live.addEventListener("picture", showTitle);
live.addEventListener("picture", learn);
banner($("banner"));

/** An API that was deployed meanwhile may bring a chain of which this page knows no words yet. */
async function learn() {
  const unknown = live.picture?.chains.some(({ name }) => !graphs.has(name));
  if (!unknown || !graphs.size || learn.asking) return;
  learn.asking = true;
  graphs = await allGraphs().catch(() => graphs);
  learn.asking = false;
  if (!bar.hidden) route();
}

// ---- who is there --------------------------------------------------------------------------------------------------

const REFUSED = { api_key_invalid: "login.unknown", operator_key_required: "login.not_operator" };

function logIn() {
  leaving.abort();
  bar.hidden = true;
  $("banner").replaceChildren();
  document.title = text("login.title");
  setAttribute(document.body, "data-line", null);
  const key = h("input", { type: "password", name: "key", required: true, autocomplete: "current-password" });
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, text("login.button"));
  const form = h(
    "form",
    { class: "panel log-in" },
    h("h1", {}, "Lanka"),
    h("p", {}, text("login.about")),
    field(text("login.key"), key, text("login.where")),
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
      if (!(error instanceof Problem)) throw error;
      problem.textContent = error.code in REFUSED ? text(REFUSED[error.code]) : error.message;
      key.select();
    }
    button.disabled = false;
  });
  main.replaceChildren(form);
  key.focus();
}

$("log-out").addEventListener("click", async () => {
  await call("DELETE", "/console/session").catch(() => {});
  live.leave();
});

async function enter() {
  bar.hidden = false;
  main.replaceChildren(h("div", { class: "page" }, h("div", { class: "heading" }, h("h1", {}, text("page.looking")))));
  showLine();
  live.start();
  graphs = (await untilAnswered(allGraphs, { over: () => bar.hidden })) ?? graphs;
  if (!bar.hidden) route();
}

async function begin() {
  try {
    await call("GET", "/operations/refunds");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401 || problem.status === 403) return logIn();
    // Nobody answers; the console says so and tries again.
  }
  enter();
}

begin();
