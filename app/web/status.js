/** The status page: what the service does now and did lately, seen again every few seconds. */

import { Chart, element } from "./status/chart.js";
import { History } from "./status/history.js";
import { ImportList } from "./status/imports.js";
import { Rate, sumOf } from "./status/metrics.js";
import { showModel, wireModelForm } from "./status/model.js";
import { Refused, answers } from "./status/requests.js";
import { latencyCharts, showSearches } from "./status/searches.js";
import { wireSignOut } from "./signin.js";
import { duration, text } from "./text_status.js";

const EVERY_MS = 3_000;
const LOAD = { photos: "count", queue: "count", memory: "mb", cpu: "percent", rate: "rate" };

const part = (id) => document.getElementById(id);
const history = new History();
const requests = new Rate();
const imports = new ImportList(part("imports"));
const charts = Object.entries(LOAD).map(([name, unit]) => [name, new Chart(text.charts[name], unit)]);
let timer = null;
let showLatency = null;

function fill() {
  for (const place of document.querySelectorAll("[data-status]")) place.textContent = text[place.dataset.status];
  document.title = text.title;
  part("load").replaceChildren(...charts.map(([, chart]) => chart.figure));
  showLatency = latencyCharts(part("latency"));
}

/** Asks and shows, and does so again as long as somebody can see it. */
async function look() {
  clearTimeout(timer);
  try {
    show(await answers());
  } catch (error) {
    showHealth(error instanceof Refused ? error.message : text.unreachable, "bad", []);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, EVERY_MS);
}

function show({ health, stats, metrics, imports: newest, queries }) {
  const fine = health.status === "healthy";
  const words = fine && !health.ready ? text.starting : fine ? text.healthy : text.unhealthy;
  showHealth(words, fine ? "good" : "bad", health.problems);
  showFacts(health, stats);
  history.add({
    photos: stats.total_photos,
    queue: health.imports_waiting,
    memory: stats.memory_rss_mb * 1.048576, // MiB, shown in MB
    cpu: stats.cpu_percent,
    rate: metrics ? requests.next(sumOf(metrics, "recollect_requests_total"), performance.now()) : null,
  });
  for (const [name, chart] of charts) chart.show(history.of(name));
  showLatency(queries);
  showSearches(part("searches-head"), part("searches"), queries);
  imports.show(newest, health.imports_paused);
  showModel(health);
}

function showHealth(words, kind, problems) {
  if (part("health").textContent !== words) part("health").textContent = words;
  part("health").className = kind;
  part("problems").hidden = !problems.length;
  part("problems").replaceChildren(...problems.map((problem) => element("li", "", problem)));
}

function showFacts(health, stats) {
  const values = {
    photos: text.number(stats.total_photos),
    size: text.bytes(stats.stored_bytes),
    model: health.model,
    device: health.device,
    memory: text.mb(stats.memory_rss_mb),
    uptime: duration(stats.uptime_s),
    searches: text.number(stats.queries.total),
    voice: health.whisper_available ? health.whisper_model : text.off,
    reading: health.ocr_available ? text.number(health.ocr_waiting) : text.off,
    version: health.version,
  };
  const pairs = Object.entries(values).map(([name, value]) => {
    const pair = element("div", name);
    pair.append(element("dt", "", text.facts[name]), element("dd", "", value));
    return pair;
  });
  part("facts").replaceChildren(...pairs);
}

fill();
wireModelForm();
wireSignOut(part("sign-out"));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
look();
