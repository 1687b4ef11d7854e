/** The page: which photos are shown, and how words, pictures and voice ask for them. */

import { health, photoPage, searchImage, searchPage, searchSimilar, searchText, searchVoice, thumbnail } from "./api.js";
import { idOf, makeCard, nameOf } from "./cards.js";
import { Lightbox } from "./lightbox.js";
import { startRecording, whyNot } from "./microphone.js";
import { Uploads, droppedFiles } from "./uploads.js";

const PAGE = 48;

const part = (id) => document.getElementById(id);
const box = part("words");
const grid = part("photos");
const more = part("more");
const mic = part("by-voice");

/** What the page shows now: `next` is a cursor that continues it, null at its end. */
const now = { view: null, next: null, total: 0, loading: new AbortController(), recorder: null, voice: true };
const queryPictures = new Map();

// ── Views: a heading and a way to load. load(signal, next) → {photos, answer, next, note} ──────────────

const libraryView = {
  heading: "Your photos",
  words: "",
  async load(signal, cursor) {
    const page = await photoPage(PAGE, cursor, signal);
    now.total = page.total;
    return { photos: page.photos, answer: null, next: page.next_cursor, note: libraryNote() };
  },
};

/** `ask(signal)` sends the search; `picture` is the address of the picture it was asked with. */
function searchView({ heading, words = "", picture = null, ask }) {
  const load = async (signal, cursor) => pageOf(await (cursor ? searchPage(cursor, PAGE, signal) : ask(signal)));
  return { heading, words, picture, load };
}

function pageOf(answer, note = resultNote(answer)) {
  return { photos: answer.results, answer, next: answer.next_cursor, note };
}

const wordsView = (words) =>
  searchView({ heading: `“${words}”`, words, ask: (signal) => searchText(words, PAGE, signal) });

const similarView = (id, name) =>
  searchView({
    heading: name ? `Similar to ${name}` : "Similar photos",
    picture: thumbnail(id, 160),
    ask: (signal) => searchSimilar(id, PAGE, signal),
  });

const pictureView = (file) =>
  searchView({
    heading: `Similar to ${file.name}`,
    picture: URL.createObjectURL(file),
    ask: (signal) => searchImage(file, PAGE, signal),
  });

/** Becomes a search by words once the words are known, so that its link can be kept and shared. */
function voiceView(file) {
  const view = { heading: "", words: "" };
  view.load = async (signal, cursor) => {
    if (cursor) return pageOf(await searchPage(cursor, PAGE, signal));
    const answer = await searchVoice(file, PAGE, signal);
    view.words = answer.transcription;
    view.heading = `“${view.words}”`;
    return pageOf(answer, `I heard: “${view.words}” · ${resultNote(answer)}`);
  };
  return view;
}

const counted = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`;
const libraryNote = () => (now.total ? counted(now.total, "photo", "photos") : "");

function resultNote(answer) {
  if (!answer.results.length) return "Nothing in the library matches.";
  if (!answer.matched) return "Most likely nothing in the library fits; the nearest is first.";
  return `${counted(answer.results.length, "result", "results")}, best first · ${Math.round(answer.latency_ms)} ms`;
}

// ── Showing ────────────────────────────────────────────────────────────────────────────────────────

function say(text, isError = false) {
  part("status").textContent = text;
  part("status").classList.toggle("error", isError);
}

function complain(error) {
  if (error.name !== "AbortError") say(error.message, true);
}

/** From here on, an answer to an earlier question is not wanted any more. */
function startOver() {
  now.loading.abort();
  now.recorder?.cancel();
  now.loading = new AbortController();
  document.body.setAttribute("aria-busy", "true");
  return now.loading.signal;
}

async function loadPage(view, next, signal) {
  try {
    const page = await view.load(signal, next);
    return signal.aborted ? null : page;
  } catch (error) {
    if (!signal.aborted) complain(error);
    return null;
  } finally {
    if (!signal.aborted) document.body.setAttribute("aria-busy", "false");
  }
}

/** Goes to a view that the address names already; if it cannot be loaded, the page is left empty. */
async function show(view) {
  const signal = startOver();
  showHead(view);
  say(view === libraryView ? "" : "Searching…");
  const page = await loadPage(view, null, signal);
  if (page) showPage(view, page);
  else if (!signal.aborted) clear();
}

/** Asks first, and goes to the answer only if there is one; `address(view)` names it in the history. */
async function attempt(view, address, state = null) {
  const page = await loadPage(view, null, startOver());
  if (!page) return;
  history.pushState(state, "", address(view));
  showHead(view);
  showPage(view, page);
}

function showHead(view) {
  now.view = view;
  const isLibrary = view === libraryView;
  part("heading").textContent = view.heading;
  document.title = isLibrary ? "Recollect" : `${view.heading} · Recollect`;
  box.value = view.words;
  part("back").hidden = isLibrary;
  const asked = part("asked-with");
  asked.hidden = !view.picture;
  if (view.picture) asked.src = view.picture;
}

function showPage(view, page) {
  grid.replaceChildren();
  showChips(page.answer?.chips ?? []);
  append(page);
  say(page.note);
  scrollTo({ top: 0 });
  if (document.activeElement === document.body && view !== libraryView) grid.focus({ preventScroll: true });
}

/** What of the words was read as a filter; pressing one asks again without it. */
function showChips(chips) {
  const list = part("chips");
  list.replaceChildren(...chips.map(makeChip));
  list.hidden = !chips.length;
}

function makeChip(chip) {
  const item = part("chip").content.firstElementChild.cloneNode(true);
  const button = item.querySelector("button");
  item.querySelector("span").textContent = chip.label;
  button.setAttribute("aria-label", `Search without: ${chip.label}`);
  button.addEventListener("click", () => (chip.without ? go(wordsAddress({ words: chip.without })) : goHome()));
  return item;
}

function append(page) {
  const known = new Set([...grid.children].map((card) => card.dataset.id));
  const fresh = page.photos.filter((photo) => !known.has(String(idOf(photo))));
  const cards = fresh.map((photo) => makeCard(photo, page.answer, cardActions));
  grid.append(...cards);
  now.next = page.next;
  more.hidden = !page.next;
  showInvitation();
  return cards;
}

function clear() {
  grid.replaceChildren();
  showChips([]);
  more.hidden = true;
  part("dropzone").hidden = now.view !== libraryView;
}

function showInvitation() {
  part("dropzone").hidden = now.view !== libraryView;
  document.body.classList.toggle("empty", now.view === libraryView && !grid.children.length);
}

async function loadMore() {
  const { signal } = now.loading;
  document.body.setAttribute("aria-busy", "true");
  const page = await loadPage(now.view, now.next, signal);
  if (!page) return;
  const [first] = append(page);
  say(page.note);
  if (more.hidden) first?.querySelector(".open").focus();
}

// ── Addresses: /, /?q=words, /?similar=7; a picture has none and lives in this tab's history ───────────

const wordsAddress = (view) => `/?${new URLSearchParams({ q: view.words })}`;

function route() {
  const query = new URLSearchParams(location.search);
  const words = query.get("q")?.trim();
  const picture = queryPictures.get(history.state?.picture);
  if (words) return show(wordsView(words));
  if (query.has("similar")) return show(similarView(query.get("similar"), history.state?.name));
  return show(picture ? pictureView(picture) : libraryView);
}

function go(address, state = null) {
  history.pushState(state, "", address);
  return route();
}

const goHome = () => go("/");
const goSimilar = (photo) => go(`/?similar=${idOf(photo)}`, { name: nameOf(photo) });

function searchByPicture(file) {
  const key = queryPictures.size + 1;
  queryPictures.set(key, file);
  return attempt(pictureView(file), () => "/?picture", { picture: key });
}

// ── Voice ──────────────────────────────────────────────────────────────────────────────────────────

async function toggleMicrophone() {
  if (now.recorder) return now.recorder.stop();
  if (!now.voice) return say("Voice search is switched off on this server.", true);
  try {
    now.recorder = await startRecording();
  } catch (error) {
    return say(error.message, true);
  }
  mic.setAttribute("aria-pressed", "true");
  say("Listening… press the microphone again when you are done.");
  const file = await now.recorder.recording;
  now.recorder = null;
  mic.setAttribute("aria-pressed", "false");
  if (!file) return undefined;
  say("Working out what you said…");
  return attempt(voiceView(file), wordsAddress);
}

// ── Library changes ────────────────────────────────────────────────────────────────────────────────

const lightbox = new Lightbox({ similar: goSimilar, deleted: removeCard, failed: complain });
const cardActions = { open: (card) => lightbox.open(card), similar: goSimilar, failed: complain };
const uploads = new Uploads({ added: addCard });

function addCard(photo) {
  now.total += 1;
  if (now.view !== libraryView || grid.querySelector(`[data-id="${photo.id}"]`)) return;
  grid.prepend(makeCard(photo, null, cardActions));
  showInvitation();
  say(libraryNote());
}

function removeCard(card) {
  card.remove();
  now.total -= 1;
  showInvitation();
  say("The photo was deleted.");
}

// ── Events ─────────────────────────────────────────────────────────────────────────────────────────

function onSearch(event) {
  event.preventDefault();
  const words = box.value.trim();
  if (words) go(wordsAddress({ words }));
  else goHome();
}

function onKey(event) {
  const typing = event.target.closest("input, textarea, select");
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "/" && plain && !typing) {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "Escape" && now.recorder) {
    now.recorder.cancel();
    say("");
  } else if (event.key === "Escape" && now.view !== libraryView) {
    goHome();
  }
}

function takeChosen(input, use) {
  const files = [...input.files];
  input.value = "";
  if (files.length) use(files);
}

function onPaste(event) {
  const picture = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
  if (!picture || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  searchByPicture(picture);
}

function wireDrops() {
  const search = part("search");
  const mark = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
    search.classList.toggle("target", search.contains(event.target));
  };
  const unmark = () => {
    document.body.classList.remove("dragging");
    search.classList.remove("target");
  };
  addEventListener("dragenter", mark);
  addEventListener("dragover", mark);
  addEventListener("dragleave", (event) => event.relatedTarget === null && unmark());
  addEventListener("drop", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    unmark();
    if (search.contains(event.target)) searchByPicture(event.dataTransfer.files[0]);
    else droppedFiles(event.dataTransfer).then((files) => uploads.add(files), complain);
  });
}

function wire() {
  part("search").addEventListener("submit", onSearch);
  part("by-picture").addEventListener("click", () => part("query-picture").click());
  part("query-picture").addEventListener("change", (event) => takeChosen(event.target, ([file]) => searchByPicture(file)));
  mic.addEventListener("click", toggleMicrophone);
  mic.title = whyNot() ?? mic.title;
  part("add").addEventListener("click", () => part("files").click());
  part("files").addEventListener("change", (event) => takeChosen(event.target, (files) => uploads.add(files)));
  part("back").addEventListener("click", goHome);
  part("home").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goHome();
  });
  part("asked-with").addEventListener("error", (event) => (event.target.hidden = true));
  more.addEventListener("click", loadMore);
  addEventListener("keydown", onKey);
  addEventListener("paste", onPaste);
  addEventListener("popstate", route);
  wireDrops();
}

wire();
route();
health().then((state) => (now.voice = state.whisper_available), complain);
