// Asks before something is decided: why, and who. Both go into the journal.

import { Problem } from "../kit/api.js";
import { $, h, newId } from "../kit/elements.js";
import { text as said } from "../kit/texts.js";

const NAME = "lanka.name";

/** Shows a notice for some seconds; screen readers hear it. */
export function toast(text, mood = "good") {
  const place = $("toast");
  place.textContent = text;
  place.dataset.mood = mood;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (place.textContent = ""), 8000);
}

/** A labelled field of a dialog. */
export function field(label, input, hint) {
  input.id = newId("field");
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, label),
    input,
    hint && h("p", { class: "hint" }, hint),
  );
}

/**
 * Opens a dialog; `act(answers)` is called with `why`, `by` and what `more` holds, and returns the notice to show, or null to
 * stay open. Focus goes back to where it was, or to `home` if that is gone.
 */
export function decide({ title, text, verb, danger, more = [], act, home }) {
  const before = document.activeElement;
  const heading = newId("dialog");
  const why = h("textarea", { name: "why", required: true, maxlength: "400", rows: "2" });
  const by = h("input", {
    name: "by",
    required: true,
    maxlength: "80",
    autocomplete: "name",
    value: localStorage.getItem(NAME) ?? "",
  });
  const problem = h("p", { class: "problem", role: "alert" });
  const submit = h("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: heading }, title),
    h("p", {}, text),
    more.map((each) => each.node ?? each),
    field(said("ask.why"), why, said("ask.why_hint")),
    field(said("ask.name"), by),
    problem,
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", onclick: () => dialog.close() }, said("ask.cancel")),
      submit,
    ),
  );
  const dialog = h("dialog", { "aria-labelledby": heading }, form);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.repeat) event.preventDefault(); // a key held down must not go through a dry run
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    localStorage.setItem(NAME, by.value.trim());
    submit.disabled = true;
    problem.textContent = "";
    try {
      const notice = await act({ why: why.value.trim().replaceAll(/\s+/g, " "), by: by.value.trim() });
      if (notice !== null) {
        dialog.close();
        toast(notice.text, notice.mood);
      }
    } catch (error) {
      problem.textContent = error instanceof Problem ? error.message : said("ask.wrong", { error: error.message });
    }
    submit.disabled = false;
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    const target = before?.isConnected ? before : (home?.() ?? $("main"));
    target?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  why.focus();
  return { submit, problem };
}
