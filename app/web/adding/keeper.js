/** Keeps the files that come next in the browser's database, up to a limit, and lets go of those that are through. */

const MOST_BYTES = 256 * 2 ** 20;
const PENDING = ["waiting", "sending"];

export class Keeper {
  constructor(queue, store) {
    this.queue = queue;
    this.store = store;
    this.kept = new Map(); // sizes by key
    this.bytes = 0;
    this.running = false;
    this.refused = false;
  }

  /** Files that come from the database are there already. */
  has(job) {
    this.kept.set(job.key, job.size);
    this.bytes += job.size;
  }

  release(job) {
    if (!this.kept.has(job.key)) return;
    this.bytes -= this.kept.get(job.key);
    this.kept.delete(job.key);
    this.store.drop(job);
  }

  clear() {
    this.kept.clear();
    this.bytes = 0;
  }

  /** Whether a reload would lose files. */
  get incomplete() {
    return this.queue.jobs.some((job) => PENDING.includes(job.state) && !this.kept.has(job.key));
  }

  async run() {
    if (this.running || this.refused) return;
    this.running = true;
    for (const job of this.queue.jobs) {
      if (!PENDING.includes(job.state) || this.kept.has(job.key)) continue;
      if (this.bytes + job.size > MOST_BYTES) break;
      this.has(job);
      if (await this.store.keep(job)) continue;
      this.release(job);
      this.refused = true; // no room, or not allowed
      break;
    }
    this.running = false;
  }
}
