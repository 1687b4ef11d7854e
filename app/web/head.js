/** The lines above the photos: what was asked, what was found, what it was narrowed to, in which order it stands. */

import { thumbnail } from "./api.js";
import { withFilter } from "./facets.js";
import { pictureAddress } from "./pictures.js";
import { headingOf, isLibrary, isNarrowed } from "./question.js";
import { text } from "./text.js";

const part = (id) => document.getElementById(id);

export class ResultsHead {
  /** `go(question)` and `goHome()` lead elsewhere; `crop()` asks for a part of the picture that was asked with. */
  constructor({ go, goHome, crop }) {
    Object.assign(this, { go, goHome });
    part("back").addEventListener("click", goHome);
    part("asked-with").addEventListener("click", crop);
    part("asked-with").firstElementChild.addEventListener("error", () => (part("asked-with").hidden = true));
    part("sort").addEventListener("change", ({ target }) => go({ ...this.question, sort: target.value || undefined }));
  }

  show(question) {
    this.question = question;
    const all = isLibrary(question) && !isNarrowed(question);
    const heading = headingOf(question);
    part("heading").textContent = heading;
    document.title = isLibrary(question) ? text.page.title : text.page.titleOf(heading);
    part("back").hidden = all;
    this.showPicture(question);
    this.showOrders(question);
  }

  showPicture({ photo, picture, crop }) {
    const button = part("asked-with");
    const image = button.firstElementChild;
    button.hidden = !photo && picture === undefined;
    if (button.hidden) return image.removeAttribute("src");
    image.src = photo ? thumbnail(photo, 160) : pictureAddress(picture);
    return button.classList.toggle("cropped", Boolean(crop));
  }

  showOrders(question) {
    const orders = isLibrary(question) ? text.sort.library : text.sort.results;
    part("sort").replaceChildren(...Object.entries(orders).map(([value, label]) => new Option(label, value)));
    part("sort").value = question.sort && question.sort in orders ? question.sort : "";
  }

  /** What of the words was read as a filter, and what was chosen as one; pressing it asks again without it. */
  showChips(question, read) {
    const list = part("chips");
    const chosen = Object.entries(question.filters).flatMap(([name, values]) =>
      [values].flat().map((value) => this.chip(text.facets.chip(name, value), () => this.go(without(question, name, value)))),
    );
    const understood = read.map(({ label, without: words }) =>
      this.chip(label, () => (words || isNarrowed(question) ? this.go({ ...question, words }) : this.goHome())),
    );
    list.replaceChildren(...understood, ...chosen);
    list.hidden = !list.childElementCount;
  }

  chip(label, press) {
    const item = part("chip-item").content.firstElementChild.cloneNode(true);
    const button = item.querySelector("button");
    item.querySelector("span").textContent = label;
    button.ariaLabel = text.results.searchWithout(label);
    button.addEventListener("click", press);
    return item;
  }

  say(words, isError = false) {
    part("status").textContent = words;
    part("status").classList.toggle("error", isError);
  }
}

function without(question, name, value) {
  const left = [question.filters[name]].flat().filter((other) => other !== value);
  return { ...question, filters: withFilter(question.filters, name, name === "tags_all" ? left : left[0]) };
}
