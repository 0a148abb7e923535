// Heat maps of baked constants: float16 arrays, diverging colours, and the crop of a picture that a network gets.

import { h } from "./dom.js";
import { T } from "./text.js";

const LOW = [36, 98, 178];
const HIGH = [184, 44, 40];
const ZERO = { light: [246, 246, 243], dark: [33, 35, 41] };
const MASKED = [122, 122, 122];
const MASKED_BELOW = -50; // after softmax, a score lower by 50 is zero

const scheme = matchMedia("(prefers-color-scheme: dark)");

/** Return the values of a .npy file with little-endian float16. */
export function halves(buffer) {
  const view = new DataView(buffer);
  const start = 10 + view.getUint16(8, true); // NumPy's format 1.0
  return Float32Array.from({ length: (buffer.byteLength - start) / 2 }, (_, index) => half(view.getUint16(start + 2 * index, true)));
}

function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

export const isMasked = (value) => value <= MASKED_BELOW;

/** Return the largest magnitude of unmasked values. */
export function largest(values) {
  return values.reduce((most, value) => (isMasked(value) ? most : Math.max(most, Math.abs(value))), 0);
}

/** Return [red, green, blue] of a value: blue below zero, red above, grey if masked. */
export function colour(value, limit) {
  if (isMasked(value)) return MASKED;
  const zero = ZERO[scheme.matches ? "dark" : "light"];
  const [end, share] = [value < 0 ? LOW : HIGH, Math.min(1, Math.abs(value) / (limit || 1))];
  return zero.map((from, channel) => Math.round(from + share * (end[channel] - from)));
}

/**
 * Return a matrix as a heat map with pointer and arrow key navigation.
 *
 * @param matrix  {values, rows, columns, limit, label}
 * @param onplace called with the row and column
 */
export function heatMap({ values, rows, columns, limit, label }, onplace) {
  const canvas = h("canvas", { class: "map", width: columns, height: rows, tabindex: "0", role: "img", "aria-label": label });
  let [row, column] = [0, 0];

  function draw() {
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    for (let index = 0; index < values.length; index += 1) image.data.set([...colour(values[index], limit), 255], 4 * index);
    context.putImageData(image, 0, 0);
  }

  function place(newRow, newColumn) {
    row = Math.max(0, Math.min(rows - 1, newRow));
    column = Math.max(0, Math.min(columns - 1, newColumn));
    onplace(row, column);
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    place(Math.floor((rows * (event.clientY - box.top)) / box.height), Math.floor((columns * (event.clientX - box.left)) / box.width));
  });
  canvas.addEventListener("focus", () => place(row, column));
  canvas.addEventListener("keydown", (event) => step(event, (down, right) => place(row + down, column + right)));
  scheme.addEventListener("change", draw);
  draw();
  return canvas;
}

/** Call `move` with (rows, columns) for an arrow key. */
export function step(event, move) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!(event.key in moves)) return;
  event.preventDefault();
  move(...moves[event.key]);
}

/** Return the cosines [N, N] between tokens [N, C] after subtracting their mean, which does not depend on position. */
export function similarity(values, tokens, width) {
  const mean = Array.from({ length: width }, (_, channel) => {
    let sum = 0;
    for (let token = 0; token < tokens; token += 1) sum += values[token * width + channel];
    return sum / tokens;
  });
  const unit = Array.from({ length: tokens }, (_, token) => {
    const centred = mean.map((shared, channel) => values[token * width + channel] - shared);
    const length = Math.hypot(...centred) || 1;
    return centred.map((value) => value / length);
  });
  return Float32Array.from({ length: tokens * tokens }, (_, index) => {
    const [one, other] = [unit[Math.floor(index / tokens)], unit[index % tokens]];
    return one.reduce((sum, value, channel) => sum + value * other[channel], 0);
  });
}

/** Return the part of a picture that the network gets after resizing and centre crop. */
export function seenPart(width, height, { resize, crop, keep_aspect: keep }) {
  if (!crop) return { x: 0, y: 0, width, height };
  const [down, right] = Array.isArray(resize) ? resize : [resize, resize];
  const cover = Math.min(height / down, width / right);
  const [tall, wide] = Array.isArray(resize) && !keep ? [height / down, width / right] : [cover, cover];
  const part = { width: Math.min(width, crop[1] * wide), height: Math.min(height, crop[0] * tall) };
  return { ...part, x: (width - part.width) / 2, y: (height - part.height) / 2 };
}

/** Return the colour scale with its end values. */
export function scale(limit) {
  const swatches = Array.from({ length: 41 }, (_, index) => (limit * (index - 20)) / 20);
  const canvas = h("canvas", { width: swatches.length, height: 1, class: "scale", role: "img", "aria-label": T.encodings.scale });
  const draw = () => {
    const context = canvas.getContext("2d");
    const image = context.createImageData(swatches.length, 1);
    swatches.forEach((value, index) => image.data.set([...colour(value, limit), 255], 4 * index));
    context.putImageData(image, 0, 0);
  };
  scheme.addEventListener("change", draw);
  draw();
  return h("p", { class: "ends" }, `−${limit.toPrecision(3)}`, canvas, `+${limit.toPrecision(3)}`);
}
