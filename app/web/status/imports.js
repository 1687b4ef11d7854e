/** The newest imports: how far each is, and what failed. */

import { text } from "../text_status.js";
import { element } from "./chart.js";
import { failures, retryImport } from "./requests.js";

const SHOWN = 50; // failures of one import

export class ImportList {
  constructor(list) {
    this.list = list;
    this.entries = new Map(); // by id; kept, so that what is open stays open
  }

  show(imports, paused) {
    const filled = imports.filter(({ total }) => total);
    const shown = filled.map((found) => this.entry(found.id).show(found, paused));
    const none = element("li", "", text.noImports);
    const wanted = shown.length ? shown : [none];
    if (wanted.some((item, i) => item !== this.list.children[i])) this.list.replaceChildren(...wanted);
  }

  entry(id) {
    if (!this.entries.has(id)) this.entries.set(id, new Entry(id));
    return this.entries.get(id);
  }
}

class Entry {
  constructor(id) {
    this.id = id;
    this.item = element("li", "import");
    this.title = element("h3", "");
    this.state = element("p", "import-state");
    this.bar = element("progress", "");
    this.details = element("details", "");
    this.summary = element("summary", "");
    this.reasons = element("ul", "reasons");
    this.answer = element("p", "");
    this.assemble();
  }

  assemble() {
    const retry = element("button", "button quiet", text.retry);
    retry.type = "button";
    retry.addEventListener("click", () => this.retry());
    this.answer.role = "status";
    this.details.append(this.summary, this.reasons, retry, this.answer);
    this.details.addEventListener("toggle", () => this.details.open && this.list());
    this.item.append(this.title, this.state, this.bar, this.details);
  }

  show(found, paused) {
    const { total, waiting, failed, finished, seconds_left: left } = found;
    this.title.textContent = text.importTitle(found.source, found.id);
    const told = [text.importState(found), !finished && left !== null && text.left(left), !finished && paused && text.paused(paused)];
    this.state.textContent = told.filter(Boolean).join(" · ");
    this.bar.hidden = finished;
    this.bar.ariaLabel = this.title.textContent;
    this.bar.value = (total - waiting) / total;
    this.details.hidden = !failed;
    this.summary.textContent = text.failures(failed);
    this.failed = failed;
    return this.item;
  }

  async list() {
    const items = await failures(this.id, SHOWN).catch(() => []);
    this.reasons.replaceChildren(...items.map((item) => element("li", "", `${item.name}: ${item.error}`)));
    this.answer.textContent = this.failed > items.length ? text.firstFailures(items.length) : "";
  }

  async retry() {
    try {
      const { retried } = await retryImport(this.id);
      this.answer.textContent = text.retried(retried);
    } catch (error) {
      this.answer.textContent = error.message;
    }
  }
}
