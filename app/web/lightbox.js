/** One photo at a time, large, with what is known about it. Walks the cards of the grid. */

import { deletePhoto, thumbnail } from "./api.js";
import { altOf, idOf, nameOf, photoOf } from "./cards.js";

const part = (name) => document.getElementById(`lb-${name}`);
const confirmation = document.getElementById("confirm");

export class Lightbox {
  /** `on` holds similar(photo), deleted(card) and failed(error). */
  constructor(on) {
    this.on = on;
    this.dialog = document.getElementById("lightbox");
    this.card = null;
    part("close").addEventListener("click", () => this.dialog.close());
    part("previous").addEventListener("click", () => this.step(-1));
    part("next").addEventListener("click", () => this.step(1));
    part("similar").addEventListener("click", () => this.similar());
    part("delete").addEventListener("click", () => this.remove());
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog || event.target.className === "stage") this.dialog.close();
    });
    this.dialog.addEventListener("close", () => this.card?.querySelector(".open").focus());
    part("image").addEventListener("error", () => this.fallBack());
  }

  open(card) {
    this.show(card);
    this.dialog.showModal();
  }

  show(card) {
    this.card = card;
    const photo = photoOf(card);
    this.showPicture(photo);
    part("title").textContent = nameOf(photo);
    part("caption").textContent = photo.caption ?? "";
    part("caption").hidden = !photo.caption;
    part("tags").replaceChildren(...photo.tags.map(tagItem));
    part("facts").textContent = facts(photo);
    part("previous").disabled = !card.previousElementSibling;
    part("next").disabled = !card.nextElementSibling;
  }

  showPicture(photo) {
    const image = part("image");
    image.hidden = !photo.url;
    part("words").hidden = Boolean(photo.url);
    part("words").textContent = altOf(photo);
    part("original").hidden = !photo.url;
    if (!photo.url) return;
    image.alt = altOf(photo);
    image.width = photo.width ?? 1280;
    image.height = photo.height ?? 960;
    image.src = photo.url;
    part("original").href = photo.url;
  }

  /** Browsers cannot show every original (HEIC, TIFF); its thumbnail they can. */
  fallBack() {
    if (!this.card) return;
    const large = thumbnail(idOf(photoOf(this.card)), 1280);
    if (!part("image").src.endsWith(large)) part("image").src = large;
  }

  step(direction) {
    const next = direction < 0 ? this.card.previousElementSibling : this.card.nextElementSibling;
    if (next) this.show(next);
  }

  key(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction || confirmation.open) return;
    event.preventDefault();
    this.step(direction);
  }

  similar() {
    const photo = photoOf(this.card);
    this.card = null;
    this.dialog.close();
    this.on.similar(photo);
  }

  async remove() {
    const { card } = this;
    if (!(await confirmed(nameOf(photoOf(card))))) return;
    try {
      await deletePhoto(idOf(photoOf(card)));
    } catch (error) {
      this.dialog.close();
      this.on.failed(error);
      return;
    }
    const next = card.nextElementSibling ?? card.previousElementSibling;
    if (next) this.show(next);
    else this.dialog.close();
    this.on.deleted(card);
  }
}

function confirmed(name) {
  document.getElementById("confirm-name").textContent = name;
  confirmation.returnValue = "keep";
  confirmation.showModal();
  return new Promise((resolve) => {
    confirmation.addEventListener("close", () => resolve(confirmation.returnValue === "delete"), { once: true });
  });
}

function tagItem(tag) {
  const item = document.createElement("li");
  item.textContent = tag;
  return item;
}

function facts(photo) {
  const day = photo.taken_at ?? photo.created_at;
  return [
    photo.title && photo.filename,
    photo.width && `${photo.width} × ${photo.height}`,
    day && new Date(day).toLocaleDateString(undefined, { dateStyle: "medium" }),
    photo.camera,
  ].filter(Boolean).join(" · ");
}
