/** An empty library's other way to begin: the photos that come along, and searches that find some of them. */

import { text } from "../text_adding.js";
import { itemsAfter, loadSamples, photosOf } from "./requests.js";

const LOADED = "recollect-samples"; // in sessionStorage: how many photos the searches are suggested for
const WAITING = ["pending", "working"];
const LOOK_MS = 400;

const part = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** `added(photo)` is called for each sample that is in the library. */
export function wireSamples(added) {
  const button = part("load-samples");
  button.addEventListener("click", async () => {
    button.disabled = true;
    await load(added).catch((error) => show(text.samples.failed(error.message)));
    button.disabled = false;
  });
  const loaded = Number(sessionStorage.getItem(LOADED));
  if (loaded) suggest(loaded);
}

async function load(added) {
  const { id, items } = await loadSamples();
  const shown = new Set();
  let waiting = items;
  for (;;) {
    show(text.samples.loading(items.length - waiting.length, items.length));
    const now = await itemsAfter(id, 0);
    const ids = now.map((item) => item.photo_id).filter((photo) => photo && !shown.has(photo));
    for (const photo of await photosOf(ids)) added(photo);
    for (const photo of ids) shown.add(photo);
    waiting = now.filter((item) => WAITING.includes(item.status));
    if (!waiting.length) break;
    await pause(LOOK_MS);
  }
  sessionStorage.setItem(LOADED, String(shown.size));
  suggest(shown.size);
}

function show(words) {
  part("samples-note").textContent = words;
  part("samples").hidden = false;
}

function suggest(count) {
  show(text.samples.ready(count));
  part("samples-searches").replaceChildren(...text.samples.searches.map(suggestion));
}

function suggestion(words) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/?${new URLSearchParams({ q: words })}`;
  link.textContent = words;
  item.append(link);
  return item;
}
