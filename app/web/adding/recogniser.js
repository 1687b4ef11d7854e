/** Finds out before anything is sent which files the library has already, by the SHA-256 of their bytes. */

import { knownPhotos } from "./requests.js";

const BATCH = 50;
const LARGEST = 256 * 2 ** 20; // a digest needs the whole file in memory

export class Recogniser {
  /** `told({known, twice, unreadable, unknown})` is called for each batch of jobs with those of each kind. */
  constructor(told) {
    this.told = told;
    this.todo = [];
    this.firsts = new Map(); // by SHA-256: the first job of this list with these bytes
    this.running = false;
    // Browsers digest only for pages on https or localhost; elsewhere the server tells once it has the file.
    this.worker = crypto.subtle ? new Worker("/web/adding/hash_worker.js", { type: "module" }) : null;
  }

  add(jobs) {
    this.todo = this.todo.concat(jobs);
    if (!this.running) this.run();
  }

  clear() {
    this.todo = [];
    this.firsts.clear();
  }

  async run() {
    this.running = true;
    while (this.todo.length) await this.recognise(this.todo.splice(0, BATCH));
    this.running = false;
  }

  async recognise(batch) {
    const unreadable = [];
    for (const job of batch) {
      if (!(await this.digest(job))) unreadable.push(job);
    }
    const digests = [...new Set(batch.map((job) => job.sha256).filter(Boolean))];
    const photos = digests.length ? await knownPhotos(digests).catch(() => ({})) : {};
    const sorted = { known: [], twice: [], unreadable, unknown: [] };
    for (const job of batch) {
      job.photoId = photos[job.sha256] ?? null;
      if (job.state === "lost" && job.photoId) sorted.known.push(job);
      if (job.state === "waiting" && !unreadable.includes(job)) sorted[this.kindOf(job)].push(job);
    }
    this.told(sorted);
  }

  kindOf(job) {
    if (job.photoId) return "known";
    const first = this.firsts.get(job.sha256) ?? job;
    const stands = first !== job && !["failed", "stopped", "lost"].includes(first.state);
    if (job.sha256 && !stands) this.firsts.set(job.sha256, job);
    return stands ? "twice" : "unknown";
  }

  /** Fills in `job.sha256`, where that can be done; false if the file cannot be read. */
  async digest(job) {
    if (!this.worker || job.sha256 || !job.file || job.size > LARGEST) return true;
    const { sha256 = null, unreadable = false } = await this.ask(job.file);
    job.sha256 = sha256;
    return !unreadable;
  }

  ask(file) {
    return new Promise((resolve) => {
      this.worker.onmessage = ({ data }) => resolve(data);
      this.worker.onerror = () => {
        this.worker = null;
        resolve({});
      };
      this.worker.postMessage(file);
    });
  }
}
