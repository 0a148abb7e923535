// Bias of one query token, drawn over the picture as the network gets it.

import { h, select, field, table } from "./dom.js";
import { colour, isMasked, seenPart, step } from "./heatmaps.js";
import { behind, section } from "./parts.js";
import { state } from "./state.js";
import { T } from "./text.js";

const SIDE = 480; // pixels of the longer side
const OPACITY = 0.72;

/**
 * Return the section. The query token is chosen with the pointer or the arrow keys.
 *
 * @param line    entry of the constant: a bias with a grid, and the windows of an image
 * @param values  [heads, N, N]
 * @param version facts: input and preprocessing
 * @param limit   magnitude of the full colour
 */
export function overlay(line, values, version, limit) {
  const [heads, tokens] = line.shape;
  const [[height, width], [down, right]] = [line.grid, line.spans];
  const [rows, columns] = [height * down, width * right];
  const extra = tokens - height * width;
  const { input, preprocess } = version;
  const factor = SIDE / Math.max(input.height, input.width);
  const canvas = h("canvas", { class: "overlay", width: Math.round(input.width * factor), height: Math.round(input.height * factor), tabindex: "0", role: "img" });
  const readout = h("p", { class: "readout", role: "status" });
  const numbers = h("div", {});
  const picture = state.picture && h("img", { src: state.picture.url, alt: "" });
  let head = 0;
  let [row, column] = [Math.floor(rows / 2), Math.floor(columns / 2)];

  /** Return the bias between the query and the token at a position of the image; null outside the query's window. */
  function biasAt(otherRow, otherColumn) {
    if (Math.floor(otherRow / height) !== Math.floor(row / height) || Math.floor(otherColumn / width) !== Math.floor(column / width)) return null;
    const token = (line_, place) => extra + (line_ % height) * width + (place % width);
    return values[(head * tokens + token(row, column)) * tokens + token(otherRow, otherColumn)];
  }

  function draw() {
    const context = canvas.getContext("2d");
    const [cellHeight, cellWidth] = [canvas.height / rows, canvas.width / columns];
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = !picture || picture.naturalWidth > 100;
    if (picture?.naturalWidth) {
      const part = seenPart(picture.naturalWidth, picture.naturalHeight, preprocess);
      context.drawImage(picture, part.x, part.y, part.width, part.height, 0, 0, canvas.width, canvas.height);
    }
    const seen = [];
    for (let other = 0; other < rows * columns; other += 1) {
      const [otherRow, otherColumn] = [Math.floor(other / columns), other % columns];
      const value = biasAt(otherRow, otherColumn);
      if (value === null) continue;
      seen.push([otherRow, otherColumn, value]);
      context.globalAlpha = OPACITY;
      context.fillStyle = `rgb(${colour(value, limit).join(" ")})`;
      context.fillRect(otherColumn * cellWidth, otherRow * cellHeight, Math.ceil(cellWidth), Math.ceil(cellHeight));
    }
    context.globalAlpha = 1;
    for (const [stroke, thickness] of [["#ffffff", 5], ["#000000", 2]]) {
      context.strokeStyle = stroke;
      context.lineWidth = thickness;
      context.strokeRect(column * cellWidth + 2, row * cellHeight + 2, cellWidth - 4, cellHeight - 4);
    }
    say(seen);
  }

  function say(seen) {
    const open = seen.filter(([, , value]) => !isMasked(value));
    const most = open.reduce((one, other) => (other[2] > one[2] ? other : one));
    const text = T.encodings.query(head + 1, row, column, most[0] - row, most[1] - column, most[2].toPrecision(3).replace("-", "−"));
    readout.textContent = text;
    canvas.setAttribute("aria-label", text);
    const lines = [...new Set(seen.map(([line_]) => line_))];
    const places = [...new Set(seen.map(([, place]) => place))];
    const cell = (value) => (isMasked(value) ? T.encodings.masked : value.toFixed(2).replace("-", "−"));
    numbers.replaceChildren(behind(table(text, [T.encodings.rowColumn, ...places.map(String)], lines.map((line_) => [String(line_), ...seen.filter(([found]) => found === line_).map(([, , value]) => cell(value))]))));
  }

  function place(newRow, newColumn) {
    const next = [Math.max(0, Math.min(rows - 1, newRow)), Math.max(0, Math.min(columns - 1, newColumn))];
    if (next[0] === row && next[1] === column) return;
    [row, column] = next;
    draw();
  }

  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect();
    place(Math.floor((rows * (event.clientY - box.top)) / box.height), Math.floor((columns * (event.clientX - box.left)) / box.width));
  });
  canvas.addEventListener("keydown", (event) => step(event, (more, further) => place(row + more, column + further)));
  picture?.addEventListener("load", draw);
  draw();
  const heading = picture ? T.encodings.overPicture : T.encodings.overTokens;
  const choose = (value) => {
    head = Number(value);
    draw();
  };
  return section(
    heading,
    h("p", { class: "note" }, [T.encodings.choose, down * right > 1 && T.encodings.window(down * right), line.windows > 1 && T.encodings.shifted].filter(Boolean).join(" ")),
    heads > 1 && field(T.encodings.headName, select(Array.from({ length: heads }, (_, number) => [String(number), String(number + 1)]), "0", choose)),
    canvas,
    readout,
    numbers,
  );
}
