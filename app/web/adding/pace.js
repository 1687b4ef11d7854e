/** How long it will still take, from how fast it went lately. */

const WINDOW_MS = 30_000;
const SURE_MS = 3_000; // a shorter time says nothing

export class Pace {
  constructor() {
    this.reset();
  }

  /** After a pause, the time before it does not count. */
  reset() {
    this.samples = [];
  }

  /** Seconds until `share` is 1, or null while nobody can tell. */
  left(share, now = performance.now()) {
    this.samples.push({ share, now });
    while (now - this.samples[0].now > WINDOW_MS) this.samples.shift();
    const [first] = this.samples;
    const gained = share - first.share;
    if (now - first.now < SURE_MS || gained <= 0) return null;
    return ((1 - share) * (now - first.now)) / gained / 1000;
  }
}
