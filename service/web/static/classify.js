// Classify: classes of one picture by one variant, with stage times.

import { answerView } from "./answer.js";
import { address } from "./api.js";
import { bar, percent, short, stageBar, stageLegend } from "./charts.js";
import { field, h, select, table } from "./dom.js";
import { facts, section } from "./parts.js";
import { chosenModel, onChange, state } from "./state.js";
import { T } from "./text.js";

const PATH = "v1/classify";

/** Return the view. */
export function classifyView() {
  const options = { variant: "", top_k: "5", timeout_ms: "", threshold: "" };
  const controls = h("div", { class: "controls" });
  const request = () => address(PATH, { model: state.model, ...options });

  function drawControls() {
    const model = chosenModel();
    if (!model) return;
    const names = model.variants.map(({ variant, accuracy }) => [variant, accuracy ? `${variant} · ${percent(accuracy.top1)}` : variant]);
    if (!model.variants.some(({ variant }) => variant === options.variant) && options.variant !== "auto") options.variant = "";
    const number = (name, properties) =>
      h("input", { type: "number", inputmode: "decimal", value: options[name], oninput: (event) => (options[name] = event.target.value), onchange: () => view.settle(), onkeydown: (event) => event.key === "Enter" && view.settle(), ...properties });
    const made = [
      field(
        T.classify.variant,
        select([["", T.classify.best(model.default_variant)], ["auto", T.classify.auto], ...names], options.variant, choose),
      ),
      field(T.classify.topK, number("top_k", { min: 1, step: 1, required: true })),
      field(T.classify.deadline, number("timeout_ms", { min: 1, step: 1, placeholder: T.classify.noDeadline })),
      model.task === "multi-label" && field(T.classify.threshold, number("threshold", { min: 0, max: 1, step: 0.05, placeholder: "0.5" })),
    ];
    controls.replaceChildren(...made.filter(Boolean));
  }

  function choose(variant) {
    options.variant = variant;
    view.refresh();
  }

  onChange((parts) => {
    if ("model" in parts || "list" in parts) drawControls();
  });
  const view = answerView({ title: T.views.classify, controls, text: T.classify, request, draw: drawAnswer });
  return view;
}

function drawAnswer(answer) {
  const [best] = answer.predictions;
  const isValue = answer.task === "regression";
  return [
    h(
      "div",
      { class: "verdict" },
      best && !isValue ? [h("strong", { class: "best" }, best.label), h("span", {}, percent(best.probability))] : null,
      best ? null : h("p", {}, T.classify.none),
      h("p", { class: "by" }, T.classify.by(answer.variant, answer.version)),
    ),
    isValue ? valueTable(answer.predictions) : h("ol", { class: "classes", "aria-label": T.classify.classes }, answer.predictions.map(classRow)),
    section(T.classify.time, stageBar(answer.latency_ms), stageLegend(answer.latency_ms)),
    answer.selection && section(T.classify.selection, h("p", {}, answer.selection.reason), selectionTable(answer.selection)),
    section(
      T.classify.facts,
      facts([
        [T.fact.encoding, answer.encoding],
        [T.fact.backend, answer.backend],
        [T.fact.precision, T.precision(answer.precision, answer.running_precision)],
        [T.fact.batch, answer.batch_size],
        [T.fact.version, answer.version],
        [T.fact.id, h("code", {}, answer.id)],
      ]),
    ),
  ].filter(Boolean);
}

function classRow({ label, probability }) {
  return h("li", {}, h("span", { class: "name" }, label), bar(probability), h("span", { class: "number" }, percent(probability)));
}

function valueTable(values) {
  return table(T.classify.values, [T.classify.output, T.classify.value], values.map(({ label, value }) => [label, short(value)]));
}

function selectionTable({ considered }) {
  const rows = considered.map(({ variant, top1, p95_ms: p95, basis, verdict }) => [
    variant,
    top1 === null ? "–" : percent(top1),
    `${short(p95)} ms`,
    T.basis[basis],
    T.verdict[verdict],
  ]);
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": T.classify.selection }, table(T.classify.selection, T.classify.selectionHeads, rows));
}
