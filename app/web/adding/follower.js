/** Asks the server what has become of the files that it has taken, until all are through. */

import { itemsAfter } from "./requests.js";

const ENDED = ["ready", "known", "failed"];
const SOON_MS = 200;
const LATER_MS = 1_500;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Follower {
  /** `settled(pairs)` is awaited with [job, item] of those that are through; item null: it was given up there. */
  constructor(settled) {
    this.settled = settled;
    this.imports = new Map(); // by its id: its jobs by the ids of their items
    this.running = false;
  }

  follow(job) {
    if (!this.imports.has(job.importId)) this.imports.set(job.importId, new Map());
    this.imports.get(job.importId).set(job.itemId, job);
    if (!this.running) this.run();
  }

  clear() {
    this.imports.clear();
  }

  async run() {
    this.running = true;
    let wait = SOON_MS;
    while (this.imports.size) {
      await pause(wait);
      let changed = 0;
      for (const [importId, jobs] of this.imports) changed += await this.look(importId, jobs);
      wait = changed ? SOON_MS : Math.min(LATER_MS, 1.5 * wait);
    }
    this.running = false;
  }

  /** Items end nearly in the order of their ids, so those after the oldest one that waits are enough to look at. */
  async look(importId, jobs) {
    try {
      const items = await itemsAfter(importId, Math.min(...jobs.keys()) - 1);
      const ended = items.filter((item) => jobs.has(item.id) && ENDED.includes(item.status));
      return await this.settle(importId, jobs, ended.map((item) => [jobs.get(item.id), item]));
    } catch (error) {
      if (error.status !== 404) return 0; // out of reach or busy: it is asked again
      return this.settle(importId, jobs, [...jobs.values()].map((job) => [job, null]));
    }
  }

  async settle(importId, jobs, pairs) {
    for (const [job] of pairs) jobs.delete(job.itemId);
    if (!jobs.size) this.imports.delete(importId);
    if (pairs.length) await this.settled(pairs);
    return pairs.length;
  }
}
