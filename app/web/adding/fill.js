/** Puts the words of text_adding.js into the elements that name them, by data-adding and data-adding-label. */

import { text } from "../text_adding.js";

const found = (path) => path.split(".").reduce((place, name) => place[name], text);

export function fillTexts() {
  for (const element of document.querySelectorAll("[data-adding]")) element.textContent = found(element.dataset.adding);
  for (const element of document.querySelectorAll("[data-adding-label]")) {
    element.ariaLabel = found(element.dataset.addingLabel);
  }
}
