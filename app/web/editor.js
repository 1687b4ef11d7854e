/** Your words about a photo, as a form in place of the text. */

import { changePhoto } from "./api.js";
import { idOf } from "./cards.js";
import { text } from "./text.js";

const FIELDS = ["title", "caption", "category", "tags"];

export class Editor {
  /** `shown` is what the form takes the place of; `saved(fields)` gets what the server now has of the photo. */
  constructor(form, shown, saved) {
    Object.assign(this, { form, shown, saved, photo: null });
    this.note = form.querySelector(".note");
    form.addEventListener("submit", (event) => this.save(event));
    form.querySelector(".give-up").addEventListener("click", () => this.close());
    form.addEventListener("keydown", (event) => {
      event.stopPropagation(); // the keys of the lightbox are letters here
      if (event.key !== "Escape") return;
      event.preventDefault();
      this.close();
    });
  }

  open(photo) {
    this.photo = photo;
    for (const name of FIELDS) this.form.elements[name].value = [photo[name] ?? ""].flat().join(", ");
    this.before = this.values();
    this.tell("");
    this.toggle(true);
    this.form.elements.title.focus();
  }

  close() {
    if (this.form.hidden) return;
    const back = this.form.contains(document.activeElement);
    this.toggle(false);
    if (back) this.shown.querySelector("button").focus();
  }

  toggle(editing) {
    this.form.hidden = !editing;
    this.shown.hidden = editing;
  }

  values() {
    return Object.fromEntries(FIELDS.map((name) => [name, this.form.elements[name].value.trim()]));
  }

  /** Only what was changed is sent; an empty field lets the suggestion show again. */
  async save(event) {
    event.preventDefault();
    const { photo } = this;
    const now = this.values();
    const changed = FIELDS.filter((name) => now[name] !== this.before[name]);
    if (!changed.length) return this.close();
    this.tell(text.editor.saving);
    try {
      const changes = Object.fromEntries(changed.map((name) => [name, valueOf(name, now[name])]));
      const fields = await changePhoto(idOf(photo), changes);
      if (photo === this.photo) this.close();
      return this.saved(photo, fields);
    } catch (error) {
      return this.tell(error.message, true);
    }
  }

  tell(words, isError = false) {
    this.note.textContent = words;
    this.note.classList.toggle("error", isError);
  }
}

function valueOf(name, typed) {
  if (!typed) return null;
  return name === "tags" ? typed.split(",").map((tag) => tag.trim()).filter(Boolean) : typed;
}
