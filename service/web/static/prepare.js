// Preparation "ink": a photo of one drawn sign becomes dark, thick strokes that fill a white square.
// The steps are those of examples/digits/prepare.py, which describes them.

const SIDE = 256; // pixels of the longer side that is worked on
const CELLS = 8;
const FINE = 32;
const STROKE = 0.13; // width of a stroke over the side of the square
const LEAST_CONTRAST = 0.12;

/** Return the prepared picture as a PNG, or null where nothing stands out from the paper, or most of the picture does. */
export async function prepareInk(blob) {
  const bitmap = await createImageBitmap(blob);
  const factor = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
  const grey = greyOf(bitmap, width, height);
  const ink = findInk(grey, width, height);
  return ink && blobOf(cellsOf(thicken(inASquare(ink, width, height))));
}

function greyOf(source, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return Float32Array.from({ length: width * height }, (_, index) => 0.299 * data[4 * index] + 0.587 * data[4 * index + 1] + 0.114 * data[4 * index + 2]);
}

function findInk(given, width, height) {
  const ordered = Float32Array.from(given).sort();
  const isDark = ordered[ordered.length >> 1] < (ordered[0] + ordered.at(-1)) / 2; // most of it is paper
  const grey = isDark ? given.map((value) => 255 - value) : given;
  const reach = Math.floor(Math.max(width, height) / 8) * 2 + 1;
  const brightest = spread(grey, width, height, Math.min(reach, 65) >> 1, Math.max);
  let paper = brightest;
  for (let pass = 0; pass < 3; pass += 1) paper = mean(paper, width, height, reach >> 1); // three boxes are nearly a Gaussian
  const contrast = grey.map((value, index) => Math.min(1, Math.max(0, 1 - value / Math.max(paper[index], 1))));
  const most = Float32Array.from(contrast).sort()[Math.floor(0.995 * (contrast.length - 1))];
  const ink = Uint8Array.from(contrast, (value) => value > most / 2);
  const share = ink.reduce((sum, value) => sum + value, 0) / ink.length;
  return most < LEAST_CONTRAST || share > 0.5 ? null : ink;
}

/** Return each value combined with those at most `radius` away in rows and columns. */
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

/** Return the ink in the middle of a square that it fills, its aspect ratio kept. */
function inASquare(ink, width, height) {
  const places = [...ink.keys()].filter((index) => ink[index]);
  const [rows, columns] = [places.map((index) => Math.floor(index / width)), places.map((index) => index % width)];
  const [top, bottom, left, right] = [rows[0], rows.at(-1), Math.min(...columns), Math.max(...columns)];
  const [tall, wide] = [bottom - top + 1, right - left + 1];
  const longer = Math.max(tall, wide);
  const [down, across] = [tall, wide].map((side) => Math.max(1, Math.round((FINE * side) / longer)));
  const square = new Uint8Array(FINE * FINE);
  const [shiftDown, shiftRight] = [(FINE - down) >> 1, (FINE - across) >> 1];
  for (let row = 0; row < down; row += 1) {
    for (let column = 0; column < across; column += 1) {
      const share = shareOf(ink, width, top + (row * tall) / down, top + ((row + 1) * tall) / down, left + (column * wide) / across, left + ((column + 1) * wide) / across);
      square[(row + shiftDown) * FINE + column + shiftRight] = share > 0.25;
    }
  }
  return square;
}

/** Return the share of ink in a box. */
function shareOf(ink, width, top, bottom, left, right) {
  let [found, all] = [0, 0];
  for (let row = Math.floor(top); row < Math.max(bottom, Math.floor(top) + 1); row += 1) {
    for (let column = Math.floor(left); column < Math.max(right, Math.floor(left) + 1); column += 1) {
      found += ink[row * width + column];
      all += 1;
    }
  }
  return found / all;
}

/** Return ink with strokes of about STROKE: a stroke's width is twice its area over its outline. */
function thicken(ink) {
  for (let found = ink; ; found = spread(found, FINE, FINE, 1, Math.max)) {
    const area = found.reduce((sum, value) => sum + value, 0);
    const inside = spread(found, FINE, FINE, 1, Math.min).reduce((sum, value) => sum + value, 0);
    if ((2 * area) / Math.max(1, area - inside) >= STROKE * FINE || area > found.length / 2) return found;
  }
}

function cellsOf(ink) {
  const step = FINE / CELLS;
  const cells = Float32Array.from({ length: CELLS * CELLS }, (_, index) => {
    let sum = 0;
    for (let part = 0; part < step * step; part += 1) {
      sum += ink[(Math.floor(index / CELLS) * step + Math.floor(part / step)) * FINE + (index % CELLS) * step + (part % step)];
    }
    return sum;
  });
  const most = Math.max(...cells);
  return cells.map((value) => Math.round(255 * (1 - value / most)));
}

async function blobOf(cells) {
  const [small, canvas] = [new OffscreenCanvas(CELLS, CELLS), new OffscreenCanvas(FINE, FINE)];
  const image = new ImageData(CELLS, CELLS);
  cells.forEach((value, index) => image.data.set([value, value, value, 255], 4 * index));
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, FINE, FINE);
  return canvas.convertToBlob({ type: "image/png" });
}
