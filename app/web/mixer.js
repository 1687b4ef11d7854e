/** The parts of a combined question in a row: words, photos and pictures, each more or less wanted. */

import { thumbnail } from "./api.js";
import { pictureAddress, pictureOf } from "./pictures.js";
import { text } from "./text.js";

const template = document.getElementById("part");

export const partName = ({ words, name, image, photo }) =>
  words ?? name ?? pictureOf(image)?.name ?? text.page.photo(photo);
export const partAddress = ({ photo, image }, size) => (photo ? thumbnail(photo, size) : pictureAddress(image));

export class Mixer {
  /** `changed(parts)` is called with the new ones; `crop(part)` answers a promise of the part with another crop. */
  constructor(section, { changed, crop }) {
    Object.assign(this, { section, changed, crop, parts: null });
    this.list = section.querySelector("ul");
  }

  /** `parts` of the question that is shown now; undefined where it is none of parts. */
  show(parts) {
    this.section.hidden = !parts;
    if (JSON.stringify(parts) === JSON.stringify(this.parts)) return;
    this.parts = parts;
    this.list.replaceChildren(...(parts ?? []).map((part, index) => this.row(part, index)));
  }

  change(index, part) {
    this.parts = this.parts.with(index, part);
    this.changed(this.parts);
  }

  row(part, index) {
    const row = template.content.firstElementChild.cloneNode(true);
    row.querySelector(".part-name").textContent = partName(part);
    const image = row.querySelector("img");
    image.hidden = Boolean(part.words);
    if (!part.words) {
      image.src = partAddress(part, 160);
      image.addEventListener("error", () => (image.hidden = true), { once: true });
    }
    this.wireSign(row, index);
    this.wireWeight(row, index);
    this.wireCrop(row, index);
    const remove = row.querySelector(".part-remove");
    remove.ariaLabel = text.mixer.remove(partName(part));
    remove.addEventListener("click", () => this.remove(index));
    return row;
  }

  wireSign(row, index) {
    const button = row.querySelector(".sign");
    const show = () => {
      const less = this.parts[index].weight < 0;
      row.classList.toggle("less", less);
      button.textContent = less ? "−" : "+";
      button.ariaPressed = String(less);
      button.ariaLabel = text.mixer.less(partName(this.parts[index]));
    };
    button.addEventListener("click", () => {
      const part = this.parts[index];
      this.change(index, { ...part, weight: -part.weight });
      show();
    });
    show();
  }

  wireWeight(row, index) {
    const slider = row.querySelector("input");
    const output = row.querySelector("output");
    const show = () => (output.textContent = `× ${slider.value}`);
    slider.ariaLabel = text.mixer.weight(partName(this.parts[index]));
    slider.value = Math.abs(this.parts[index].weight);
    slider.addEventListener("input", show);
    slider.addEventListener("change", () => {
      const part = this.parts[index];
      this.change(index, { ...part, weight: Math.sign(part.weight) * Number(slider.value) });
    });
    show();
  }

  wireCrop(row, index) {
    const button = row.querySelector(".part-crop");
    const show = () => {
      const part = this.parts[index];
      button.hidden = Boolean(part.words);
      button.ariaPressed = String(Boolean(part.crop));
      button.ariaLabel = text.mixer.crop(partName(part));
    };
    button.addEventListener("click", async () => {
      const part = await this.crop(this.parts[index]);
      if (part) this.change(index, part);
      show();
    });
    show();
  }

  remove(index) {
    this.changed(this.parts.toSpliced(index, 1));
    (this.list.querySelector(".part-remove") ?? document.getElementById("words")).focus();
  }
}
