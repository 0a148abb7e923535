// Compare: one picture by several variants, with agreement and stage times.

import { answerView } from "./answer.js";
import { address } from "./api.js";
import { bar, percent, short, STAGES, stageBar } from "./charts.js";
import { button, h, table } from "./dom.js";
import { behind, sortable, sorted } from "./parts.js";
import { chosenModel, onChange, state } from "./state.js";
import { T } from "./text.js";

const PATH = "v1/compare";

/** Return the view. */
export function compareView() {
  const order = { name: "total", descending: false };
  const chosen = new Set();
  const picker = h("fieldset", { class: "picker" });
  const fold = h("details", { class: "fold" }, h("summary", {}, T.compare.choose), picker);

  function drawPicker() {
    const model = chosenModel();
    if (!model) return;
    const names = model.variants.map(({ variant }) => variant);
    for (const name of [...chosen]) if (!names.includes(name)) chosen.delete(name);
    if (!chosen.size) names.forEach((name) => chosen.add(name));
    const boxes = names.map((name) => {
      const toggle = (event) => {
        if (event.target.checked) chosen.add(name);
        else chosen.delete(name);
        view.refresh();
      };
      return h("label", {}, h("input", { type: "checkbox", checked: chosen.has(name), onchange: toggle }), name);
    });
    const setAll = (names) => {
      chosen.clear();
      names.forEach((name) => chosen.add(name));
      drawPicker();
      view.refresh();
    };
    picker.replaceChildren(
      h("legend", { class: "unseen" }, T.compare.choose),
      h("div", { class: "row" }, button(T.compare.all, () => setAll(names), { class: "quiet" }), button(T.compare.first, () => setAll(names.slice(0, 1)), { class: "quiet" })),
      h("div", { class: "boxes" }, boxes),
    );
  }

  function request() {
    if (!chosen.size) return { missing: T.compare.noneChosen };
    const all = chosenModel()?.variants.length === chosen.size;
    return address(PATH, { model: state.model, variants: all ? null : [...chosen].sort().join(","), top_k: 3 });
  }

  function sortBy(name) {
    order.descending = order.name === name ? !order.descending : name !== "variant" && name !== "total";
    order.name = name;
    view.redraw();
    view.element.querySelector(`[data-sort="${name}"]`).focus();
  }

  onChange((parts) => {
    if ("model" in parts || "list" in parts) drawPicker();
  });
  const text = { ...T.compare, done: T.compare.agreement };
  const draw = (answer) => drawAnswer(answer, order, sortBy);
  const view = answerView({ title: T.views.compare, controls: fold, text, request, draw });
  return view;
}

const KEYS = {
  variant: ({ variant }) => variant,
  probability: ({ predictions: [best] }) => best?.probability ?? best?.value ?? null,
  total: ({ latency_ms: times }) => times.total,
  accuracy: ({ accuracy }) => accuracy,
};

function drawAnswer(answer, order, sortBy) {
  const accuracies = new Map(chosenModel().variants.map(({ variant, accuracy }) => [variant, accuracy?.top1 ?? null]));
  const rows = sorted(
    answer.variants.map((row) => ({ ...row, accuracy: accuracies.get(row.variant) ?? null })),
    KEYS[order.name],
    order.descending,
  );
  const scale = Math.max(...rows.map(({ latency_ms: times }) => times.total));
  const majority = majorityOf(answer);
  const heads = [
    sortable(T.compare.variant, "variant", order, sortBy),
    h("th", { scope: "col" }, T.compare.class),
    sortable(T.compare.probability, "probability", order, sortBy),
    h("th", { scope: "col" }, T.compare.stages),
    sortable(T.compare.total, "total", order, sortBy, { class: "end" }),
    sortable(T.compare.accuracy, "accuracy", order, sortBy, { class: "end" }),
  ];
  return [
    h("p", { class: "agreement" }, T.compare.agreement(answer)),
    table(T.compare.caption, heads, rows.map((row) => cells(row, scale, majority)), { class: "compared" }),
    stageKey(),
    h("p", { class: "note" }, T.compare.note),
    answer.failed.length > 0 && h("ul", { class: "failed", "aria-label": T.compare.failed }, answer.failed.map(failedRow)),
    behind(table(T.compare.stages, [T.compare.variant, ...STAGES.map((stage) => T.stage[stage]), T.stage.total], rows.map(({ variant, latency_ms: times }) => [variant, ...[...STAGES, "total"].map((stage) => short(times[stage]))]))),
  ].filter(Boolean);
}

/** Return the variants of the majority; null if there is none. */
function majorityOf({ agreement }) {
  const [first, second] = agreement.votes ?? [];
  return first && first.variants.length > (second?.variants.length ?? 0) ? new Set(first.variants) : null;
}

function cells({ variant, predictions, latency_ms: times, accuracy }, scale, majority) {
  const [best] = predictions;
  const differs = majority !== null && !majority.has(variant);
  const sign = differs && h("span", { class: "differs" }, "≠ ", h("span", { class: "unseen" }, T.compare.differs));
  const share = best?.probability;
  return [
    variant,
    h("span", { class: "class" }, sign, best ? best.label : T.compare.none),
    share === undefined
      ? h("span", { class: "number" }, best ? short(best.value) : "–")
      : h("span", { class: "share" }, bar(share), h("span", { class: "number" }, percent(share))),
    stageBar(times, scale),
    h("span", { class: "number", "data-name": T.compare.total }, short(times.total)),
    h("span", { class: "number", "data-name": T.compare.accuracy }, accuracy === null ? "–" : percent(accuracy)),
  ];
}

function stageKey() {
  return h("ul", { class: "key", "aria-hidden": "true" }, STAGES.map((stage) => h("li", {}, h("i", { class: `swatch ${stage}` }), T.stage[stage])));
}

function failedRow({ variant, title, status, detail, retry_after: wait }) {
  return h("li", {}, h("strong", {}, variant), ` ${title} (${status}): ${detail} `, wait === null ? null : T.wait(wait));
}
