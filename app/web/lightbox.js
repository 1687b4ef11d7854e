/** One photo at a time, large, with what is known about it. */

import { deletePhoto, heatMap, photoDetail, searchSimilar, thumbnail } from "./api.js";
import { altOf, fillVotes, idOf, nameOf, showPlaceholder } from "./cards.js";
import { Editor } from "./editor.js";
import { factsOf } from "./facts.js";
import { text } from "./text.js";
import { reasons } from "./why.js";
import { Zoom } from "./zoom.js";

const part = (name) => document.getElementById(`lb-${name}`);
const confirmation = document.getElementById("confirm");
const keys = document.getElementById("keys");
const STRIP = 12;
const REST_MS = 250; // a photo that is only passed by is not asked about
const PAN_PX = 80;

export class Lightbox {
  /**
   * `on` holds similar(photo), combine(photo), crop(photo), vote(photo, ±1), changed(photo, words), deleted(photo),
   * closed(photo) and failed(error).
   */
  constructor(on) {
    this.on = on;
    this.dialog = document.getElementById("lightbox");
    this.zoom = new Zoom(part("stage"), part("sheet"), (direction) => this.step(direction));
    this.editor = new Editor(part("form"), part("words-about"), (photo, fields) => this.saved(photo, fields));
    this.wireButtons();
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => this.closed());
    part("image").addEventListener("error", () => this.fallBack());
    part("heat").addEventListener("load", () => this.tell(""));
    part("heat").addEventListener("error", () => this.tell(text.lightbox.noHeat));
  }

  wireButtons() {
    const press = {
      close: () => this.dialog.close(),
      previous: () => this.step(-1),
      next: () => this.step(1),
      similar: () => this.leave(this.on.similar),
      combine: () => this.leave(this.on.combine),
      crop: () => this.leave(this.on.crop),
      delete: () => this.remove(),
      edit: () => this.editor.open(this.photo),
      info: () => this.toggleInfo(),
      "heat-map": () => this.toggleHeat(),
      "zoom-in": () => this.zoom.by(1.5),
      "zoom-out": () => this.zoom.by(1 / 1.5),
      keys: () => keys.showModal(),
    };
    for (const [name, action] of Object.entries(press)) part(name).addEventListener("click", action);
  }

  /**
   * `source` is the list to walk: {photos(), hasMore(), more(), words}; `more()` promises whether it has grown, and
   * `words` is what was asked for, if that was words.
   */
  open(photo, source) {
    this.source = source;
    this.origin = photo;
    this.show(photo);
    if (!this.dialog.open) this.dialog.showModal();
  }

  show(photo) {
    this.photo = photo;
    this.editor.close();
    this.zoom.reset();
    this.showPicture(photo);
    this.showWords(photo);
    this.showFacts(photo);
    fillVotes(part("votes"), photo, photo.why && this.on.vote);
    part("why").replaceChildren(...reasons(photo).map((line) => element("li", line)));
    part("why-box").hidden = !photo.why;
    this.showHeat(false);
    part("heat-map").hidden = !this.source.words || !photo.url;
    part("strip").replaceChildren();
    part("strip-box").hidden = true;
    this.showSteps();
    this.learnMore(photo);
  }

  get place() {
    return this.source.photos().indexOf(this.photo);
  }

  showSteps() {
    part("previous").disabled = this.place <= 0;
    part("next").disabled = this.place >= this.source.photos().length - 1 && !this.source.hasMore();
  }

  showPicture(photo) {
    const image = part("image");
    image.hidden = !photo.url;
    part("words").hidden = Boolean(photo.url);
    part("words").textContent = altOf(photo);
    for (const name of ["original", "crop"]) part(name).hidden = !photo.url;
    image.style.removeProperty("background-image");
    image.removeAttribute("src"); // else the photo before stays until this one has come
    if (!photo.url) return;
    image.alt = altOf(photo);
    showPlaceholder(image, photo.placeholder);
    image.src = photo.url;
    part("original").href = photo.url;
    part("original").download = photo.filename;
  }

  /** Browsers cannot show every original (HEIC, TIFF); its thumbnail they can. */
  fallBack() {
    const large = thumbnail(idOf(this.photo), 1280);
    if (!part("image").src.endsWith(large)) part("image").src = large;
  }

  showWords(photo) {
    part("title").textContent = nameOf(photo);
    part("caption").textContent = photo.caption ?? "";
    part("category").textContent = photo.category ?? "";
    for (const name of ["caption", "category"]) part(name).hidden = !photo[name];
    part("tags").replaceChildren(...photo.tags.map((tag) => element("li", tag)));
    part("tags").hidden = !photo.tags.length;
  }

  showFacts(photo) {
    const rows = factsOf(photo).flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
    part("facts").replaceChildren(...rows);
  }

  /** Details and photos like it, once it has been looked at for a moment. */
  learnMore(photo) {
    this.askNoMore();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const ask = async () => {
      const [detail, alike] = await Promise.all([
        photoDetail(idOf(photo), signal),
        searchSimilar(idOf(photo), { k: STRIP }, signal),
      ]);
      if (signal.aborted) return;
      this.showFacts({ ...photo, ...detail });
      this.showStrip(alike.results);
    };
    const failed = (error) => error.name === "AbortError" || this.tell(error.message);
    this.resting = setTimeout(() => ask().catch(failed), REST_MS);
  }

  askNoMore() {
    this.asking?.abort();
    clearTimeout(this.resting);
  }

  showStrip(photos) {
    const list = photos.map(({ why, ...photo }) => photo); // they answer another question than the results
    const source = { photos: () => list, hasMore: () => false, more: async () => false, aside: true };
    const pictures = list.filter((photo) => photo.thumbnail_url);
    part("strip").replaceChildren(...pictures.map((photo) => this.stripItem(photo, source)));
    part("strip-box").hidden = !part("strip").childElementCount;
  }

  stripItem(photo, source) {
    const [item, button, image] = ["li", "button", "img"].map((name) => document.createElement(name));
    image.alt = altOf(photo);
    image.src = thumbnail(idOf(photo), 160);
    button.type = "button";
    button.title = nameOf(photo);
    button.append(image);
    button.addEventListener("click", () => {
      this.source = source;
      this.show(photo);
      part("next").focus();
    });
    item.append(button);
    return item;
  }

  async step(direction) {
    const { photo, source } = this;
    const next = this.place + direction;
    if (next >= source.photos().length && !(await source.more())) return this.showSteps();
    const found = source.photos()[next];
    if (found && this.photo === photo) this.show(found);
    return undefined;
  }

  key(event) {
    if (confirmation.open || keys.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const pan = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const press = {
      ArrowLeft: "previous", ArrowRight: "next", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", i: "info",
      h: "heat-map", e: "edit", s: "similar", c: "combine", d: "original", "?": "keys", Delete: "delete",
    }[event.key];
    if (pan && this.zoom.scale > 1) this.zoom.pan(pan[0] * PAN_PX, pan[1] * PAN_PX);
    else if (event.key === "0") this.zoom.reset();
    else if (press && !part(press).hidden) part(press).click();
    else return;
    event.preventDefault();
  }

  toggleInfo() {
    const hidden = this.dialog.classList.toggle("bare");
    part("info").ariaPressed = String(!hidden);
    this.zoom.reset();
  }

  toggleHeat() {
    this.showHeat(part("heat").hidden);
  }

  showHeat(shown) {
    part("heat").hidden = !shown;
    part("heat-map").ariaPressed = String(shown);
    this.tell(shown ? text.lightbox.heatComes : "");
    if (shown) part("heat").src = heatMap(idOf(this.photo), this.source.words);
    else part("heat").removeAttribute("src");
  }

  tell(words) {
    part("note").textContent = words;
  }

  voted(photo) {
    if (this.dialog.open && photo === this.photo) fillVotes(part("votes"), photo, this.on.vote);
  }

  saved(photo, fields) {
    const { title, caption, category, tags } = fields;
    Object.assign(photo, { title, caption, category, tags });
    if (photo === this.photo) this.showWords(photo);
    this.tell(text.editor.saved);
    this.on.changed(photo, { title, caption, category, tags });
  }

  leave(action) {
    this.origin = null;
    this.dialog.close();
    action(this.photo);
  }

  closed() {
    this.askNoMore();
    this.showHeat(false);
    part("image").removeAttribute("src");
    if (this.origin) this.on.closed(this.place < 0 || this.source.aside ? this.origin : this.photo);
  }

  async remove() {
    const { photo, source } = this;
    if (!(await confirmed(nameOf(photo)))) return;
    this.askNoMore();
    try {
      await deletePhoto(idOf(photo));
    } catch (error) {
      this.dialog.close();
      this.on.failed(error);
      return;
    }
    const photos = source.photos();
    const next = photos[this.place + 1] ?? photos[this.place - 1];
    if (next) this.show(next);
    else this.dialog.close();
    this.on.deleted(photo);
    this.showSteps();
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

function element(name, words) {
  const made = document.createElement(name);
  made.textContent = words;
  return made;
}
