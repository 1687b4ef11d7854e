/** One photo of the grid: its picture, its score, and what can be done with it. */

import { thumbnail } from "./api.js";
import { text } from "./text.js";

const template = document.getElementById("card");

/** Lists name a photo `id`, search results name it `photo_id`. */
export const idOf = (photo) => photo.photo_id ?? photo.id;
export const nameOf = (photo) => photo.title || photo.filename || photo.caption || text.page.photo(idOf(photo));
export const altOf = (photo) => photo.caption || nameOf(photo);

/**
 * A card for `photo`; `answered` says whether it answers a search, or stands in the library, where there is
 * nothing to score or to vote on. `on` holds open, similar, combine and vote(photo, ±1).
 */
export function makeCard(photo, answered, on) {
  const card = template.content.firstElementChild.cloneNode(true);
  card.dataset.id = idOf(photo);
  fillPicture(card, photo);
  const name = card.querySelector(".name");
  name.textContent = name.title = nameOf(photo);
  card.querySelector(".open").addEventListener("click", () => on.open(photo));
  for (const action of ["similar", "combine"]) {
    const button = card.querySelector(`.${action}`);
    button.ariaLabel = text.card[`${action}To`](nameOf(photo));
    button.addEventListener("click", () => on[action](photo));
  }
  if (answered) fillScore(card, photo);
  fillVotes(card, photo, answered && on.vote);
  return card;
}

function fillPicture(card, photo) {
  const image = card.querySelector("img");
  const words = card.querySelector(".words");
  words.textContent = altOf(photo);
  const showWords = () => {
    image.hidden = true;
    words.hidden = false;
  };
  if (!photo.thumbnail_url) return showWords();
  image.alt = altOf(photo);
  image.addEventListener("error", showWords, { once: true });
  showPlaceholder(image, photo.placeholder);
  image.srcset = `${thumbnail(idOf(photo), 320)} 320w, ${thumbnail(idOf(photo), 640)} 640w`;
  image.src = thumbnail(idOf(photo), 320);
}

/** A blurred picture that came with the answer, until the thumbnail has loaded. */
export function showPlaceholder(image, placeholder) {
  if (!placeholder) return;
  image.style.backgroundImage = `url("${placeholder}")`;
  image.addEventListener("load", () => image.style.removeProperty("background-image"), { once: true });
}

function fillScore(card, photo) {
  const score = card.querySelector(".score");
  score.hidden = false;
  score.title = text.card.scores(photo.score, photo.similarity);
  score.querySelector(".number").textContent = photo.score.toFixed(2);
  score.querySelector(".bar span").style.inlineSize = `${100 * photo.score}%`;
}

/** Also for the buttons of the lightbox; without `vote` they are hidden. */
export function fillVotes(root, photo, vote) {
  for (const button of root.querySelectorAll(".vote")) {
    const value = Number(button.dataset.vote);
    button.hidden = !vote;
    button.ariaLabel = text.card.vote(value, nameOf(photo));
    button.ariaPressed = String((photo.vote ?? 0) === value);
    button.onclick = () => vote(photo, value);
  }
}
