// Parts of several views: errors, curl command, facts, sortable columns.

import { button, h, newId } from "./dom.js";
import { T } from "./text.js";

/** Return an API error's message and advice; `again` repeats the request. */
export function problemBox(problem, again = null) {
  const advice = T.advice[problem.name] ?? T.advice[problem.status] ?? null;
  const wait = problem.retryAfter === null || problem.retryAfter === undefined ? null : T.wait(problem.retryAfter);
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", { class: "title" }, problem.status ? `${problem.title} (${problem.status})` : problem.title),
    h("p", {}, problem.message),
    (advice || wait) && h("p", { class: "advice" }, [advice, wait].filter(Boolean).join(" ")),
    again && button(T.again, again),
  );
}

/** Return the curl command of the same request, with a copy button. */
export function curlLine(line) {
  const said = h("span", { role: "status", class: "said" });
  const code = h("code", {}, line);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(line);
      said.textContent = T.copied;
    } catch {
      // Without https there is no clipboard API: the command is selected for manual copying.
      getSelection().selectAllChildren(code);
      said.textContent = T.copyByHand;
    }
  };
  return h(
    "div",
    { class: "curl" },
    h("pre", { tabindex: "0", "aria-label": T.curlLabel }, code),
    button(T.copy, copy, { class: "quiet" }),
    said,
  );
}

/** Return facts as pairs of term and value; pairs without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

/** Return a collapsed table of numbers. */
export function behind(content) {
  return h("details", { class: "behind" }, h("summary", {}, T.numbers), h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": T.numbers }, content));
}

/** Return the head of a column that sorts by it. */
export function sortable(label, name, order, onsort, properties = {}) {
  const active = order.name === name;
  const direction = active ? (order.descending ? "descending" : "ascending") : null;
  const sign = active ? (order.descending ? " ↓" : " ↑") : "";
  return h(
    "th",
    { scope: "col", "aria-sort": direction, ...properties },
    button([label, h("span", { "aria-hidden": "true" }, sign)], () => onsort(name), { class: "sort", "data-sort": name }),
  );
}

/** Return rows sorted by one of their values; rows without it come last. */
export function sorted(rows, value, descending) {
  const sign = descending ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  });
}

/** Return a section with a heading that labels it. */
export function section(title, ...children) {
  const id = newId();
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), children);
}
