/** The microphone's button: press to start and press again to end, or hold it down while speaking. */

import { text } from "./text.js";

const MAX_MS = 15_000;
const HOLD_MS = 500;
const TICK_MS = 60;
const SILENT = 0.002; // root mean square; the quietest room is louder through a microphone that is on

export class Voice {
  /** `heard(file)` gets each recording; `say(words, isError)` tells what goes on. */
  constructor(button, panel, { heard, say }) {
    Object.assign(this, { button, panel, heard, say, recorder: null, starting: false, available: true });
    button.addEventListener("pointerdown", (event) => event.button || this.press());
    addEventListener("pointerup", () => this.release());
    button.addEventListener("click", (event) => event.detail || this.toggle()); // the keyboard's; the pointer's is done
    panel.querySelector(".done").addEventListener("click", () => this.recorder?.stop());
    panel.querySelector(".cancel").addEventListener("click", () => this.cancel());
  }

  press() {
    this.pressed = this.recorder ? null : performance.now();
    this.toggle();
  }

  release() {
    const held = this.pressed && performance.now() - this.pressed > HOLD_MS;
    this.pressed = null;
    if (held) this.recorder?.stop();
  }

  toggle() {
    if (this.recorder) return this.recorder.stop();
    return this.starting ? undefined : this.listen();
  }

  async listen() {
    if (!this.available) return this.say(text.voice.off, true);
    this.starting = true;
    try {
      const { startRecording } = await import("./microphone.js");
      this.recorder = await startRecording(MAX_MS);
    } catch (error) {
      return this.say(error.message, true);
    } finally {
      this.starting = false;
    }
    const peak = this.show();
    const file = await this.recorder.recording;
    this.hide();
    if (!file) return undefined;
    return peak() < SILENT ? this.say(text.voice.silent, true) : this.heard(file);
  }

  /** → a function that tells how loud it was at most. */
  show() {
    this.button.ariaPressed = "true";
    this.panel.hidden = false;
    this.say(text.voice.listening);
    const started = performance.now();
    let peak = 0;
    const tick = () => {
      const level = this.recorder?.level() ?? 0;
      peak = Math.max(peak, level);
      this.panel.style.setProperty("--level", Math.min(1, Math.sqrt(level) * 1.6).toFixed(3));
      this.panel.querySelector(".time").textContent = text.voice.time(performance.now() - started, MAX_MS);
    };
    tick();
    this.ticking = setInterval(tick, TICK_MS);
    return () => peak;
  }

  hide() {
    clearInterval(this.ticking);
    this.recorder = null;
    this.button.ariaPressed = "false";
    if (this.panel.contains(document.activeElement)) this.button.focus();
    this.panel.hidden = true;
  }

  cancel() {
    if (!this.recorder) return;
    this.recorder.cancel();
    this.say("");
  }
}
