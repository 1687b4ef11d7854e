/**
 * The files on their way into the library: what state each is in, and how many and how many bytes that makes.
 *
 * A job is waiting, then sending, then working (the server has it), and ends as added, known or failed; or as
 * stopped, where somebody gave it up, or lost, where the browser has not kept its file.
 */

const UNFINISHED = ["waiting", "sending", "working"];
const ENDED = ["added", "known", "failed"];

export class Queue {
  /** `changed(job)` is called for whatever happens to a job. */
  constructor(changed) {
    this.changed = changed;
    this.clear();
  }

  clear() {
    this.jobs = [];
    this.counts = new Map();
    this.bytes = { total: 0, sent: 0, ended: 0, skipped: 0 };
  }

  add(job) {
    this.jobs.push(job);
    job.sent = 0;
    this.count(job, 1);
    this.changed(job);
  }

  /** `detail` says more than the state itself. */
  mark(job, state, detail = "") {
    this.count(job, -1);
    job.state = state;
    job.detail = detail;
    job.sent = state === "sending" ? job.sent : 0;
    this.count(job, 1);
    this.changed(job);
  }

  /** So many bytes of a job that is being sent have arrived. */
  arrived(job, bytes) {
    this.bytes.sent += bytes - job.sent;
    job.sent = bytes;
  }

  /** Only jobs that `keep(job)` holds for stay in the list. */
  retain(keep) {
    const jobs = this.jobs.filter(keep);
    this.clear();
    this.jobs = jobs;
    for (const job of jobs) this.count(job, 1);
  }

  of(...states) {
    return states.reduce((sum, state) => sum + (this.counts.get(state) ?? 0), 0);
  }

  get busy() {
    return this.of(...UNFINISHED) > 0;
  }

  get done() {
    return this.of(...ENDED);
  }

  /** 0 to 1 in bytes; each counts half when it has been sent, and half when its photo is through. */
  get share() {
    const { total, sent, ended } = this.bytes;
    return total ? (sent + ended) / (2 * total) : Number(this.of(...UNFINISHED) === 0);
  }

  count(job, sign) {
    this.counts.set(job.state, this.of(job.state) + sign);
    if (job.state === "stopped" || job.state === "lost") return;
    const ended = ENDED.includes(job.state);
    this.bytes.total += sign * job.size;
    this.bytes.ended += sign * (ended ? job.size : 0);
    this.bytes.skipped += sign * (job.state === "known" && !job.itemId ? job.size : 0);
    this.bytes.sent += sign * (ended || job.state === "working" ? job.size : job.sent);
  }
}
