// Preparation "ink": the largest symbol of a photo in the style of the digits models' training data.
// Same steps and constants as examples/digits/prepare.py, which describes them.

const SIDE = 384;
const CELLS = 8;
const FINE = 64;
const WIDEST = 0.72;
const INK = 0.29;
const LEAST_CONTRAST = 0.12;
const [CERTAIN, POSSIBLE] = [0.5, 0.3];
const STRONGEST = 60;
const SPECK = 0.05;
const GAP = 0.12;

/** Return {blob, signs}: the prepared picture as PNG, and the number of symbols in the photo. Null if there is no ink, or too much. */
export async function prepareInk(blob) {
  const bitmap = await createImageBitmap(blob);
  const factor = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
  const parts = findInk(greyOf(bitmap, width, height), width, height);
  if (parts === null) return null;
  const { places, signs } = largestSign(parts, width, height);
  return { blob: await pngOf(asScan(cropped(places))), signs };
}

function greyOf(source, width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return Float32Array.from({ length: width * height }, (_, index) => 0.299 * data[4 * index] + 0.587 * data[4 * index + 1] + 0.114 * data[4 * index + 2]);
}

/** Return the connected parts of ink, each a list of [row, column]; null if there is no ink, or too much. */
function findInk(given, width, height) {
  const reach = Math.floor(Math.max(width, height) / 8);
  const around = mean(given, width, height, reach);
  const isDark = given.reduce((sum, value, index) => sum + (value - around[index]) ** 3, 0) > 0;
  const grey = mean(isDark ? given.map((value) => 255 - value) : given, width, height, 1);
  const paper = spread(spread(grey, width, height, reach, Math.max), width, height, reach, Math.min);
  const contrast = grey.map((value, index) => Math.min(1, Math.max(0, 1 - value / Math.max(paper[index], 1))));
  const most = contrast.slice().sort().at(-Math.min(STRONGEST, 1 + Math.floor(contrast.length / 100)));
  if (most < LEAST_CONTRAST) return null;
  const found = partsOf(contrast.map((value) => value > POSSIBLE * most), width, height);
  const ink = found.filter((part) => part.some(([row, column]) => contrast[row * width + column] > CERTAIN * most));
  return ink.reduce((sum, part) => sum + part.length, 0) > contrast.length / 2 ? null : ink;
}

/** Return a box filter of side 2 · radius + 1, with edge values repeated. */
function mean(values, width, height, radius) {
  const along = (from, step, count, lines, stride) => {
    const to = from.slice();
    const at = (line, place) => from[line * stride + Math.min(count - 1, Math.max(0, place)) * step];
    for (let line = 0; line < lines; line += 1) {
      let sum = 0;
      for (let near = -radius; near <= radius; near += 1) sum += at(line, near);
      for (let place = 0; place < count; place += 1) {
        to[line * stride + place * step] = sum / (2 * radius + 1);
        sum += at(line, place + radius + 1) - at(line, place - radius);
      }
    }
    return to;
  };
  return along(along(values, 1, width, height, width), width, height, width, 1);
}

/** Return a filter that combines each value with those up to `radius` rows and columns away. */
function spread(values, width, height, radius, combine) {
  const along = (from, step, count, lines, stride) => {
    const to = from.slice();
    for (let line = 0; line < lines; line += 1) {
      for (let place = 0; place < count; place += 1) {
        let found = from[line * stride + place * step];
        const end = Math.min(count - 1, place + radius);
        for (let near = Math.max(0, place - radius); near <= end; near += 1) found = combine(found, from[line * stride + near * step]);
        to[line * stride + place * step] = found;
      }
    }
    return to;
  };
  return along(along(values, 1, width, height, width), width, height, width, 1);
}

/** Return the connected parts of a mask (8-connectivity), each a list of [row, column]. */
function partsOf(mask, width, height) {
  const left = Uint8Array.from(mask);
  const parts = [];
  for (let start = 0; start < left.length; start += 1) {
    if (!left[start]) continue;
    const part = [[Math.floor(start / width), start % width]];
    left[start] = 0;
    for (const [row, column] of part) {
      for (let down = Math.max(0, row - 1); down <= Math.min(height - 1, row + 1); down += 1) {
        for (let across = Math.max(0, column - 1); across <= Math.min(width - 1, column + 1); across += 1) {
          if (!left[down * width + across]) continue;
          left[down * width + across] = 0;
          part.push([down, across]);
        }
      }
    }
    parts.push(part);
  }
  return parts;
}

/** Return {places, signs}: the largest group of nearby parts, and the number of groups. */
function largestSign(parts, width, height) {
  const inside = parts.filter((part) => part.every(([row, column]) => row > 0 && column > 0 && row < height - 1 && column < width - 1));
  const candidates = inside.length ? inside : parts;
  const largest = Math.max(...candidates.map((part) => part.length));
  const kept = candidates.filter((part) => part.length >= SPECK * largest);
  const rowsOf = (part) => part.map(([row]) => row);
  const tallest = kept.reduce((most, part) => Math.max(most, ends(rowsOf(part))[1] - ends(rowsOf(part))[0] + 1), 0);
  const places = kept.flat();
  const ink = new Uint8Array(width * height);
  for (const [row, column] of places) ink[row * width + column] = 1;
  const groups = partsOf(spread(ink, width, height, Math.max(1, Math.round((GAP * tallest) / 2)), Math.max), width, height);
  const signs = groups.map((group) => group.filter(([row, column]) => ink[row * width + column]));
  return { places: signs.reduce((one, other) => (other.length > one.length ? other : one)), signs: signs.length };
}

const ends = (values) => values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);

/** Return {ink, width, height}: a symbol, cropped. */
function cropped(places) {
  const [[top, bottom], [left, right]] = [0, 1].map((axis) => ends(places.map((place) => place[axis])));
  const [width, height] = [right - left + 1, bottom - top + 1];
  const ink = new Uint8Array(width * height);
  for (const [row, column] of places) ink[(row - top) * width + column - left] = 1;
  return { ink, width, height };
}

/** Return a symbol as contrast [64], filling the square from top to bottom, with a scan's mean ink. */
function asScan({ ink, width, height }) {
  const across = Math.min(Math.max(1, Math.round((FINE * width) / height)), Math.round(WIDEST * FINE));
  const left = (FINE - across) >> 1;
  const step = FINE / CELLS;
  const cells = new Float64Array(CELLS * CELLS);
  for (let row = 0; row < FINE; row += 1) {
    for (let column = 0; column < across; column += 1) {
      const share = shareOf(ink, width, [row, row + 1].map((at) => (at * height) / FINE), [column, column + 1].map((at) => (at * width) / across));
      cells[Math.floor(row / step) * CELLS + Math.floor((column + left) / step)] += share / step ** 2;
    }
  }
  let [low, high] = [1, 64];
  for (let pass = 0; pass < 20; pass += 1) {
    const factor = (low + high) / 2; // bisection
    if (cells.reduce((sum, cell) => sum + Math.min(1, factor * cell), 0) / cells.length < INK) low = factor;
    else high = factor;
  }
  return cells.map((cell) => Math.min(1, high * cell));
}

/** Return the share of ink in a box with fractional sides. */
function shareOf(ink, width, [top, bottom], [left, right]) {
  let sum = 0;
  for (let row = Math.floor(top); row < bottom; row += 1) {
    const tall = Math.min(bottom, row + 1) - Math.max(top, row);
    for (let column = Math.floor(left); column < right; column += 1) {
      sum += ink[row * width + column] * tall * (Math.min(right, column + 1) - Math.max(left, column));
    }
  }
  return sum / ((bottom - top) * (right - left));
}

async function pngOf(cells) {
  const [small, canvas] = [new OffscreenCanvas(CELLS, CELLS), new OffscreenCanvas(4 * CELLS, 4 * CELLS)];
  const image = new ImageData(CELLS, CELLS);
  cells.forEach((contrast, index) => image.data.set([...Array(3).fill(Math.round(255 * (1 - contrast))), 255], 4 * index));
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/png" });
}
