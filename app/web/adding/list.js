/** The list of files: however long it is, only the rows in sight exist. All rows have one height. */

const ROW_REM = 2.9; // as in uploads.css
const SPARE = 4; // rows above and below those in sight

export class FileList {
  /** `fill(row, job)` writes a job into an empty <li>. */
  constructor(scroller, list, fill) {
    Object.assign(this, { scroller, list, fill });
    this.jobs = [];
    this.drawn = "";
    this.touched = false; // from then on nobody else scrolls
    this.height = ROW_REM * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
    scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    for (const kind of ["pointerdown", "wheel", "keydown"]) {
      scroller.addEventListener(kind, () => (this.touched = true), { passive: true });
    }
  }

  /** Shows these jobs; the list stays where it is, or goes along to the job of number `current`. */
  show(jobs, current) {
    this.jobs = jobs;
    this.draw();
    if (this.touched || current < 0) return;
    const top = Math.max(0, current - 1) * this.height;
    if (Math.abs(this.scroller.scrollTop - top) >= this.height) this.scroller.scrollTop = top;
  }

  draw() {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / this.height) - SPARE);
    const last = Math.min(this.jobs.length, Math.ceil((scrollTop + clientHeight) / this.height) + SPARE);
    const shown = this.jobs.slice(first, last);
    const drawn = JSON.stringify([first, this.jobs.length, shown.map((job) => [job.key, job.state, job.detail])]);
    if (drawn === this.drawn) return; // rows stay the same elements while somebody reads them
    this.drawn = drawn;
    this.list.style.paddingBlock = `${first * this.height}px ${(this.jobs.length - last) * this.height}px`;
    this.list.replaceChildren(...shown.map((job, i) => this.row(job, first + i + 1)));
  }

  row(job, number) {
    const row = document.createElement("li");
    row.ariaSetSize = String(this.jobs.length);
    row.ariaPosInSet = String(number);
    this.fill(row, job);
    return row;
  }
}
