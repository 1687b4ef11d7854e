/**
 * How much is sent at a time. On a line that breaks or is slow it is little, so that little is lost when it
 * breaks again; on a good one it is more, for fewer requests. Larger files than this go in parts.
 */

const SMALLEST = 256 * 2 ** 10;
const LARGEST = 32 * 2 ** 20; // proxies refuse requests over some size, often 100 MB
const FAST_MS = 1_500;
const SLOW_MS = 8_000;

export class Line {
  constructor(bite = 8 * 2 ** 20) {
    this.bite = bite;
    this.breaks = 0; // one after the other
  }

  /** A request of so many bytes came through. */
  held(bytes, ms) {
    this.breaks = 0;
    if (ms > SLOW_MS) this.bite = Math.max(SMALLEST, this.bite / 2);
    else if (ms < FAST_MS && bytes > this.bite / 2) this.bite = Math.min(LARGEST, this.bite * 2);
  }

  /** The server could not be reached. Returns the seconds to wait: 1, 2, 4 … 30. */
  broke() {
    this.bite = Math.max(SMALLEST, this.bite / 2);
    this.breaks += 1;
    return Math.min(30, 2 ** (this.breaks - 1));
  }
}
