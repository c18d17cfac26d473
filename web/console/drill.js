// A drill: the sandbox provider is broken on purpose, sample orders run into it, and everybody sees what happens.

import { h, setText } from "../kit/elements.js";
import { count, many } from "../kit/words.js";
import { field, toast } from "./dialog.js";
import { call, live, onPicture } from "./live.js";

const WHOLE = { down: false, latency_ms: 0, error_rate: 0, timeout_rate: 0, garbage_rate: 0 };

const SWITCHES = [
  { name: "down", label: "Down", what: "refuses every call", on: true, off: false },
  {
    name: "latency_ms",
    label: "Slow",
    what: "waits before each answer",
    on: 1500,
    off: 0,
    unit: "ms",
    steps: [300, 1500, 3000, 8000],
  },
  { name: "error_rate", label: "Errors", what: "answers 500 or 429", on: 1, off: 0, unit: "%" },
  { name: "timeout_rate", label: "Timeouts", what: "does the work, never answers", on: 1, off: 0, unit: "%" },
  { name: "garbage_rate", label: "Garbage", what: "answers nonsense: orders park", on: 1, off: 0, unit: "%" },
];

const mend = () => set(WHOLE, "The sandbox provider is mended.");

let setting = 0; // changes under way: a picture from before one is no reason to turn a switch back

async function set(faults, notice) {
  setting += 1;
  try {
    const now = await call("PUT", "/operations/faults", faults);
    if (live.picture) live.picture.faults = now;
    toast(notice, broken(now).length ? "wait" : "good");
  } catch (error) {
    toast(error.message, "bad");
  }
  setting -= 1;
  if (live.picture) live.dispatchEvent(new Event("picture"));
}

export function drillPanel(signal) {
  const rows = SWITCHES.map(faultSwitch);
  const orders = h("input", {
    type: "number",
    min: "1",
    max: "500",
    value: "200",
    required: true,
    inputmode: "numeric",
  });
  const rate = h("input", { type: "number", min: "1", max: "1000", value: "20", required: true, inputmode: "numeric" });
  const send = h("button", { type: "submit" }, "Send");
  const form = h(
    "form",
    { class: "send" },
    h("h3", {}, "Sample orders"),
    h("div", { class: "pair" }, field("How many", orders), field("A second", rate), send),
    h("p", { class: "hint" }, "Each is paid at the sandbox first, so send them before you take it down."),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      const sent = await call("POST", "/operations/sample-orders", {
        orders: orders.valueAsNumber,
        rate_per_second: rate.valueAsNumber,
      });
      toast(`${many(sent.orders, "order")} are paid and on their way, ${rate.value} a second.`);
    } catch (error) {
      toast(error.message, "bad");
    }
    send.disabled = false;
  });
  const away = h("p", { class: "empty" }, "There is no sandbox payment provider here, or it does not answer.");
  const switches = h(
    "fieldset",
    { class: "switches" },
    h("legend", {}, "Break the sandbox provider"),
    rows.map((row) => row.element),
  );
  onPicture((picture) => {
    away.hidden = Boolean(picture.faults);
    switches.hidden = form.hidden = !picture.faults;
    if (picture.faults && !setting) rows.forEach((row) => row.show(picture.faults));
  }, signal);
  return h(
    "section",
    { class: "panel drill", "aria-labelledby": "drill-title" },
    h("h2", { id: "drill-title" }, "Drill"),
    away,
    switches,
    form,
  );
}

function faultSwitch({ name, label, what, on, off, unit, steps }) {
  const state = h("input", { type: "checkbox", role: "switch", id: `fault-${name}` });
  const choices = steps ?? [0.1, 0.25, 0.5, 1];
  const amount =
    unit &&
    h(
      "select",
      { "aria-label": `${label}: how much` },
      choices.map((step) => h("option", { value: String(step) }, written(step, unit))),
    );
  if (amount) amount.value = String(on);
  const change = () => {
    const value = state.checked ? (amount ? Number(amount.value) : on) : off;
    const now = { ...WHOLE, ...live.picture?.faults, [name]: value };
    const still = broken(now);
    set(now, still.length ? `The sandbox provider is now ${still.join(", ")}.` : "The sandbox provider is mended.");
  };
  state.addEventListener("change", change);
  amount?.addEventListener("change", () => state.checked && change());
  const element = h(
    "div",
    { class: "fault" },
    state,
    h("label", { for: state.id }, h("b", {}, label), " ", h("span", {}, what)),
    amount,
  );
  return {
    element,
    show(faults) {
      const value = faults[name];
      state.checked = Boolean(value);
      element.classList.toggle("on", Boolean(value));
      if (!amount || !value || document.activeElement === amount) return;
      if (![...amount.options].some((option) => Number(option.value) === value))
        amount.append(h("option", { value: String(value) }, written(value, unit)));
      amount.value = String(value);
    },
  };
}

const written = (value, unit) =>
  unit === "%" ? `${Math.round(value * 100)} %` : value < 1000 ? `${value} ms` : `${value / 1000} s`;

/** Shows loudly, on every page, that the provider is broken on purpose. */
export function banner(place) {
  const text = h("span");
  const button = h("button", { type: "button", class: "small", onclick: mend }, "Mend it");
  live.addEventListener("picture", () => {
    const faults = live.picture?.faults ? broken(live.picture.faults) : [];
    if (!faults.length) return place.replaceChildren();
    if (!place.firstChild) place.append(h("strong", {}, "Broken on purpose"), text, button);
    setText(text, `The sandbox payment provider: ${faults.join(", ")}.`);
  });
}

function broken(faults) {
  const percent = (rate) => `${Math.round(rate * 100)} %`;
  return [
    faults.down && "down",
    faults.latency_ms && `${count(faults.latency_ms)} ms slow`,
    faults.error_rate && `errors ${percent(faults.error_rate)}`,
    faults.timeout_rate && `timeouts ${percent(faults.timeout_rate)}`,
    faults.garbage_rate && `garbage ${percent(faults.garbage_rate)}`,
  ].filter(Boolean);
}
