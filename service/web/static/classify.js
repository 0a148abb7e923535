// Classify: one picture by one variant, its classes and its milliseconds.

import { address, curl, post } from "./api.js";
import { bar, percent, short, stageBar, stageLegend } from "./charts.js";
import { field, h, select, table } from "./dom.js";
import { curlLine, facts, problemBox, section } from "./parts.js";
import { chosenModel, onChange, state } from "./state.js";
import { T } from "./text.js";

const PATH = "v1/classify";

/** Return the view. */
export function classifyView() {
  const options = { variant: "", top_k: "5", timeout_ms: "", threshold: "" };
  const controls = h("div", { class: "controls" });
  const result = h("div", { class: "result" });
  const said = h("p", { class: "unseen", role: "status" });
  let running = null;
  let shown = false;
  let outdated = true;
  let asked = null; // the address of the last request

  function drawControls() {
    const model = chosenModel();
    if (!model) return;
    const names = model.variants.map(({ variant, accuracy }) => [variant, accuracy ? `${variant} · ${percent(accuracy.top1)}` : variant]);
    if (!model.variants.some(({ variant }) => variant === options.variant) && options.variant !== "auto") options.variant = "";
    const number = (name, properties) =>
      h("input", { type: "number", inputmode: "decimal", value: options[name], oninput: (event) => (options[name] = event.target.value), onchange: settle, onkeydown: (event) => event.key === "Enter" && settle(), ...properties });
    const made = [
      field(
        T.classify.variant,
        select([["", T.classify.best(model.default_variant)], ["auto", T.classify.auto], ...names], options.variant, (value) => set("variant", value)),
      ),
      field(T.classify.topK, number("top_k", { min: 1, step: 1, required: true })),
      field(T.classify.deadline, number("timeout_ms", { min: 1, step: 1, placeholder: T.classify.noDeadline })),
      model.task === "multi-label" && field(T.classify.threshold, number("threshold", { min: 0, max: 1, step: 0.05, placeholder: "0.5" })),
    ];
    controls.replaceChildren(...made.filter(Boolean));
  }

  function set(name, value) {
    options[name] = value;
    refresh();
  }

  function settle() {
    if (request() !== asked) refresh();
  }

  const request = () => address(PATH, { model: state.model, ...options });

  function refresh() {
    outdated = true;
    if (shown) run();
  }

  async function run() {
    if (!state.picture || !state.model) return;
    outdated = false;
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    const path = request();
    asked = path;
    said.textContent = T.classify.running;
    result.setAttribute("aria-busy", "true");
    try {
      const answer = await post(path, state.picture, signal);
      result.replaceChildren(...drawAnswer(answer, path));
      said.textContent = T.classify.done(answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      result.replaceChildren(problemBox(error, run), curlLine(curl(path, state.picture)));
      said.textContent = "";
    }
    result.removeAttribute("aria-busy");
  }

  onChange((parts) => {
    if ("model" in parts || "list" in parts) drawControls();
    if ("picture" in parts || "model" in parts) refresh();
  });
  result.append(h("p", { class: "empty" }, T.classify.empty));

  return {
    element: h("div", { class: "view" }, h("h1", { class: "unseen" }, T.views.classify), controls, said, result),
    show() {
      shown = true;
      if (outdated) run();
    },
    hide() {
      shown = false;
    },
  };
}

function drawAnswer(answer, path) {
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
    curlLine(curl(path, state.picture)),
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
