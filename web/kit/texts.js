// What the pages themselves say, in the language of whoever looks at them. What is said of links and reasons comes from
// the API.
//
// The catalogues are JSON as i18next has it (version 4, keys without nesting): `{{name}}` is filled in, and a text with a
// `count` has a form for each of the language's plurals (`basket.items_one`, `_few`, ...). In HTML `data-text` holds the
// key of what an element says, `data-text-placeholder` that of this attribute, and so for any other.
// `<html data-texts="kit shop">` names the folders of `/static` whose catalogues a page uses.

const LANGUAGES = {
  en: { name: "English", short: "Eng", locale: "en-GB" },
  uk: { name: "Українська", short: "Укр", locale: "uk-UA" },
};
const KEPT = "lanka.language";
const page = document.documentElement;

function wanted() {
  const asked = [kept(), ...navigator.languages].map((each) => each?.split("-")[0]);
  return asked.find((each) => each in LANGUAGES) ?? "en";
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // this browser keeps nothing
  }
}

function chosen() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

export const LANGUAGE = wanted();
export const LOCALE = LANGUAGES[LANGUAGE].locale;

page.lang = LANGUAGE; // before anything is drawn; the API is asked in it as well

const plural = new Intl.PluralRules(LOCALE);
const number = new Intl.NumberFormat(LOCALE);

async function catalogue(folder) {
  const answer = await fetch(`/static/${folder}/texts/${LANGUAGE}.json`, { cache: "no-cache" });
  return answer.json();
}

const TEXTS = Object.assign({}, ...(await Promise.all(page.dataset.texts.split(" ").map(catalogue))));

/** Whether there is such a text. */
export const hasText = (key) => key in TEXTS;

/** The text with this key; numbers among `values` are written as the language writes them. */
export function text(key, values = {}) {
  const form = "count" in values ? `${key}_${plural.select(values.count)}` : key;
  return (TEXTS[form] ?? form).replaceAll(/\{\{(\w+)\}\}/g, (_, name) =>
    typeof values[name] === "number" ? number.format(values[name]) : values[name],
  );
}

function fill(element) {
  for (const { name, value } of Array.from(element.attributes)) {
    if (name === "data-text") element.textContent = text(value);
    else if (name.startsWith("data-text-")) element.setAttribute(name.slice("data-text-".length), text(value));
  }
}

/** A button that gives the page in the other language. */
function offer(button) {
  const [other, { name, short }] = Object.entries(LANGUAGES).find(([language]) => language !== LANGUAGE);
  button.lang = other;
  button.textContent = short;
  button.setAttribute("aria-label", name);
  button.addEventListener("click", () => {
    localStorage.setItem(KEPT, other);
    sessionStorage.setItem(KEPT, "chosen");
    location.reload();
  });
  if (!chosen()) return;
  sessionStorage.removeItem(KEPT);
  button.focus(); // where it was before the page was loaded anew
}

for (const element of document.querySelectorAll("*")) fill(element);
for (const button of document.querySelectorAll("[data-other-language]")) offer(button);
