/** The values of the last minutes; a reload of the page keeps them. */

const KEY = "recollect-status";
const MOST = 400; // 20 minutes at one in three seconds

export class History {
  constructor() {
    this.samples = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  }

  /** `values` by name; null where there is none. */
  add(values, now = Date.now()) {
    this.samples.push({ now, ...values });
    this.samples = this.samples.slice(-MOST);
    sessionStorage.setItem(KEY, JSON.stringify(this.samples));
  }

  /** Points {at, value} of one of the names. */
  of(name) {
    return this.samples
      .filter((sample) => sample[name] !== null && sample[name] !== undefined)
      .map((sample) => ({ at: sample.now, value: sample[name] }));
  }
}
