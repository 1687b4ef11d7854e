/**
 * What was chosen, kept in the browser's own database (IndexedDB) so that a reload of the page loses nothing:
 * names, sizes and states of all files, and the files themselves as long as that is not too much.
 */

import { UNFINISHED } from "./names.js";

const NAME = "recollect-adding";
const FIELDS = ["key", "session", "name", "size", "state", "detail", "sha256", "attempts", "photoId",
  "importId", "itemId", "upload"]; // prettier-ignore
const LOCK_MS = 5_000; // the page that was reloaded lets go of its lock within this time

export class Store {
  /** Jobs of this page belong to `session`; those of another page are left to it as long as it is open. */
  constructor() {
    this.session = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    this.database = open().catch(() => null); // some browsers refuse it in private windows: then nothing is kept
    this.dirty = new Set();
    this.timer = null;
    this.locked = lock(this.session);
    addEventListener("pagehide", () => this.flush());
  }

  newKey(number) {
    return `${this.session}/${number}`;
  }

  /** Writes the job down, soon and together with others. */
  note(job) {
    this.dirty.add(job);
    this.timer ??= setTimeout(() => this.flush(), 250);
  }

  async flush() {
    clearTimeout(this.timer);
    this.timer = null;
    const jobs = [...this.dirty];
    this.dirty.clear();
    if (!jobs.length) return;
    await this.write(["jobs"], (stores) => {
      for (const job of jobs) stores.jobs.put(recordOf(job));
    });
    localStorage.setItem(UNFINISHED, "1");
  }

  /** True if the file itself is kept now. */
  keep(job) {
    return this.write(["files"], (stores) => stores.files.put(job.file, job.key));
  }

  /** Lets go of the file, and writes down at the same moment why it is not needed any more. */
  drop(job) {
    return this.write(["jobs", "files"], (stores) => {
      stores.jobs.put(recordOf(job));
      stores.files.delete(job.key);
    });
  }

  /** Forgets jobs and their files. */
  remove(jobs) {
    for (const job of jobs) this.dirty.delete(job);
    return this.write(["jobs", "files"], (stores) => {
      for (const { key } of jobs) {
        stores.jobs.delete(key);
        stores.files.delete(key);
      }
      stores.jobs.count().onsuccess = ({ target }) => target.result || localStorage.removeItem(UNFINISHED);
    });
  }

  /** The jobs of pages that are closed, each with its `file` if that was kept; from now on they are this page's. */
  async leftovers() {
    const database = await this.database;
    if (!database) return [];
    const jobs = await answer(database.transaction("jobs").objectStore("jobs").getAll());
    const sessions = [...new Set(jobs.map((job) => job.session))];
    const free = await Promise.all(sessions.map(lock));
    const mine = jobs.filter((job) => free[sessions.indexOf(job.session)]);
    const files = database.transaction("files").objectStore("files");
    await Promise.all(mine.map(async (job) => {
      job.session = this.session;
      job.file = (await answer(files.get(job.key))) ?? null;
    })); // prettier-ignore
    return mine;
  }

  /** One transaction; false if the browser refused it, for instance for want of room. */
  async write(names, change) {
    const database = await this.database;
    if (!database) return false;
    return new Promise((resolve) => {
      const transaction = database.transaction(names, "readwrite");
      transaction.oncomplete = () => resolve(true);
      transaction.onabort = transaction.onerror = () => resolve(false);
      change(Object.fromEntries(names.map((name) => [name, transaction.objectStore(name)])));
    });
  }
}

const recordOf = (job) => Object.fromEntries(FIELDS.map((field) => [field, job[field] ?? null]));

function open() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("jobs", { keyPath: "key" });
    request.result.createObjectStore("files");
  };
  return answer(request);
}

function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Whether this page has the lock now; it keeps it until it is closed. Without locks every page has it. */
function lock(session) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    const held = () => {
      resolve(true);
      return new Promise(() => {});
    };
    const options = { signal: AbortSignal.timeout(LOCK_MS) };
    navigator.locks.request(`recollect-adding ${session}`, options, held).catch(() => resolve(false));
  });
}
