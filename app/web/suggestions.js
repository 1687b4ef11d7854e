/** What the search box suggests: what was asked lately, and the library's own tags, categories and places. */

import { facets, recentQueries } from "./api.js";
import { text } from "./text.js";

const MOST = 8;
const FRESH_MS = 60_000;
const WRITTEN = { tags: "tag", category: "category", city: "place", country: "place", camera: "camera" };

let known = { at: -Infinity, facets: {} };

/** → [{kind, label, words, whole}]; a `whole` one is a query of its own, others go in place of the last word. */
export async function suggestionsFor(typed) {
  const [names, queries] = await Promise.all([namesOfLibrary(), queriesLike(typed)]).catch(() => [{}, []]);
  const part = lastPart(typed).replace(/^(#|\w+:)"?/, "").toLowerCase();
  const found = part ? Object.entries(WRITTEN).flatMap(([facet, key]) => matching(names[facet], part, facet, key)) : [];
  return [...queries.slice(0, found.length ? 3 : MOST), ...found].slice(0, MOST);
}

/** The words with the suggestion in place of the part that was being typed. */
export function completed(typed, { words, whole }) {
  return whole ? words : `${typed.slice(0, typed.length - lastPart(typed).length)}${words} `;
}

const lastPart = (typed) => /(\w+:"[^"]*|\S*)$/.exec(typed)[0];

async function namesOfLibrary() {
  if (performance.now() - known.at < FRESH_MS) return known.facets;
  known = { at: performance.now(), facets: await facets({ limit: 500 }) };
  return known.facets;
}

function matching(values = [], part, facet, key) {
  return values
    .filter(({ value }) => ` ${value.toLowerCase()}`.includes(` ${part}`)) // a word of it begins so
    .slice(0, 3)
    .map(({ value, count }) => {
      return { kind: text.suggestions.of(facet, count), label: value, words: condition(key, value) };
    });
}

function condition(key, value) {
  const quoted = /[\s",;()]/.test(value) ? `"${value.replaceAll('"', "")}"` : value;
  return `${key}:${quoted}`;
}

async function queriesLike(typed) {
  const start = typed.trim().toLowerCase();
  const { queries } = await recentQueries(200);
  const words = queries.filter(({ kind }) => kind === "text" || kind === "voice").map((query) => query.text);
  return [...new Set(words)]
    .filter((query) => query.toLowerCase().includes(start) && query.toLowerCase() !== start)
    .map((query) => ({ kind: text.suggestions.recent, label: query, words: query, whole: true }));
}
