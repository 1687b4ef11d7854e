/** Reads the numbers of /metrics (the text format of Prometheus), and makes rates of counters. */

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The sum of all samples of this name whose labels `fits` allows. */
export function sumOf(exposition, name, fits = () => true) {
  return samplesOf(exposition, name).reduce((sum, { labels, value }) => sum + (fits(labels) ? value : 0), 0);
}

function samplesOf(exposition, name) {
  const lines = exposition.split("\n").filter((line) => line.startsWith(name));
  return lines
    .map((line) => LINE.exec(line))
    .filter((match) => match?.[1] === name)
    .map(([, , labels = "", value]) => ({
      labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, text]) => [key, text])),
      value: Number(value),
    }));
}

/** How fast a counter grows, a second. */
export class Rate {
  constructor() {
    this.last = null;
  }

  /** Null at the first value, and when the counter began anew. */
  next(value, now) {
    const { last } = this;
    this.last = { value, now };
    if (!last || value < last.value || now <= last.now) return null;
    return (1000 * (value - last.value)) / (now - last.now);
  }
}

/** The value that this share of them does not exceed. `values` are sorted. */
export function percentile(values, share) {
  const place = (values.length - 1) * share;
  const low = values[Math.floor(place)];
  return low + (values[Math.ceil(place)] - low) * (place - Math.floor(place));
}
