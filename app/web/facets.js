/** The panel of filters: what the photos have in common, with counts; pressing a value narrows to it. */

import { facets } from "./api.js";
import { filterParams } from "./ask.js";
import { text } from "./text.js";

const SHOWN = 8;
const LIMIT = 200;

/** Which filter a facet sets: city and country are both places. */
const FILTER_OF = { tags: "tags_all", city: "place", country: "place" };
const ORDER = ["year", "category", "tags", "camera", "country", "city", "orientation", "has_location"];

export class FacetPanel {
  /** `changed(filters)` is called with the new ones. */
  constructor(panel, button, changed) {
    Object.assign(this, { panel, button, changed, filters: {}, loading: new AbortController() });
    button.addEventListener("click", () => this.toggle());
    panel.addEventListener("keydown", (event) => event.key === "Escape" && this.escape(event));
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  toggle() {
    this.panel.hidden = this.isOpen;
    this.button.ariaExpanded = String(this.isOpen);
    if (this.isOpen) return this.load();
    return undefined;
  }

  escape(event) {
    event.stopPropagation();
    this.toggle();
    this.button.focus();
  }

  /** The filters of the view that is shown now. */
  show(filters) {
    const same = JSON.stringify(filters) === JSON.stringify(this.filters);
    this.filters = filters;
    if (this.isOpen && !same) this.load();
  }

  async load() {
    this.loading.abort();
    this.loading = new AbortController();
    try {
      const found = await facets({ limit: LIMIT, ...filterParams(this.filters) }, this.loading.signal);
      this.draw(found);
    } catch (error) {
      if (error.name !== "AbortError") this.panel.textContent = error.message;
    }
  }

  draw(found) {
    const focused = document.activeElement?.dataset?.facet;
    const names = ORDER.filter((name) => found[name].length);
    const groups = names.map((name) => this.group(name, found[name]));
    this.panel.replaceChildren(...groups);
    if (!groups.length) this.panel.textContent = text.facets.none;
    if (focused) [...this.panel.querySelectorAll("button")].find((button) => button.dataset.facet === focused)?.focus();
  }

  group(name, values) {
    const group = document.createElement("fieldset");
    const title = document.createElement("legend");
    title.textContent = text.facets[name];
    const sorted = name === "year" ? values.toSorted((a, b) => b.value - a.value) : values;
    const buttons = sorted.map((value) => this.value(name, value));
    group.append(title, ...buttons.slice(0, SHOWN));
    if (buttons.length > SHOWN) group.append(moreButton(buttons.slice(SHOWN)));
    return group;
  }

  value(name, { value, count }) {
    const button = document.createElement("button");
    const [label, number] = [document.createElement("span"), document.createElement("small")];
    button.type = "button";
    button.dataset.facet = `${name}:${value}`;
    button.ariaPressed = String(this.has(name, value));
    label.textContent = text.facets.value(name, value);
    number.textContent = count.toLocaleString();
    button.append(label, number);
    button.addEventListener("click", () => this.changed(toggled(this.filters, name, value)));
    return button;
  }

  has(name, value) {
    return [this.filters[FILTER_OF[name] ?? name]].flat().includes(value);
  }
}

function moreButton(others) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "rest";
  button.textContent = text.facets.more(others.length);
  button.addEventListener("click", () => {
    button.replaceWith(...others);
    others[0].focus();
  });
  return button;
}

function toggled(filters, name, value) {
  const filter = FILTER_OF[name] ?? name;
  const before = [filters[filter] ?? []].flat();
  const without = before.filter((other) => other !== value);
  const off = without.length < before.length;
  if (name === "tags") return withFilter(filters, filter, off ? without : [...before, value]);
  return withFilter(filters, filter, off ? undefined : value);
}

/** The filters with another value of one; without it for none. */
export function withFilter(filters, name, value) {
  const { [name]: _, ...others } = filters;
  return value?.length ? { ...others, [name]: value } : others;
}
