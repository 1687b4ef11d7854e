/** The panel in the corner that shows how adding goes on, and its buttons. */

import { text } from "../text_adding.js";
import { FileList } from "./list.js";
import { Pace } from "./pace.js";

const REFRESH_MS = 80;
const SAY_MS = 10_000; // a screen reader hears how far it is at most so often
const TOLD = ["added", "known", "failed", "stopped", "lost"];
const FEW = 6; // files that need no choice of what is shown

const part = (name) => document.getElementById(`uploads-${name}`);

export class Panel {
  /** `on` has a function for each button: pause, resume, stop, retry, choose, close. */
  constructor(queue, on) {
    this.queue = queue;
    this.root = document.getElementById("uploads");
    this.pace = new Pace();
    this.state = { paused: false, trouble: "" };
    this.timer = null;
    this.saidAt = 0;
    this.list = new FileList(part("scroll"), part("list"), fillRow);
    this.wire(on);
    setInterval(() => !this.root.hidden && this.queue.busy && this.render(), 1000);
  }

  wire(on) {
    for (const name of ["pause", "resume", "stop", "retry", "choose", "close"]) {
      part(name).addEventListener("click", on[name]);
    }
    part("filter").addEventListener("change", () => this.render());
  }

  open() {
    this.root.hidden = false;
    this.list.touched = false;
    this.render();
  }

  close() {
    this.root.hidden = true;
  }

  /** `paused`, and in `trouble` why nothing goes on. */
  set(state) {
    if (Object.entries(state).every(([name, value]) => this.state[name] === value)) return;
    Object.assign(this.state, state);
    this.pace.reset();
    this.render();
  }

  /** Soon, and once for many changes. */
  refresh() {
    this.timer ??= setTimeout(() => this.render(), REFRESH_MS);
  }

  render() {
    clearTimeout(this.timer);
    this.timer = null;
    const busy = this.queue.busy;
    this.root.dataset.busy = String(busy);
    part("title").textContent = this.title(busy);
    this.showNumbers(busy);
    this.showNotice();
    this.showButtons(busy);
    this.showFiles();
    this.say(busy);
  }

  title(busy) {
    if (busy && this.state.paused) return text.titles.paused;
    if (busy) return this.state.trouble ? text.titles.trouble : text.titles.busy;
    if (this.queue.of("lost")) return text.titles.lost;
    return this.queue.of("stopped") ? text.titles.stopped : text.titles.done;
  }

  showNumbers(busy) {
    const { queue } = this;
    const parts = TOLD.filter((state) => queue.of(state)).map((state) => text.part(state, queue.of(state)));
    part("summary").textContent = text.summary(queue.done, queue.jobs.length, parts);
    part("progress").value = queue.share;
    const sent = queue.bytes.sent - queue.bytes.skipped;
    const total = queue.bytes.total - queue.bytes.skipped;
    const left = busy && !this.state.paused ? this.pace.left(queue.share) : null;
    const told = [sent < total ? text.sent(sent, total) : text.allSent, left === null ? "" : text.left(left)];
    part("bytes").textContent = busy ? [text.percent(queue.share), ...told.filter(Boolean)].join(" · ") : "";
  }

  showNotice() {
    const lost = this.queue.of("lost");
    part("notice").textContent = this.state.trouble || (lost ? text.lost(lost) : "");
    part("notice").hidden = !part("notice").textContent;
  }

  showButtons(busy) {
    const { queue, state } = this;
    const focused = document.activeElement;
    part("pause").hidden = !busy || state.paused;
    part("resume").hidden = !busy || !(state.paused || state.trouble);
    part("stop").hidden = !busy;
    part("retry").hidden = busy || !queue.of("failed", "stopped");
    part("choose").hidden = !queue.of("lost");
    if (focused?.hidden && this.root.contains(focused)) this.root.querySelector(".uploads-actions :not([hidden])")?.focus();
  }

  showFiles() {
    const filter = part("filter");
    filter.hidden = this.queue.jobs.length <= FEW;
    const states = ["", ...Object.keys(text.states).filter((state) => this.queue.of(state))];
    showOptions(filter, states, (state) => text.shown(state, state ? this.queue.of(state) : this.queue.jobs.length));
    const wanted = filter.hidden ? "" : filter.value;
    const jobs = wanted ? this.queue.jobs.filter((job) => job.state === wanted) : this.queue.jobs;
    const telling = this.queue.busy ? ["sending", "waiting"] : ["failed", "lost"];
    this.list.show(jobs, wanted ? -1 : jobs.findIndex((job) => telling.includes(job.state)));
  }

  say(busy) {
    if (busy && performance.now() - this.saidAt < SAY_MS) return;
    this.saidAt = performance.now();
    const words = busy ? text.said(part("summary").textContent) : `${part("title").textContent}. ${part("summary").textContent}`;
    if (part("said").textContent !== words) part("said").textContent = words;
  }
}

function fillRow(row, job) {
  const name = document.createElement("span");
  const state = document.createElement("span");
  name.className = "file";
  name.textContent = name.title = job.name;
  state.className = "state";
  state.textContent = state.title = text.row(job.detail || text.states[job.state], job.size);
  row.dataset.state = job.state;
  row.append(name, state);
}

/** The options keep their elements, so that a list that is open stays open. */
function showOptions(select, values, label) {
  const there = new Map([...select.options].map((option) => [option.value, option]));
  for (const [value, option] of there) if (!values.includes(value)) option.remove();
  for (const value of values) {
    const option = there.get(value) ?? new Option("", value);
    if (!there.has(value)) select.append(option);
    if (option.text !== label(value)) option.text = label(value);
  }
}
