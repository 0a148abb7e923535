// Encodings: baked constants of a variant by layer and head, and facts from the export.

import { curl, get, send } from "./api.js";
import { percent, short } from "./charts.js";
import { field, h, select, table } from "./dom.js";
import { halves, heatMap, isMasked, largest, scale, similarity } from "./heatmaps.js";
import { overlay } from "./overlay.js";
import { behind, curlLine, facts, problemBox, section } from "./parts.js";
import { chosenModel, onChange, state } from "./state.js";
import { T } from "./text.js";

const MOST_MAPS = 32;
const MOST_TOKENS = 600; // largest embedding with pairwise similarities

/** Return the view. */
export function encodingsView() {
  const controls = h("div", { class: "controls" });
  const drawing = h("div", { class: "result" });
  const about = h("div", { class: "result" });
  const kept = new Map(); // values of constants by URL and hash
  let variant = "";
  let version = null; // facts of the variant's newest version
  let name = null;
  let shown = false;

  const chosen = () => variant || chosenModel()?.default_variant;
  const base = () => `v1/models/${state.model}/variants/${chosen()}`;

  async function load() {
    version = null;
    const path = base();
    try {
      const { versions } = await get(path);
      if (path !== base()) return;
      version = versions.at(-1);
    } catch (error) {
      drawing.replaceChildren(problemBox(error, load));
      about.replaceChildren();
      return;
    }
    const lines = version.constants?.lines ?? [];
    if (!lines.some((line) => line.name === name)) name = lines[0]?.name ?? null;
    drawControls();
    const found = version;
    await drawConstant();
    if (version === found) about.replaceChildren(...drawFacts(version), curlLine(curl(path))); // below, to avoid layout shifts
  }

  function drawControls() {
    const names = chosenModel().variants.map((found) => found.variant);
    const lines = version.constants?.lines ?? [];
    const made = [
      field(T.encodings.variant, select(names, chosen(), (value) => { variant = value; load(); })),
      lines.length > 0 && field(T.encodings.constant, select(lines.map((line) => [line.name, T.encodings.line(line)]), name, (value) => { name = value; drawConstant(); })),
    ];
    controls.replaceChildren(...made.filter(Boolean));
  }

  async function drawConstant() {
    const line = version.constants?.lines.find((found) => found.name === name);
    if (!line) {
      drawing.replaceChildren(h("p", { class: "empty" }, version.constants ? T.encodings.nothing : T.encodings.old));
      return;
    }
    const path = `${base()}/baked/${encodeURIComponent(line.name)}?version=${version.version}`;
    drawing.setAttribute("aria-busy", "true");
    try {
      const address = `${path} ${version.created}`;
      if (!kept.has(address)) {
        kept.clear(); // one layer at a time, because large networks' layers take megabytes
        kept.set(address, halves(await (await send(path)).arrayBuffer()));
      }
      if (line.name === name) drawing.replaceChildren(...drawLine(line, kept.get(address), version), curlLine(`${curl(path)} --output ${line.name}.npy`));
    } catch (error) {
      drawing.replaceChildren(problemBox(error, drawConstant));
    }
    drawing.removeAttribute("aria-busy");
  }

  onChange((parts) => {
    if ("model" in parts) {
      variant = "";
      name = null;
    }
    if (shown && "picture" in parts && version) drawConstant();
    if (shown && ("model" in parts || "list" in parts) && chosenModel()) load();
  });

  return {
    element: h("div", { class: "view" }, h("h1", { class: "unseen" }, T.views.encodings), controls, drawing, about),
    show() {
      shown = true;
      if (chosenModel()) load();
    },
    hide() {
      shown = false;
    },
  };
}

/** Return a constant's section: heat maps of its heads, the value at the pointer, and for a bias the overlay. */
function drawLine(line, values, version) {
  const [heads, rows, columns] = line.shape;
  const size = rows * columns;
  const head = (number) => values.subarray(number * size, (number + 1) * size);
  const limit = line.role === "rotation" ? 1 : largest(values);
  const readout = h("p", { class: "readout", role: "status" }, T.encodings.point);
  const count = Math.min(heads, MOST_MAPS);
  const maps = Array.from({ length: count }, (_, number) => {
    const title = heads > 1 ? T.encodings.head(number + 1) : T.encodings.all;
    const matrix = { values: head(number), rows, columns, limit, label: labelOf(title, head(number), rows, columns) };
    const say = (row, column) => (readout.textContent = T.encodings.read(line, title, row, column, short3(matrix.values[row * columns + column]), offsetOf(line, row, column)));
    return h("figure", {}, heatMap(matrix, say), h("figcaption", {}, title));
  });
  const notes = [T.encodings.role[line.role], line.windows > 1 && T.encodings.windows(line.windows), line.readers > 1 && T.encodings.readers(line.readers), count < heads && T.encodings.some(count, heads)];
  const stats = Array.from({ length: heads }, (_, number) => [heads > 1 ? T.encodings.head(number + 1) : T.encodings.all, ...statistics(head(number)).map(short3)]);
  return [
    section(
      T.encodings.title(line),
      h("p", { class: "note" }, notes.filter(Boolean).join(" ")),
      h("div", { class: "maps" }, maps),
      h("div", { class: "under" }, scale(limit), readout),
      behind(table(T.encodings.title(line), T.encodings.statistics, stats)),
    ),
    line.role === "embedding" && rows <= MOST_TOKENS && drawSimilarity(values, rows, columns),
    line.spans && overlay(line, values, version, limit),
  ].filter(Boolean);
}

function drawSimilarity(values, tokens, width) {
  const readout = h("p", { class: "readout", role: "status" }, T.encodings.point);
  const matrix = { values: similarity(values, tokens, width), rows: tokens, columns: tokens, limit: 1 };
  matrix.label = labelOf(T.encodings.similarity, matrix.values, tokens, tokens);
  const say = (row, column) => (readout.textContent = T.encodings.similar(row, column, short3(matrix.values[row * tokens + column])));
  const figure = h("figure", { class: "large" }, heatMap(matrix, say), h("figcaption", {}, T.encodings.tokens));
  return section(T.encodings.similarity, h("div", { class: "maps" }, figure), h("div", { class: "under" }, scale(1), readout));
}

/** Return the (row, column) offset from query to key, or null if either is not on the grid. */
function offsetOf({ grid, shape: [, rows] }, query, key) {
  if (!grid) return null;
  const extra = rows - grid[0] * grid[1];
  if (query < extra || key < extra) return null;
  const place = (token) => [Math.floor((token - extra) / grid[1]), (token - extra) % grid[1]];
  const [[row, column], [otherRow, otherColumn]] = [place(query), place(key)];
  return [otherRow - row, otherColumn - column];
}

const short3 = (value) => (isMasked(value) ? T.encodings.masked : value.toPrecision(3).replace("-", "−"));

function statistics(values) {
  const seen = values.filter((value) => !isMasked(value));
  if (!seen.length) return [-Infinity, -Infinity, -Infinity];
  return [seen.reduce((a, b) => Math.min(a, b)), seen.reduce((a, b) => a + b, 0) / seen.length, seen.reduce((a, b) => Math.max(a, b))];
}

function labelOf(title, values, rows, columns) {
  const [least, , most] = statistics(values).map(short3);
  return T.encodings.label(title, rows, columns, least, most);
}

function drawFacts({ architecture, encoding, precision, running_precision: running, backend, parity, golden, accuracy, bytes, graph, baked, constants, created, source }) {
  const limit = golden.status === "passed" ? T.encodings.golden(golden.error, golden.limit, golden.images) : T.encodings.unchecked;
  const operators = Object.entries(graph.operators ?? {}).map(([operator, [before, after]]) => [operator, before, after]);
  const total = (place) => operators.reduce((sum, row) => sum + row[place], 0);
  return [
    section(
      T.encodings.facts,
      facts([
        [T.fact.encoding, encoding],
        [T.encodings.architecture, architecture],
        [T.fact.precision, T.precision(precision, running)],
        [T.fact.backend, backend],
        [T.encodings.accuracy, accuracy && T.encodings.measured(accuracy, interval(accuracy))],
        [T.encodings.parity, T.encodings.error(parity.max_rel_error, parity.reference)],
        [T.encodings.goldenName, limit],
        [T.encodings.size, `${short(bytes / 1e6)} MB`],
        [T.encodings.graph, T.encodings.nodes(graph.nodes, graph.constant_only_nodes)],
        [T.encodings.operators, operators.length > 0 && T.encodings.before(total(1), total(2))],
        [T.encodings.weights, T.encodings.source(source)],
        [T.encodings.created, created.slice(0, 10)],
      ]),
      constants?.omitted > 0 && h("p", { class: "note" }, T.encodings.omitted(constants.omitted)),
    ),
    baked.length > 0 &&
      section(
        T.encodings.baked,
        h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": T.encodings.baked }, table(T.encodings.baked, T.encodings.bakedHeads, baked.map(({ module, kind, what, shape, bytes: size }) => [module, kind, shape.join(" × "), short(size / 1000), what]), { class: "facts-table" })),
      ),
    operators.length > 0 &&
      h("details", {}, h("summary", {}, T.encodings.operatorsTable), table(T.encodings.operatorsTable, T.encodings.operatorHeads, operators)),
  ].filter(Boolean);
}

/** Return the 95 % interval of an accuracy (Wilson). */
function interval({ top1, count }) {
  const z = 1.96;
  const middle = (top1 + z ** 2 / (2 * count)) / (1 + z ** 2 / count);
  const half = (z / (1 + z ** 2 / count)) * Math.sqrt((top1 * (1 - top1)) / count + z ** 2 / (4 * count ** 2));
  return [percent(middle - half), percent(middle + half)];
}
