/** Adding photos: from the files that somebody chose to the photos in the library, over reloads and bad lines. */

import { Follower } from "./follower.js";
import { Keeper } from "./keeper.js";
import { PAUSED } from "./names.js";
import { Panel } from "./panel.js";
import { Queue } from "./queue.js";
import { Recogniser } from "./recogniser.js";
import { forgetImport, photosOf } from "./requests.js";
import { Sender } from "./sender.js";
import { Store } from "./store.js";
import { giveUp } from "./tus.js";
import { text } from "../text_adding.js";

const MOST_SHOWN = 200; // new photos that the page is told of one by one

export class Adding {
  /** `added(photo)` is called for each photo that is new; `more(count)` for those after the first 200. */
  constructor({ added, more = () => {} }) {
    Object.assign(this, { added, more, shown: 0, number: 0 });
    this.queue = new Queue((job) => this.changed(job));
    this.store = new Store();
    this.keeper = new Keeper(this.queue, this.store);
    this.recogniser = new Recogniser((sorted) => this.recognised(sorted));
    this.follower = new Follower((pairs) => this.settled(pairs));
    this.sender = new Sender(this.queue, {
      accepted: (job, item) => this.accepted(job, item),
      started: (job) => this.store.note(job),
      trouble: (words) => this.panel.set({ trouble: words, paused: this.sender.paused }),
    });
    this.panel = new Panel(this.queue, this.buttons());
    addEventListener("beforeunload", (event) => this.keeper.incomplete && event.preventDefault());
  }

  buttons() {
    return {
      pause: () => this.pause(),
      resume: () => this.resume(),
      stop: () => this.stop(),
      retry: () => this.retry(),
      choose: () => document.getElementById("files").click(),
      close: () => this.close(),
    };
  }

  add(files) {
    if (!files.length) return;
    if (!this.queue.busy) this.resume();
    if (!this.queue.busy && !this.queue.of("lost")) this.forget();
    const found = this.foundAgain(files);
    const jobs = [...files].filter((file) => !found.has(file)).map((file) => this.newJob(file));
    for (const job of jobs) this.queue.add(job);
    this.recogniser.add([...found.values(), ...jobs]);
    this.store.flush(); // before the files themselves, which are of no use without it
    this.keeper.run();
    this.panel.open();
  }

  newJob(file) {
    const key = this.store.newKey((this.number += 1));
    const { session } = this.store;
    return { key, session, file, name: file.name, size: file.size, attempts: 0, state: "waiting" };
  }

  /** Jobs whose files were lost and are among these, by their file. */
  foundAgain(files) {
    const lost = new Map();
    for (const job of this.queue.jobs.filter(({ state }) => state === "lost")) {
      const alike = `${job.size} ${job.name}`;
      lost.set(alike, [...(lost.get(alike) ?? []), job]);
    }
    const found = new Map();
    for (const file of files) {
      const job = lost.get(`${file.size} ${file.name}`)?.shift();
      if (!job) continue;
      found.set(file, Object.assign(job, { file, sha256: null }));
      this.queue.mark(job, "waiting");
    }
    return found;
  }

  recognised({ known, twice, unreadable, unknown }) {
    for (const job of known) this.found(job, job.attempts > 0);
    for (const job of twice) this.queue.mark(job, "known", text.twice);
    for (const job of unreadable) this.queue.mark(job, "failed", text.unreadable);
    this.sender.add(unknown);
  }

  /** The server has the file, and it is safe there. */
  accepted(job, item) {
    Object.assign(job, { importId: item.importId, itemId: item.id, photoId: item.photo_id ?? null, upload: null });
    if (item.status === "known") return this.found(job, job.attempts > 1);
    if (item.status === "failed") return this.queue.mark(job, "failed", item.error ?? "");
    this.queue.mark(job, "working");
    return this.follower.follow(job);
  }

  /** The library has it: since earlier, or from an attempt of this list that came through without an answer. */
  found(job, sentBefore) {
    if (sentBefore) this.settled([[job, { status: "ready", photo_id: job.photoId }]]);
    else this.queue.mark(job, "known");
  }

  async settled(pairs) {
    const ready = pairs.filter(([, item]) => item?.status === "ready").map(([, item]) => item.photo_id);
    const shown = await photosOf(ready.slice(0, Math.max(0, MOST_SHOWN - this.shown))).catch(() => []);
    for (const photo of shown) this.added(photo);
    this.shown += shown.length;
    if (ready.length > shown.length) this.more(ready.length - shown.length);
    for (const [job, item] of pairs) {
      job.photoId = item?.photo_id ?? null;
      if (!item) this.queue.mark(job, "stopped", text.forgotten);
      else this.queue.mark(job, item.status === "ready" ? "added" : item.status, item.error ?? "");
    }
  }

  changed(job) {
    this.store.note(job);
    if (job.state === "added" || job.state === "known") {
      this.keeper.release(job);
      this.keeper.run();
    }
    if (!this.queue.busy) this.store.flush();
    this.panel.refresh();
  }

  pause() {
    this.sender.pause();
    localStorage.setItem(PAUSED, "1");
    this.panel.set({ paused: true, trouble: "" });
  }

  resume() {
    localStorage.removeItem(PAUSED);
    this.sender.resume();
  }

  /** What has not come in yet stays out, here and on the server. */
  async stop() {
    this.sender.pause();
    const left = this.queue.jobs.filter((job) => ["waiting", "sending", "working"].includes(job.state));
    const imports = [...this.follower.imports];
    for (const [importId, jobs] of imports) await this.follower.look(importId, jobs);
    const uploads = left.filter((job) => job.upload);
    for (const job of left) if (job.state !== "added" && job.state !== "known") this.queue.mark(job, "stopped");
    this.recogniser.clear();
    this.follower.clear();
    this.sender.clear();
    localStorage.removeItem(PAUSED);
    await Promise.all([...uploads.map(giveUp), ...imports.map(([importId]) => forgetImport(importId))]);
    for (const job of uploads) job.upload = null;
  }

  retry() {
    const again = this.queue.jobs.filter((job) => job.state === "failed" || job.state === "stopped");
    for (const job of again) {
      Object.assign(job, { attempts: 0, faults: 0, itemId: null });
      this.queue.mark(job, job.file ? "waiting" : "lost");
    }
    this.recogniser.add(again.filter((job) => job.file));
    this.panel.open();
  }

  /** Hides the list; what is on its way goes on. */
  close() {
    this.panel.close();
    if (!this.queue.busy) this.forget();
  }

  forget() {
    this.store.remove(this.queue.jobs);
    this.keeper.clear();
    this.recogniser.clear();
    this.queue.clear();
    this.shown = 0;
  }

  /** Goes on with what an earlier page has left. */
  async restore() {
    const jobs = await this.store.leftovers().catch(() => []);
    const open = jobs.filter((job) => ["waiting", "sending", "working", "lost", "failed"].includes(job.state));
    if (!open.length) return this.store.remove(jobs);
    if (localStorage.getItem(PAUSED)) this.sender.pause();
    for (const job of jobs) this.takeUp(job);
    this.recogniser.add(jobs.filter((job) => job.state === "waiting" || (job.state === "lost" && job.sha256)));
    this.panel.set({ paused: this.sender.paused });
    return this.panel.open();
  }

  takeUp(job) {
    if (job.file) this.keeper.has(job);
    if (job.state === "waiting" || job.state === "sending") job.state = job.file ? "waiting" : "lost";
    this.queue.add(job);
    if (job.state === "working") this.follower.follow(job);
  }
}
