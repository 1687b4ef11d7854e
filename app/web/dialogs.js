/** The dialogs of the page: they and what they need are fetched when the first of them is opened. */

import { fill, text } from "./text.js";

let loaded = null;

/** → {Lightbox, chooseCrop}. Throws an Error whose message can be shown; the next call tries again. */
export function loadDialogs() {
  loaded ??= load().catch(() => {
    loaded = null;
    throw new Error(text.api.unreachable);
  });
  return loaded;
}

async function load() {
  const [page] = await Promise.all([fetchPage("/web/dialogs.html"), addStyle("/web/dialogs.css")]);
  fill(page);
  document.body.append(...page.body.children);
  const [{ Lightbox }, { chooseCrop }] = await Promise.all([import("./lightbox.js"), import("./cropper.js")]);
  return { Lightbox, chooseCrop };
}

async function fetchPage(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(text.api.status(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

export function addStyle(address) {
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: address });
  return new Promise((resolve, reject) => {
    link.onload = resolve;
    link.onerror = reject;
    document.head.append(link);
  });
}
