// Latency: /v1/latency over the last ten minutes, polled every 2 s while the view is visible.

import { curl, get } from "./api.js";
import { lines, short, sparkline, STAGES } from "./charts.js";
import { button, field, h, select, table } from "./dom.js";
import { behind, curlLine, problemBox, section, sortable, sorted } from "./parts.js";
import { chosenModel, onChange, state } from "./state.js";
import { T } from "./text.js";

const PATH = "v1/latency";
const EVERY_MS = 2000;
const MINUTES = 10;
const PERCENTILES = [
  ["p50", null],
  ["p95", "6 3"],
  ["p99", "2 3"],
];

/** Return the view. */
export function latencyView() {
  const history = new Map(); // results of polls by variant and version
  const order = { name: "rate", descending: true };
  const element = h("div", { class: "view latency" }, h("h1", { class: "unseen" }, T.views.latency));
  const controls = h("div", { class: "controls" });
  const charts = h("div", { class: "charts" });
  const overview = h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": T.latency.all });
  const trouble = h("div", {});
  const line = h("div", {});
  let stage = "total";
  let variant = null;
  let timer = null;
  let shown = false;

  const all = section(T.latency.all, overview);
  all.hidden = true; // shown together with the chart above it
  element.append(controls, trouble, charts, all, line);

  async function poll() {
    clearTimeout(timer);
    if (!shown || document.hidden || !state.model) return;
    try {
      const report = await get(`${PATH}?model=${encodeURIComponent(state.model)}`);
      remember(report.versions);
      trouble.replaceChildren();
    } catch (error) {
      // The element is kept while the message is the same, so that screen readers announce it once.
      if (trouble.textContent.indexOf(error.message) === -1) trouble.replaceChildren(problemBox(error));
    }
    draw();
    clearTimeout(timer);
    timer = setTimeout(poll, EVERY_MS);
  }

  function remember(versions) {
    const now = performance.now() / 1000;
    for (const found of versions) {
      const name = `${found.variant}/${found.version}`;
      const kept = history.get(name) ?? [];
      const last = kept.at(-1);
      const goesOn = last !== undefined && found.count >= last.count;
      const gap = last !== undefined && now - last.at > (3 * EVERY_MS) / 1000;
      if (gap) kept.push({ at: (last.at + now) / 2, count: found.count, recent: null, rate: null, queued: null, rejected: found.rejected });
      kept.push({
        at: now,
        count: found.count,
        recent: found.recent.stages,
        rate: goesOn && !gap ? (found.count - last.count) / (now - last.at) : null,
        queued: found.queued,
        rejected: found.rejected,
      });
      history.set(name, kept.filter(({ at }) => now - at <= 60 * MINUTES));
    }
    const names = versions.map((found) => `${found.variant}/${found.version}`);
    for (const name of [...history.keys()]) if (!names.includes(name)) history.delete(name);
    if (!history.has(variant)) variant = busiest(versions) ?? names[0] ?? null;
  }

  function draw() {
    const names = [...history.keys()];
    if (!names.length) return;
    controls.replaceChildren(
      field(T.latency.variant, select(names.map((name) => [name, T.latency.name(name)]), variant, (value) => choose(value))),
      field(T.latency.stage, select([...STAGES, "total"].map((name) => [name, T.stage[name]]), stage, (value) => { stage = value; draw(); })),
    );
    const width = Math.max(320, Math.min(760, Math.round(charts.clientWidth / (charts.clientWidth > 760 ? 2 : 1)) - 24));
    charts.replaceChildren(percentileChart(width), rateChart(width));
    overview.replaceChildren(overviewTable(names));
    all.hidden = false;
    line.replaceChildren(curlLine(curl(`${PATH}?model=${encodeURIComponent(state.model)}`)));
  }

  function choose(name) {
    variant = name;
    draw();
  }

  function since(kept, value) {
    const now = performance.now() / 1000;
    return kept.map((point) => [now - point.at, value(point) ?? null]);
  }

  function percentileChart(width) {
    const kept = history.get(variant);
    const series = PERCENTILES.map(([name, dash]) => ({ name, dash, points: since(kept, ({ recent }) => recent?.[stage]?.[name]) }));
    const label = T.latency.percentiles(T.latency.name(variant), T.stage[stage]);
    const latest = kept.at(-1).recent?.[stage];
    const rows = [...kept].reverse().filter(({ recent }) => recent?.[stage]).slice(0, 60);
    return section(
      label,
      latest ? h("p", { class: "figures" }, PERCENTILES.map(([name]) => h("span", {}, `${name} `, h("strong", {}, short(latest[name])), " ms"))) : h("p", { class: "figures" }, T.latency.quiet),
      lines(series, { label, unit: " ms", minutes: MINUTES, width, height: 240 }),
      behind(table(label, [T.latency.ago, ...PERCENTILES.map(([name]) => `${name}, ms`)], rows.map((point) => [T.seconds(performance.now() / 1000 - point.at), ...PERCENTILES.map(([name]) => short(point.recent[stage][name]))]))),
    );
  }

  function rateChart(width) {
    const kept = history.get(variant);
    const series = [
      { name: T.latency.rateShort, dash: null, points: since(kept, ({ rate }) => rate) },
      { name: T.latency.queueShort, dash: "2 3", points: since(kept, ({ queued }) => queued) },
    ];
    const label = T.latency.load(T.latency.name(variant));
    const last = kept.at(-1);
    return section(
      label,
      h("p", { class: "figures" }, h("span", {}, h("strong", {}, last.rate === null ? "–" : short(last.rate)), ` ${T.latency.rate}`), h("span", {}, h("strong", {}, String(last.queued ?? "–")), ` ${T.latency.queue}`), h("span", {}, h("strong", {}, String(last.rejected ?? "–")), ` ${T.latency.rejected}`)),
      lines(series, { label, unit: "", minutes: MINUTES, width, height: 240 }),
      behind(table(label, [T.latency.ago, T.latency.rate, T.latency.queue, T.latency.rejected], [...kept].reverse().slice(0, 60).map((point) => [T.seconds(performance.now() / 1000 - point.at), point.rate === null ? "–" : short(point.rate), point.queued ?? "–", point.rejected]))),
    );
  }

  function overviewTable(names) {
    const rows = names.map((name) => {
      const kept = history.get(name);
      const last = kept.at(-1);
      const now = last.recent?.[stage];
      return { name, kept, rate: last.rate, queued: last.queued, rejected: last.rejected, p50: now?.p50 ?? null, p95: now?.p95 ?? null, p99: now?.p99 ?? null };
    });
    const columns = ["p50", "p95", "p99", "rate", "queued", "rejected"];
    const sort = (name) => {
      order.descending = order.name === name ? !order.descending : name !== "name";
      order.name = name;
      draw();
      overview.querySelector(`[data-sort="${name}"]`).focus();
    };
    const heads = [
      sortable(T.latency.variant, "name", order, sort),
      h("th", { scope: "col" }, T.latency.trend),
      ...columns.map((name) => sortable(T.latency.column[name], name, order, sort, { class: "end" })),
    ];
    const number = (value) => h("span", { class: "number" }, value === null ? "–" : Number.isInteger(value) ? String(value) : short(value));
    return table(
      T.latency.all,
      heads,
      sorted(rows, (row) => row[order.name], order.descending).map((row) => [
        button(T.latency.name(row.name), () => choose(row.name), { class: "pick", "aria-pressed": String(row.name === variant) }),
        sparkline(since(row.kept, ({ recent }) => recent?.[stage]?.p95), MINUTES),
        ...columns.map((name) => number(row[name])),
      ]),
      { class: "overview" },
    );
  }

  document.addEventListener("visibilitychange", poll);
  onChange((parts) => {
    if (!("model" in parts)) return;
    history.clear();
    variant = null;
    if (chosenModel()) poll();
  });

  return {
    element,
    whole: true,
    show() {
      shown = true;
      poll();
    },
    hide() {
      shown = false;
      clearTimeout(timer);
    },
  };
}

/** Return the version with the most responses in the last minute, or null if there are none. */
function busiest(versions) {
  const [first] = [...versions].sort((one, other) => other.recent.count - one.recent.count);
  return first?.recent.count ? `${first.variant}/${first.version}` : null;
}
