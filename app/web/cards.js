/** One photo of the grid: its picture, its score, its votes. */

import { addVote, removeVote, thumbnail } from "./api.js";

const template = document.getElementById("card");
const photos = new WeakMap();

/** The photo that a card of the grid stands for, as the API described it. */
export function photoOf(card) {
  return photos.get(card);
}

/** Lists name a photo `id`, search results name it `photo_id`. */
export function idOf(photo) {
  return photo.photo_id ?? photo.id;
}

export function nameOf(photo) {
  return photo.title || photo.filename || photo.caption || `Photo ${idOf(photo)}`;
}

export function altOf(photo) {
  return photo.caption || nameOf(photo);
}

/**
 * A card for `photo`. `answer` is the search it answers ({query, query_id}), or null in the library,
 * where there is nothing to score or to vote on. `on` holds open(card), similar(photo), failed(error).
 */
export function makeCard(photo, answer, on) {
  const card = template.content.firstElementChild.cloneNode(true);
  photos.set(card, photo);
  card.dataset.id = idOf(photo);
  fillPicture(card, photo);
  const name = card.querySelector(".name");
  name.textContent = name.title = nameOf(photo);
  card.querySelector(".open").addEventListener("click", () => on.open(card));
  const similar = card.querySelector(".similar");
  similar.setAttribute("aria-label", `Photos similar to ${nameOf(photo)}`);
  similar.addEventListener("click", () => on.similar(photo));
  if (answer) {
    fillScore(card, photo);
    wireVotes(card, photo, answer, on.failed);
  } else {
    for (const button of card.querySelectorAll(".vote")) button.remove();
  }
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
  image.width = photo.width ?? 320;
  image.height = photo.height ?? 240;
  image.addEventListener("error", showWords, { once: true });
  showPlaceholder(image, photo.placeholder);
  image.sizes = "(max-width: 520px) 48vw, 16rem";
  image.srcset = `${thumbnail(idOf(photo), 320)} 320w, ${thumbnail(idOf(photo), 640)} 640w`;
  image.src = thumbnail(idOf(photo), 320);
}

/** A blurred picture that came with the answer, until the thumbnail has loaded. */
function showPlaceholder(image, placeholder) {
  if (!placeholder) return;
  image.style.backgroundImage = `url("${placeholder}")`;
  image.addEventListener("load", () => image.style.removeProperty("background-image"), { once: true });
}

function fillScore(card, photo) {
  const score = card.querySelector(".score");
  score.hidden = false;
  score.title = `Score ${photo.score.toFixed(3)}, cosine similarity ${photo.similarity.toFixed(3)}`;
  score.querySelector(".number").textContent = photo.score.toFixed(2);
  score.querySelector(".bar span").style.inlineSize = `${100 * photo.score}%`;
}

function wireVotes(card, photo, answer, failed) {
  const buttons = [...card.querySelectorAll(".vote")];
  const state = { vote: photo.vote ?? 0, feedbackId: photo.feedback_id ?? null, busy: false };
  const show = () => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(Number(button.dataset.vote) === state.vote));
  };
  for (const button of buttons) {
    const value = Number(button.dataset.vote);
    button.setAttribute("aria-label", `${value > 0 ? "Good" : "Bad"} match: ${nameOf(photo)}`);
    button.addEventListener("click", async () => {
      if (state.busy) return;
      state.busy = true;
      await (state.vote === value ? undoVote(state) : castVote(state, photo, answer, value)).catch(failed);
      state.busy = false;
      show();
    });
  }
  show();
}

async function castVote(state, photo, answer, vote) {
  const replaced = state.feedbackId;
  const { query, query_id } = answer;
  state.feedbackId = (await addVote({ photo_id: idOf(photo), query, query_id, vote })).id;
  state.vote = vote;
  if (replaced !== null) await removeVote(replaced);
}

async function undoVote(state) {
  await removeVote(state.feedbackId);
  state.feedbackId = null;
  state.vote = 0;
}
