/** The list of files on their way into the library: three at a time, each with its own state. */

import { upload } from "./api.js";

const AT_ONCE = 3;
const MAX_TRIES = 10;
const PICTURE = /\.(jpe?g|png|webp|gif|bmp|avif|heic|heif|tiff?)$/i;
const LABELS = { waiting: "waiting", sending: "adding…", added: "added", known: "already there", failed: "failed" };

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/**
 * The files behind a drop, folders opened. Inside a folder only pictures count; a file that was dropped
 * by itself is always kept, so that the server can say what is wrong with it.
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  return (await Promise.all(entries.map((entry) => filesOf(entry, false)))).flat();
}

async function filesOf(entry, inFolder) {
  if (entry.isFile) {
    if (inFolder && !PICTURE.test(entry.name)) return [];
    return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  }
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    // readEntries answers at most 100 entries a call; an empty list is the end.
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return files;
    for (const child of batch) files.push(...(await filesOf(child, true)));
  }
}

export class Uploads {
  /** `added(photo)` is called for each photo that is new to the library. */
  constructor({ added }) {
    this.added = added;
    this.jobs = [];
    this.running = 0;
    this.panel = document.getElementById("uploads");
    this.title = document.getElementById("uploads-title");
    this.list = document.getElementById("uploads-list");
    this.summary = document.getElementById("uploads-summary");
    this.progress = document.getElementById("uploads-progress");
    this.retry = document.getElementById("uploads-retry");
    this.retry.addEventListener("click", () => this.retryFailed());
    document.getElementById("uploads-close").addEventListener("click", () => this.close());
  }

  add(files) {
    if (!files.length) return;
    if (!this.busy) this.clear();
    for (const file of files) this.enqueue(file);
    this.panel.hidden = false;
    this.pump();
  }

  get busy() {
    return this.jobs.some((job) => job.state === "waiting" || job.state === "sending");
  }

  enqueue(file) {
    const row = document.createElement("li");
    const name = document.createElement("span");
    const state = document.createElement("span");
    name.className = "file";
    name.textContent = name.title = file.name;
    state.className = "state";
    row.append(name, state);
    this.list.append(row);
    const job = { file, row, label: state };
    this.jobs.push(job);
    this.mark(job, "waiting");
  }

  mark(job, state, detail = "") {
    job.state = state;
    job.row.dataset.state = state;
    job.label.textContent = detail || LABELS[state];
  }

  pump() {
    for (const job of this.jobs.filter(({ state }) => state === "waiting").slice(0, AT_ONCE - this.running)) {
      this.running += 1;
      this.send(job).finally(() => {
        this.running -= 1;
        this.pump();
      });
    }
    this.report();
  }

  async send(job) {
    this.mark(job, "sending");
    try {
      const { photo, known } = await this.sendPatiently(job);
      this.mark(job, known ? "known" : "added");
      if (!known) this.added(photo);
    } catch (error) {
      this.mark(job, "failed", error.message);
    }
  }

  /** A busy server answers 503 and says in Retry-After when to come back. */
  async sendPatiently(job) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await upload(job.file);
      } catch (error) {
        if (error.status !== 503 || error.retryAfter === null || tries === MAX_TRIES) throw error;
        this.mark(job, "sending", "server busy, trying again…");
        await pause(Math.min(error.retryAfter, 30));
        this.mark(job, "sending");
      }
    }
  }

  report() {
    const count = (state) => this.jobs.filter((job) => job.state === state).length;
    const done = count("added") + count("known") + count("failed");
    const parts = [`${done} of ${this.jobs.length}`];
    for (const state of ["added", "known", "failed"]) {
      if (count(state)) parts.push(`${count(state)} ${LABELS[state]}`);
    }
    this.summary.textContent = parts.join(" · ");
    this.progress.max = this.jobs.length;
    this.progress.value = done;
    this.retry.hidden = this.busy || !count("failed");
    this.panel.dataset.busy = this.busy;
    this.title.textContent = this.busy ? "Adding photos" : "All done";
  }

  retryFailed() {
    for (const job of this.jobs) if (job.state === "failed") this.mark(job, "waiting");
    this.pump();
  }

  clear() {
    this.jobs = [];
    this.list.replaceChildren();
  }

  /** Hides the list; what is on its way goes on. */
  close() {
    this.panel.hidden = true;
  }
}
