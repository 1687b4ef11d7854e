/**
 * Brings files to the server: small ones together in one request, large ones in parts, two requests at a
 * time. A server that is busy or out of reach is waited for; what is wrong with a file ends only that file.
 */

import { text } from "../text_adding.js";
import { Line } from "./line.js";
import { openImport, sendTogether } from "./requests.js";
import { sendInParts } from "./tus.js";

const AT_ONCE = 2;
const MOST_FILES = 100; // of one request
const MOST_FAULTS = 5; // of a file that the server fails at
const HALTING = [401, 403, 507]; // somebody has to sign in, or to make room
const PASSING = [404, 408, 429];
const LONGEST_WAIT_S = 60;

export class Sender {
  /**
   * `accepted(job, item)` is called for each file that the server has taken, with its item of the import;
   * `started(job)` when another page has to know of it; `trouble(words)` when nothing
   * goes on for a while, with "" once it does.
   */
  constructor(queue, { accepted, started, trouble }) {
    Object.assign(this, { queue, accepted, started, trouble });
    this.ready = [];
    this.line = new Line();
    this.importId = null;
    this.paused = false;
    this.running = 0;
    this.timer = null; // of a wait for the server
    this.stopper = new AbortController();
    addEventListener("online", () => this.wake());
  }

  add(jobs) {
    this.ready = this.ready.concat(jobs);
    this.pump();
  }

  /** Breaks off what is under way; it goes on later where it was. */
  pause() {
    this.paused = true;
    this.stopper.abort();
    this.stopper = new AbortController();
  }

  resume() {
    this.paused = false;
    this.trouble("");
    this.wake();
  }

  /** Forgets what is to be sent. */
  clear() {
    this.pause();
    this.ready = [];
    this.importId = null;
    this.resume();
  }

  wake() {
    clearTimeout(this.timer);
    this.timer = null;
    this.pump();
  }

  pump() {
    const most = this.importId ? AT_ONCE : 1; // the first request opens the import for all
    while (!this.paused && !this.timer && this.running < most && this.ready.length) {
      this.running += 1;
      this.deliver(this.parcel()).finally(() => {
        this.running -= 1;
        this.pump();
      });
    }
  }

  /** A file that goes in parts by itself, or small ones up to a bite. */
  parcel() {
    const [first] = this.ready;
    let bytes = first.size;
    let end = 1;
    while (!this.inParts(first) && end < Math.min(MOST_FILES, this.ready.length)) {
      const next = this.ready[end];
      bytes += next.size;
      if (bytes > this.line.bite || this.inParts(next)) break;
      end += 1;
    }
    return this.ready.splice(0, end);
  }

  inParts(job) {
    return job.size > this.line.bite || Boolean(job.upload);
  }

  async deliver(jobs) {
    const { signal } = this.stopper;
    const [first] = jobs;
    const inParts = this.inParts(first);
    for (const job of jobs) this.queue.mark(job, "sending");
    try {
      this.importId ??= await openImport(signal);
      for (const job of jobs) this.attempt(job);
      await (inParts ? this.sendLarge(first, signal) : this.sendSmall(jobs, signal));
      this.trouble("");
    } catch (error) {
      await this.failUnreadable(jobs.filter((job) => job.state === "sending"));
      this.sentBack(jobs.filter((job) => job.state === "sending"), error);
    }
  }

  attempt(job) {
    job.attempts += 1;
    this.started(job);
  }

  async sendSmall(jobs, signal) {
    const began = performance.now();
    const progress = (bytes) => {
      for (const job of jobs) {
        this.queue.arrived(job, Math.min(job.size, Math.max(0, bytes)));
        bytes -= job.size;
      }
    };
    const items = await sendTogether(jobs.map((job) => job.file), this.importId, { signal, progress });
    this.line.held(jobs.reduce((sum, job) => sum + job.size, 0), performance.now() - began);
    jobs.forEach((job, i) => this.accepted(job, { ...items[i], importId: this.importId }));
  }

  async sendLarge(job, signal) {
    const { itemId, importId } = await sendInParts(job, {
      line: this.line,
      importId: this.importId,
      signal,
      arrived: (bytes) => this.queue.arrived(job, bytes),
      started: () => this.started(job),
    });
    this.accepted(job, { id: itemId, importId, status: "pending" });
  }

  /** A file that was moved or changed meanwhile looks like a broken line. */
  async failUnreadable(jobs) {
    const able = await Promise.all(jobs.map((job) => job.file.slice(0, 1).arrayBuffer().then(() => true, () => false)));
    jobs.forEach((job, i) => able[i] || this.queue.mark(job, "failed", text.unreadable));
  }

  sentBack(jobs, error) {
    const { status, retryAfter } = error;
    if (error.name === "AbortError") return this.putBack(jobs);
    if (status === 0) return this.waitFor(() => this.line.broke(), text.unreachable, jobs);
    if (HALTING.includes(status)) return this.halt(error.message, jobs);
    if (status === 404) this.importId = null; // somebody has forgotten it
    const again = PASSING.includes(status) || status >= 500;
    if (retryAfter !== null && again) return this.waitFor(() => retryAfter, text.busy, jobs);
    for (const job of jobs) job.faults = (job.faults ?? 0) + 1;
    const left = jobs.filter((job) => again && job.faults < MOST_FAULTS);
    for (const job of jobs) if (!left.includes(job)) this.queue.mark(job, "failed", error.message);
    return left.length ? this.waitFor(() => 2 ** (left[0].faults - 1), text.busy, left) : undefined;
  }

  waitFor(seconds, words, jobs) {
    this.putBack(jobs);
    if (this.timer || this.paused) return; // another request has met the same
    const wait = Math.max(1, Math.min(LONGEST_WAIT_S, seconds()));
    this.trouble(words(wait));
    this.timer = setTimeout(() => this.wake(), 1000 * wait);
  }

  /** What no waiting mends: it goes on when somebody says so. */
  halt(reason, jobs) {
    this.pause();
    this.putBack(jobs);
    this.trouble(text.halted(reason));
  }

  putBack(jobs) {
    for (const job of jobs) this.queue.mark(job, "waiting");
    this.ready = jobs.concat(this.ready);
  }
}
