// Charts in SVG, with a text alternative; the caller adds a table of the same numbers.

import { h, s } from "./dom.js";
import { T } from "./text.js";

/** Stages of a request, in order. */
export const STAGES = ["decode", "preprocess", "queue", "inference", "postprocess"];

/** Return a number with three significant digits, without exponent. */
export function short(value) {
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size === 0) return "0";
  return value.toFixed(2);
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Return a bar for a share between 0 and 1. Decoration: the number is shown beside it. */
export function bar(share) {
  return s(
    "svg",
    { class: "bar", "aria-hidden": "true", focusable: "false" },
    s("rect", { class: "track", width: "100%", height: "100%", rx: 3 }),
    s("rect", { class: "filled", width: `${Math.max(0.4, 100 * share)}%`, height: "100%", rx: 3 }),
  );
}

/** Return the stages of a request as one stacked bar; `scale` is the ms of the full width. */
export function stageBar(times, scale = times.total) {
  let start = 0;
  const parts = STAGES.map((stage) => {
    const [x, width] = [(100 * start) / scale, (100 * times[stage]) / scale];
    start += times[stage];
    const label = `${T.stage[stage]} ${short(times[stage])} ms`;
    return s("rect", { class: `stage ${stage}`, x: `${x}%`, width: `${width}%`, height: "100%" }, s("title", {}, label));
  });
  const text = STAGES.map((stage) => `${T.stage[stage]} ${short(times[stage])} ms`).join(", ");
  return s("svg", { class: "stages", role: "img", "aria-label": text }, parts);
}

/** Return the legend of a stage bar, with numbers. */
export function stageLegend(times) {
  const items = STAGES.map((stage) =>
    h("div", {}, h("dt", {}, h("i", { class: `swatch ${stage}`, "aria-hidden": "true" }), T.stage[stage]), h("dd", {}, short(times[stage]))),
  );
  return h("dl", { class: "legend" }, items, h("div", { class: "sum" }, h("dt", {}, T.stage.total), h("dd", {}, `${short(times.total)} ms`)));
}

/** Return round steps from 0 to at least `largest`, about `count` of them. */
export function ticks(largest, count = 4) {
  const raw = (largest || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  return Array.from({ length: Math.ceil((largest || 1) / step) + 1 }, (_, number) => number * step);
}

const LEFT = 56;
const RIGHT = 62;
const TOP = 10;
const BOTTOM = 26;

/**
 * Return lines over the last minutes.
 *
 * @param series  [{name, dash, points: [[seconds ago, value or null]]}]; null is a gap
 * @param options {label, unit, minutes, width, height}
 */
export function lines(series, { label, unit, minutes, width, height }) {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value).filter((value) => value !== null));
  const marks = ticks(Math.max(0, ...values));
  const top = marks[marks.length - 1];
  const x = (ago) => LEFT + (width - LEFT - RIGHT) * (1 - ago / (60 * minutes));
  const y = (value) => height - BOTTOM - (height - TOP - BOTTOM) * (value / top);
  const grid = marks.map((mark) => [
    s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }),
    s("text", { class: "tick", x: LEFT - 8, y: y(mark) + 4, "text-anchor": "end" }, `${Number(mark.toPrecision(3))}${mark === top ? unit : ""}`),
  ]);
  const times = Array.from({ length: 3 }, (_, number) => (number * minutes) / 2).map((ago) =>
    s("text", { class: "tick", x: x(60 * ago), y: height - 6, "text-anchor": "middle" }, ago ? T.ago(ago) : T.now),
  );
  const drawn = series.map(({ dash, points }) =>
    s("path", { class: "line", d: pathOf(points, x, y), "stroke-dasharray": dash ?? null }),
  );
  return s(
    "svg",
    { class: "lines", role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}` },
    grid,
    times,
    drawn,
    endLabels(series, width - RIGHT + 8, y),
  );
}

function pathOf(points, x, y) {
  let drawing = false;
  const steps = points.map(([ago, value]) => {
    if (value === null) {
      drawing = false;
      return "";
    }
    const place = `${x(ago).toFixed(1)} ${y(value).toFixed(1)}`;
    const step = drawing ? `L${place}` : `M${place}h.01`; // a single point is a dot
    drawing = true;
    return step;
  });
  return steps.join("");
}

/** Return the names of lines at their ends, moved apart if they would overlap. */
function endLabels(series, left, y) {
  const ends = series
    .map(({ name, points }) => ({ name, last: points.findLast(([, value]) => value !== null) }))
    .filter(({ last }) => last)
    .map(({ name, last }) => ({ name, at: y(last[1]) + 4 }))
    .sort((one, other) => other.at - one.at);
  let below = Infinity;
  return ends.map(({ name, at }) => {
    below = Math.min(at, below - 13);
    return s("text", { class: "end", x: left, y: below }, name);
  });
}

/** Return a sparkline. Decoration: the numbers are shown beside it. */
export function sparkline(points, minutes) {
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  const top = Math.max(...values, 1e-9);
  const x = (ago) => 100 * (1 - ago / (60 * minutes));
  const path = s("path", { class: "line", d: pathOf(points, x, (value) => 22 - 20 * (value / top)), "vector-effect": "non-scaling-stroke" });
  return s("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, path);
}
