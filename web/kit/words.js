// Numbers, times and money as people write them.

import { LANGUAGE, LOCALE, text } from "./texts.js";

/** `unexpected_answer` is for programs, `unexpected answer` for people. */
export const words = (code) => code.replaceAll(/[_-]/g, " ");

/** A title in the middle of a sentence. */
export const lower = (title) => title.charAt(0).toLowerCase() + title.slice(1);

export const count = (number) => number.toLocaleString(LOCALE);

export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

// ---- money ---------------------------------------------------------------------------------------------------------

/** Decimals by ISO 4217 where they are not two: what browsers know of that differs for 16 currencies. */
const DECIMALS = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};

// In Ukrainian `symbol` is `EUR` where people write €.
const SYMBOL = LANGUAGE === "uk" ? "narrowSymbol" : "symbol";

/** From minor units; `currencyDisplay` as `Intl` has it. */
export function money(amount, currency, currencyDisplay = SYMBOL) {
  const [decimals = 2] = Object.keys(DECIMALS).filter((each) => DECIMALS[each].includes(currency));
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return new Intl.NumberFormat(LOCALE, { style: "currency", currency, currencyDisplay, ...digits }).format(
    amount / 10 ** decimals,
  );
}

/** A sentence of the API, which writes `EUR 41.50`, with its amounts as people write them. */
export const withAmounts = (text) =>
  text.replaceAll(/\b([A-Z]{3}) (\d+)(?:\.(\d+))?/g, (_, currency, whole, parts = "") =>
    money(Number(whole + parts), currency),
  );

// ---- times ---------------------------------------------------------------------------------------------------------

const written = (options) => {
  const format = new Intl.DateTimeFormat(LOCALE, options);
  return (moment) => format.format(new Date(moment));
};

/** 09:44 */
export const hour = written({ hour: "2-digit", minute: "2-digit" });
/** 09:44:07 */
export const clock = written({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MONTH = LANGUAGE === "uk" ? "long" : "short"; // "лист." is for tables
/** 25 Nov 2026, 09:44 */
export const date = written({ day: "numeric", month: MONTH, year: "numeric", hour: "2-digit", minute: "2-digit" });

export const seconds = (from, to) => (new Date(to) - new Date(from)) / 1000;

/** 12 s, 4 m 05 s, 3 h 20 m, 2 d 4 h */
export function duration(length) {
  const s = Math.max(0, length);
  const [seconds, minutes, hours, days] = [s % 60, (s / 60) % 60, (s / 3600) % 24, s / 86400].map(Math.floor);
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return text("time.seconds", { seconds });
  if (s < 3600) return text("time.minutes", { minutes, seconds: two(seconds) });
  if (s < 86400) return text("time.hours", { hours, minutes: two(minutes) });
  return text("time.days", { days, hours });
}

/** As precisely as it matters: 8 ms, 0.42 s, 3.1 s, then as `duration`. */
export function took(length) {
  if (length < 0.0995) return text("time.milliseconds", { milliseconds: Math.round(length * 1000) });
  if (length >= 59.95) return duration(length);
  return text("time.seconds", { seconds: decimals(length, length < 0.995 ? 2 : 1) });
}

const decimals = (value, digits) =>
  value.toLocaleString(LOCALE, { minimumFractionDigits: digits, maximumFractionDigits: digits });
