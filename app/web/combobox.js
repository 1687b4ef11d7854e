/** A text field with a list of suggestions (ARIA combobox): arrow keys choose, Enter takes, Escape closes. */

export class Combobox {
  /** `suggest(typed)` → [{kind, label}], or a promise of it; `choose(suggestion)` is called for the one taken. */
  constructor(input, list, { suggest, choose }) {
    Object.assign(this, { input, list, suggest, choose, found: [], at: -1, asked: 0, isAsking: false });
    input.addEventListener("input", () => this.open());
    input.addEventListener("click", () => this.open());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.key(event));
    list.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
    list.addEventListener("click", (event) => this.take(this.found[event.target.closest("li")?.dataset.index]));
  }

  get isOpen() {
    return !this.list.hidden;
  }

  async open() {
    const asked = ++this.asked;
    this.isAsking = true;
    const found = await this.suggest(this.input.value);
    if (asked !== this.asked) return;
    this.isAsking = false;
    if (document.activeElement !== this.input) return;
    this.found = found;
    this.list.replaceChildren(...found.map((suggestion, index) => this.option(suggestion, index)));
    this.list.hidden = !found.length;
    this.input.ariaExpanded = String(found.length > 0);
    this.mark(-1);
  }

  option({ kind, label }, index) {
    const item = document.createElement("li");
    const [name, hint] = [document.createElement("span"), document.createElement("small")];
    item.id = `${this.list.id}-${index}`;
    item.role = "option";
    item.dataset.index = index;
    name.textContent = label;
    hint.textContent = kind;
    item.append(name, hint);
    return item;
  }

  close() {
    this.asked += 1;
    this.isAsking = false;
    this.list.hidden = true;
    this.input.ariaExpanded = "false";
    this.mark(-1);
  }

  mark(index) {
    this.at = index;
    for (const [number, item] of [...this.list.children].entries()) item.ariaSelected = String(number === index);
    const marked = this.list.children[index];
    if (marked) this.input.setAttribute("aria-activedescendant", marked.id);
    else this.input.removeAttribute("aria-activedescendant");
    marked?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (this.isOpen) this.mark(this.next(step));
      else this.open();
    } else if (event.key === "Enter") {
      if (this.isOpen && this.at >= 0) event.preventDefault();
      this.take(this.found[this.at]);
      this.close();
    } else if (event.key === "Escape" && (this.isOpen || this.isAsking)) {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    }
  }

  /** Round and round, with the field itself between the last and the first. */
  next(step) {
    const count = this.found.length + 1;
    return ((this.at + 1 + step + count) % count) - 1;
  }

  take(suggestion) {
    if (!suggestion) return;
    this.close();
    this.choose(suggestion);
  }
}
