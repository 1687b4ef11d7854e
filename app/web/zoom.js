/** Zooms into what lies on a stage and moves it: wheel, pinch, double click, drag. Unzoomed, a swipe turns the page. */

const MOST = 8;
const SWIPE_PX = 60;

export class Zoom {
  /** `sheet` lies in `stage` and fills it; `swiped(direction)` is called with −1 or 1. */
  constructor(stage, sheet, swiped) {
    Object.assign(this, { stage, sheet, swiped, pointers: new Map() });
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("dblclick", (event) => this.doubleClick(event));
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.up(event, name));
    this.reset();
  }

  reset() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
    this.apply();
  }

  /** Times `factor`, with the point under the pointer, or the middle, in its place; 0 is back to all of it. */
  by(factor, at = null) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    const [x, y] = at ? [at.clientX - left - width / 2, at.clientY - top - height / 2] : [0, 0];
    const scale = Math.min(MOST, Math.max(1, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.apply();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.apply();
  }

  apply() {
    const { clientWidth, clientHeight } = this.stage;
    const within = (value, size) => {
      const most = ((this.scale - 1) * size) / 2;
      return Math.min(most, Math.max(-most, value));
    };
    this.x = within(this.x, clientWidth);
    this.y = within(this.y, clientHeight);
    this.sheet.style.transform = this.scale === 1 ? "" : `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.stage.classList.toggle("zoomed", this.scale > 1);
  }

  doubleClick(event) {
    if (!event.target.closest("button")) this.by(this.scale > 1 ? 0 : 2.5, event);
  }

  wheel(event) {
    event.preventDefault();
    this.by(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 400)), event);
  }

  down(event) {
    if (event.button || event.target.closest("button")) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.start = this.pointers.size === 1 && this.scale === 1 && event.pointerType !== "mouse" ? event : null;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 2) this.pinch(before, event);
    else if (this.scale > 1) this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    this.pointers.set(event.pointerId, event);
  }

  pinch(before, now) {
    const [other] = [...this.pointers.values()].filter((pointer) => pointer.pointerId !== now.pointerId);
    const distance = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
    const middle = { clientX: (now.clientX + other.clientX) / 2, clientY: (now.clientY + other.clientY) / 2 };
    this.by(distance(now) / distance(before), middle);
  }

  up(event, name) {
    const { start } = this;
    this.pointers.delete(event.pointerId);
    this.start = null;
    if (!start || name === "pointercancel" || this.scale > 1) return;
    const [x, y] = [event.clientX - start.clientX, event.clientY - start.clientY];
    if (Math.abs(x) > SWIPE_PX && Math.abs(x) > 2 * Math.abs(y)) this.swiped(x < 0 ? 1 : -1);
  }
}
