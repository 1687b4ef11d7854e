/** What was asked lately: a table, and how long it took by kind of search. */

import { text } from "../text_status.js";
import { Chart, element } from "./chart.js";
import { percentile } from "./metrics.js";

const KINDS = { text: ["text"], image: ["image", "similar", "mixed"], voice: ["voice"] };
const SHOWN = 20;
const GROUPS = 24; // points of a chart

/** `show(queries)` draws them, the newest first. */
export function latencyCharts(place) {
  const charts = Object.keys(KINDS).map((kind) => [KINDS[kind], new Chart(text.charts[kind], "ms")]);
  place.replaceChildren(...charts.map(([, chart]) => chart.figure));
  return (queries) => {
    for (const [kinds, chart] of charts) showKind(chart, queries.filter(({ kind }) => kinds.includes(kind)).reverse());
  };
}

/** `queries` with the oldest first, in groups of the same number, each with its percentiles. */
function showKind(chart, queries) {
  const size = Math.max(1, Math.ceil(queries.length / GROUPS));
  const halves = [];
  const mosts = [];
  for (let i = 0; i < queries.length; i += size) {
    const group = queries.slice(i, i + size);
    const at = Date.parse(utc(group.at(-1).created_at));
    halves.push({ at, value: percentile(sorted(group), 0.5) });
    mosts.push({ at, value: percentile(sorted(group), 0.95) });
  }
  const all = sorted(queries);
  const told = { half: percentile(all, 0.5), most: percentile(all, 0.95), count: all.length };
  chart.showPercentiles(halves, mosts, told);
}

const sorted = (queries) => queries.map(({ latency_ms: ms }) => ms).sort((a, b) => a - b);

/** The server's times are in UTC, also where they do not say so. */
const utc = (time) => (/(Z|[+-]\d\d:\d\d)$/.test(time) ? time : `${time}Z`);

export function showSearches(head, body, queries) {
  head.replaceChildren(...text.columns.map((column) => scoped(column)));
  const rows = queries.slice(0, SHOWN).map(row);
  body.replaceChildren(...(rows.length ? rows : [emptyRow()]));
}

function scoped(column) {
  const cell = element("th", "", column);
  cell.scope = "col";
  return cell;
}

function row(query) {
  const time = element("time", "", new Date(utc(query.created_at)).toLocaleString());
  time.dateTime = utc(query.created_at);
  const when = element("td", "");
  when.append(time);
  const made = element("tr", "");
  made.append(
    when,
    element("td", "", text.kinds[query.kind] ?? query.kind),
    element("td", "asked", query.kind === "image" ? text.aPicture : query.text),
    element("td", "count", text.number(query.result_count)),
    element("td", "count", text.value(query.latency_ms, "ms")),
  );
  return made;
}

function emptyRow() {
  const cell = element("td", "", text.noRecent);
  cell.colSpan = text.columns.length;
  const made = element("tr", "");
  made.append(cell);
  return made;
}
