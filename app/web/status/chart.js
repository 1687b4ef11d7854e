/** Line charts as SVG, each with its present value and a sentence that says the same as the lines. */

import { text } from "../text_status.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 90;

export class Chart {
  /** `unit` is one of those of text.value. The figure is to be put into the page. */
  constructor(title, unit) {
    this.title = title;
    this.unit = unit;
    this.figure = element("figure", "chart");
    this.value = element("p", "value");
    this.top = element("span", "top");
    this.legend = element("p", "legend");
    this.since = element("span", "since");
    this.svg = document.createElementNS(SVG, "svg");
    this.assemble();
  }

  assemble() {
    const caption = element("figcaption", "", this.title);
    const axis = element("p", "axis");
    axis.append(this.since, element("span", "", text.nowMark));
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    const plot = element("div", "plot");
    plot.append(this.svg, this.top);
    this.figure.append(caption, this.value, this.legend, plot, axis);
  }

  /** One line, and what it is now. */
  show(points) {
    if (!points.length) return this.showNothing(text.noData);
    const values = points.map(({ value }) => value);
    const now = values.at(-1);
    const seconds = (points.at(-1).at - points[0].at) / 1000;
    const told = { now, least: Math.min(...values), most: Math.max(...values), seconds };
    this.value.textContent = text.value(now, this.unit);
    return this.draw([points], text.chart(this.title, this.unit, told));
  }

  /** Two lines: the median, and what 95 % do not exceed; `half` and `most` are these of all values. */
  showPercentiles(halves, mosts, { half, most, count }) {
    if (!count) return this.showNothing(text.noSearches);
    this.value.textContent = text.value(half, this.unit);
    this.legend.replaceChildren(element("span", "half", text.half), element("span", "most", `${text.most} ${text.value(most, this.unit)}`));
    return this.draw([halves, mosts], text.latencyChart(this.title, half, most, count));
  }

  showNothing(why) {
    this.value.textContent = "–";
    this.top.textContent = this.since.textContent = "";
    this.legend.textContent = why;
    this.svg.replaceChildren();
    this.svg.ariaLabel = `${this.title}: ${why}.`;
  }

  draw(lines, words) {
    if (lines.length === 1) this.legend.textContent = "";
    const points = lines.flat();
    const first = Math.min(...points.map(({ at }) => at));
    const last = Math.max(first + 1, ...points.map(({ at }) => at));
    const highest = roundUp(Math.max(...points.map(({ value }) => value)));
    const place = ({ at, value }) => [(WIDTH * (at - first)) / (last - first), HEIGHT * (1 - value / highest)];
    this.svg.replaceChildren(...lines.map((line, i) => path(line.map(place), i ? "line most" : "line half")));
    this.svg.ariaLabel = words;
    this.top.textContent = text.value(highest, this.unit);
    this.since.textContent = text.span((Date.now() - first) / 1000);
  }
}

/** 1, 2 or 5 times a power of ten, not below `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function path(places, name) {
  const line = document.createElementNS(SVG, "path");
  const steps = places.length === 1 ? [places[0], [WIDTH, places[0][1]]] : places;
  line.setAttribute("d", `M${steps.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`);
  line.setAttribute("class", name);
  return line;
}

/** An element with a class and text. */
export function element(tag, name, words = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.textContent = words;
  return made;
}
