/** Where photos go in rows that fill the width: each row has one height, and no photo is turned or stretched. */

const FLATTEST = 2.6;
const TALLEST = 0.62;

/** Width : height of its place; a panorama or a very tall photo is cut at its ends. */
export function ratioOf({ width, height }) {
  return width && height ? Math.min(FLATTEST, Math.max(TALLEST, width / height)) : 4 / 3;
}

/**
 * Appends to `rows` the rows of photos from number `first` on, given the ratios of all. A row is
 * {first, end, top, height, boxes: [{left, width}]}; `height` is that of the pictures. The last is not stretched.
 */
export function layOut(rows, ratios, first, { width, target, gap, strip }) {
  let start = first;
  let top = rows.length ? rows.at(-1).top + rows.at(-1).height + strip + gap : 0;
  while (start < ratios.length) {
    const { end, height } = nextRow(ratios, start, { width, target, gap });
    rows.push({ first: start, end, top, height, boxes: boxesOf(ratios.slice(start, end), height, gap) });
    top += height + strip + gap;
    start = end;
  }
}

function nextRow(ratios, start, { width, target, gap }) {
  let sum = 0;
  for (let end = start; end < ratios.length; end += 1) {
    const without = heightOf(sum, end - start, width, gap);
    sum += ratios[end];
    const height = heightOf(sum, end - start + 1, width, gap);
    if (height > target) continue;
    const nearer = end > start && without / target < target / height;
    return nearer ? { end, height: without } : { end: end + 1, height };
  }
  return { end: ratios.length, height: target };
}

const heightOf = (sum, count, width, gap) => (sum ? (width - gap * (count - 1)) / sum : Infinity);

function boxesOf(ratios, height, gap) {
  let left = 0;
  return ratios.map((ratio) => {
    const box = { left, width: ratio * height };
    left += box.width + gap;
    return box;
  });
}

/** Number of the row at a height from the top; binary search. */
export function rowAt(rows, top) {
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle].top <= top) low = middle;
    else high = middle - 1;
  }
  return low;
}
