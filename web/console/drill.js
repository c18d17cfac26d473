// A drill: the sandbox provider is broken on purpose, sample orders run into it, and everybody sees what happens.

import { h, setText } from "../kit/elements.js";
import { text as said } from "../kit/texts.js";
import { field, toast } from "./dialog.js";
import { call, live, onPicture } from "./live.js";

const WHOLE = { down: false, latency_ms: 0, error_rate: 0, timeout_rate: 0, garbage_rate: 0 };

const SWITCHES = [
  { name: "down", on: true, off: false },
  {
    name: "latency_ms",
    on: 1500,
    off: 0,
    unit: "ms",
    steps: [300, 1500, 3000, 8000],
  },
  { name: "error_rate", on: 1, off: 0, unit: "%" },
  { name: "timeout_rate", on: 1, off: 0, unit: "%" },
  { name: "garbage_rate", on: 1, off: 0, unit: "%" },
];

const mend = () => set(WHOLE, said("drill.mended"));

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
  const send = h("button", { type: "submit" }, said("drill.send"));
  const form = h(
    "form",
    { class: "send" },
    h("h3", {}, said("drill.samples")),
    h("div", { class: "pair" }, field(said("drill.number"), orders), field(said("decide.a_second"), rate), send),
    h("p", { class: "hint" }, said("drill.paid_first")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      const sent = await call("POST", "/operations/sample-orders", {
        orders: orders.valueAsNumber,
        rate_per_second: rate.valueAsNumber,
      });
      toast(said("drill.sent", { count: sent.orders, rate: rate.valueAsNumber }));
    } catch (error) {
      toast(error.message, "bad");
    }
    send.disabled = false;
  });
  const away = h("p", { class: "empty" }, said("drill.away"));
  const switches = h(
    "fieldset",
    { class: "switches" },
    h("legend", {}, said("drill.break")),
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
    h("h2", { id: "drill-title" }, said("drill.title")),
    away,
    switches,
    form,
  );
}

function faultSwitch({ name, on, off, unit, steps }) {
  const state = h("input", { type: "checkbox", role: "switch", id: `fault-${name}` });
  const choices = steps ?? [0.1, 0.25, 0.5, 1];
  const amount =
    unit &&
    h(
      "select",
      { "aria-label": said("drill.how_much", { fault: said(`fault.${name}`) }) },
      choices.map((step) => h("option", { value: String(step) }, written(step, unit))),
    );
  if (amount) amount.value = String(on);
  const change = () => {
    const value = state.checked ? (amount ? Number(amount.value) : on) : off;
    const now = { ...WHOLE, ...live.picture?.faults, [name]: value };
    const still = broken(now);
    set(now, still.length ? said("drill.now", { faults: still.join(", ") }) : said("drill.mended"));
  };
  state.addEventListener("change", change);
  amount?.addEventListener("change", () => state.checked && change());
  const element = h(
    "div",
    { class: "fault" },
    state,
    h("label", { for: state.id }, h("b", {}, said(`fault.${name}`)), " ", h("span", {}, said(`fault_does.${name}`))),
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
  unit === "%"
    ? `${Math.round(value * 100)} %`
    : value < 1000
      ? said("time.milliseconds", { milliseconds: value })
      : said("time.seconds", { seconds: value / 1000 });

/** Shows loudly, on every page, that the provider is broken on purpose. */
export function banner(place) {
  const text = h("span");
  const button = h("button", { type: "button", class: "small", onclick: mend }, said("drill.mend"));
  live.addEventListener("picture", () => {
    const faults = live.picture?.faults ? broken(live.picture.faults) : [];
    if (!faults.length) return place.replaceChildren();
    if (!place.firstChild) place.append(h("strong", {}, said("drill.on_purpose")), text, button);
    setText(text, said("drill.banner", { faults: faults.join(", ") }));
  });
}

/** What is wrong with it, in words. */
const broken = (faults) =>
  SWITCHES.filter(({ name }) => faults[name]).map(({ name, unit }) =>
    said(`fault_is.${name}`, {
      amount:
        unit === "ms" ? said("time.milliseconds", { milliseconds: faults[name] }) : unit && written(faults[name], unit),
    }),
  );
