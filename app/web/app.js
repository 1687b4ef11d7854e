/** The page: goes from question to answer, and puts the parts of the page together. */

import { health, searchVoice } from "./api.js";
import { ask, pageOf, searchParams } from "./ask.js";
import { idOf, makeCard, nameOf } from "./cards.js";
import { Combobox } from "./combobox.js";
import { loadDialogs } from "./dialogs.js";
import { wireDrops, wirePaste } from "./drops.js";
import { FacetPanel } from "./facets.js";
import { Grid } from "./grid.js";
import { ResultsHead } from "./head.js";
import { Mixer, partAddress, partName } from "./mixer.js";
import { keepPicture } from "./pictures.js";
import { isLibrary, isNarrowed, kindOf, library, partsOf, placeOf, questionAt } from "./question.js";
import { completed, suggestionsFor } from "./suggestions.js";
import { fill, text } from "./text.js";
import { toast } from "./toast.js";
import { Uploads, droppedFiles } from "./uploads.js";
import { Voice } from "./voice.js";
import { vote } from "./votes.js";

const part = (id) => document.getElementById(id);
const box = part("words");
const more = part("more");

fill(document);

/** What the page shows now: `next` is a cursor that continues it, null at its end. */
const now = { question: library, answer: null, next: null, total: 0, loading: new AbortController(), growing: null };

// ── Loading: questions become pages of photos ──────────────────────────────────────────────────────

/** From here on, an answer to an earlier question is not wanted any more. */
function startOver() {
  now.loading.abort();
  voice.cancel();
  now.loading = new AbortController();
  now.growing = null;
  document.body.ariaBusy = "true";
  return now.loading.signal;
}

/** The page that `load(signal)` promises; null where it failed, which is told, or is not wanted any more. */
async function arrived(load, signal) {
  try {
    const page = await load(signal);
    performance.mark("answered");
    return signal.aborted ? null : page;
  } catch (error) {
    if (!signal.aborted) complain(error);
    return null;
  } finally {
    if (!signal.aborted) document.body.ariaBusy = "false";
  }
}

/** Goes to a question that the address names already; if it cannot be answered, the page is left empty. */
async function show(question) {
  const signal = startOver();
  showQuestion(question);
  head.say(isLibrary(question) ? "" : text.search.searching);
  const page = await arrived((until) => ask(question, null, until), signal);
  if (page) showPage(question, page);
  else if (!signal.aborted) showPage(question, { photos: [], answer: null, next: null, total: 0 }, true);
}

/** Asks first, and goes to the answer only if there is one; `load` → {question, page}. */
async function attempt(load) {
  const found = await arrived(load, startOver());
  if (!found) return;
  push(found.question);
  showQuestion(found.question);
  showPage(found.question, found.page);
}

const attemptAsking = (question) => attempt(async (signal) => ({ question, page: await ask(question, null, signal) }));

/** Promises whether there are more photos than before. */
function loadMore() {
  if (!now.next) return Promise.resolve(false);
  now.growing ??= grow().finally(() => (now.growing = null));
  return now.growing;
}

async function grow() {
  const { signal } = now.loading;
  const page = await arrived((until) => ask(now.question, now.next, until), signal);
  if (!page) {
    now.paused = true; // until the button is pressed: a server in trouble is not asked on and on
    return false;
  }
  now.paused = false;
  now.next = page.next;
  const fresh = grid.append(page.photos, countOf(page, grid.photos.length));
  showEnd();
  sayFound();
  return fresh.length > 0;
}

// ── Showing ────────────────────────────────────────────────────────────────────────────────────────

function showQuestion(question) {
  now.question = question;
  head.show(question);
  box.value = question.words ?? "";
  box.placeholder = question.parts ? text.search.addWords : text.search.placeholder;
  mixer.show(question.parts);
  facetPanel.show(question.filters);
  part("heard").hidden = true;
}

function showPage(question, page, failed = false) {
  Object.assign(now, { answer: page.answer, next: page.next, paused: false });
  if (page.total !== null) now.total = page.total;
  head.showChips(question, page.answer?.chips ?? []);
  scrollTo({ top: 0 });
  grid.show(page.photos, countOf(page));
  if (!failed) requestAnimationFrame(() => setTimeout(() => performance.measure("answer to photos", "answered")));
  part("photos").classList.toggle("unsure", page.answer?.matched === false);
  showEnd();
  showInvitation();
  if (!failed) sayFound();
  if (document.activeElement === document.body && !isLibrary(question)) part("photos").focus({ preventScroll: true });
}

/** How many there are altogether; null while that is not known. */
const countOf = (page, before = 0) => page.total ?? (page.next ? null : before + page.photos.length);

function sayFound() {
  const { question, answer } = now;
  const found = isLibrary(question)
    ? text.page.found(now.total, isNarrowed(question))
    : text.results.note(answer, grid.photos.length, question);
  head.say([found, question.lost && text.results.lost].filter(Boolean).join(" · "));
}

function showEnd() {
  more.hidden = !now.next;
  if (!now.next) return;
  nearEnd.unobserve(more); // observing it anew tells again whether it is in sight
  nearEnd.observe(more);
}

function showInvitation() {
  const all = isLibrary(now.question) && !isNarrowed(now.question);
  part("dropzone").hidden = !all;
  document.body.classList.toggle("empty", all && !grid.photos.length);
}

function complain(error) {
  if (error.name !== "AbortError") head.say(error.message, true);
}

// ── Going from question to question ────────────────────────────────────────────────────────────────

/** Where the address leads, and there to where one was. */
async function route() {
  const { top = 0 } = history.state ?? {};
  await show(questionAt(location.search, history.state));
  while (document.documentElement.scrollHeight < top + innerHeight && (await loadMore()));
  scrollTo(0, top);
}

function push(question) {
  const { address, state } = placeOf(question);
  history.replaceState({ ...history.state, top: scrollY }, "");
  history.pushState(state, "", address);
}

/** `instead`: the question before is not worth going back to. */
function go(question, instead = false) {
  const { address, state } = placeOf(question);
  if (instead) history.replaceState(state, "", address);
  else push(question);
  return show(question);
}

/** A new question among the same photos; in the library's order until another is chosen. */
const fresh = (question) => ({ ...question, filters: now.question.filters });
const goHome = () => go(library);
const goSimilar = (photo, crop) => go(fresh({ photo: idOf(photo), name: nameOf(photo), crop }));
const asWords = (words) => (now.question.parts ? combine({ words }) : go(fresh(words ? { words } : {})));

function asPicture(file) {
  const key = keepPicture(file);
  return now.question.parts ? combine({ image: key }) : attemptAsking(fresh({ picture: key }));
}

/** Adds a part to what is asked now. */
function combine(...added) {
  const { filters, sort } = now.question;
  const parts = [...partsOf(now.question), ...added.map((one) => ({ weight: 1, ...one }))];
  return parts.length ? go({ parts, filters, sort }) : undefined;
}

const combinePhoto = (photo) => combine({ photo: idOf(photo), name: nameOf(photo) });

function changeParts(parts) {
  if (!parts.length) return goHome();
  const { filters, sort } = now.question;
  return go({ parts, filters, sort }, parts.length === now.question.parts.length);
}

/** The box's button: what is typed becomes a part beside what was asked before. */
function combineTyped() {
  const words = box.value.trim();
  const typed = words && words !== now.question.words ? [{ words }] : [];
  box.focus();
  return combine(...typed) ?? head.say(text.search.combineHow);
}

async function cropPart(question) {
  const [one] = partsOf(question);
  try {
    const { chooseCrop } = await loadDialogs();
    const crop = await chooseCrop({ address: partAddress(one, 1280), name: partName(one), crop: one.crop });
    return crop === undefined ? null : { ...one, crop: crop ?? undefined };
  } catch (error) {
    complain(error);
    return null;
  }
}

async function cropAsked() {
  const changed = await cropPart(now.question);
  if (changed) go({ ...now.question, crop: changed.crop });
}

async function cropPhoto(photo) {
  const changed = await cropPart({ photo: idOf(photo), name: nameOf(photo) });
  if (changed) goSimilar(photo, changed.crop);
  else grid.focus(idOf(photo));
}

async function askHeard(file) {
  head.say(text.voice.working);
  await attempt(async (signal) => {
    const answer = await searchVoice(file, searchParams({ ...now.question, crop: undefined }), signal);
    const words = answer.transcription;
    if (!now.question.parts) return { question: fresh({ words, sort: now.question.sort }), page: pageOf(answer) };
    const question = { ...now.question, parts: [...now.question.parts, { words, weight: 1 }] };
    return { question, page: await ask(question, null, signal) };
  });
  const { words } = now.question;
  if (!words || document.body.ariaBusy === "true") return;
  head.say(text.voice.heard(words, text.results.note(now.answer, grid.photos.length, now.question)));
  part("heard").hidden = false;
  part("heard-words").value = words;
}

// ── The parts of the page ──────────────────────────────────────────────────────────────────────────

const head = new ResultsHead({ go, goHome, crop: cropAsked });
const grid = new Grid(part("photos"), (photo) => makeCard(photo, Boolean(now.answer), cardActions));
const facetPanel = new FacetPanel(part("facets"), part("show-facets"), (filters) => go({ ...now.question, filters }));
const mixer = new Mixer(part("mixer"), { changed: changeParts, crop: (one) => cropPart({ parts: [one] }) });
const voice = new Voice(part("by-voice"), part("listening"), {
  heard: askHeard,
  say: (words, isError) => head.say(words, isError),
});
const uploads = new Uploads({ added: addCard, more: (count) => (now.total += count) });
const cardActions = { open: openPhoto, similar: (photo) => goSimilar(photo), combine: combinePhoto, vote: castVote };
const nearEnd = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && !now.paused && loadMore(), {
  rootMargin: "0px 0px 1200px",
});

/** Made when a photo is first looked at. */
async function lightbox() {
  const { Lightbox } = await loadDialogs();
  const closed = (photo) => grid.focus(idOf(photo));
  const changed = (photo, words) => grid.change(idOf(photo), words);
  const actions = { ...cardActions, crop: cropPhoto, changed, deleted: removeCard, closed, failed: complain };
  now.lightbox ??= new Lightbox(actions);
  return now.lightbox;
}

async function openPhoto(photo) {
  const { words, parts } = now.question;
  const said = words ?? parts?.filter((one) => one.words && one.weight > 0).map((one) => one.words).join(" ");
  const source = { photos: () => grid.photos, hasMore: () => Boolean(now.next), more: loadMore, words: said };
  await lightbox().then((opened) => opened.open(photo, source), complain);
}

async function castVote(photo, value) {
  const before = photo.vote;
  try {
    if (!(await vote(photo, now.answer, value))) return;
  } catch (error) {
    toast(error.message);
    return;
  }
  grid.renew(photo);
  now.lightbox?.voted(photo);
  toast(text.votes.done(photo.vote), { label: text.votes.undo, run: () => castVote(photo, before || value) });
}

function addCard(photo) {
  if (grid.indexOf(photo.id) >= 0) return;
  now.total += 1;
  if (!isLibrary(now.question) || isNarrowed(now.question)) return;
  grid.prepend(photo);
  showInvitation();
  sayFound();
}

function removeCard(photo) {
  now.total -= 1;
  grid.remove(idOf(photo));
  showInvitation();
  head.say(text.results.deleted);
}

// ── Events ─────────────────────────────────────────────────────────────────────────────────────────

function onKey(event) {
  const typing = event.target.closest("input, textarea, select");
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "/" && plain && !typing) {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "Escape" && voice.recorder) {
    voice.cancel();
  } else if (event.key === "Escape" && !event.defaultPrevented && kindOf(now.question) !== "library") {
    event.preventDefault(); // Chromium would empty the box, and suggest what fits to nothing
    goHome();
  }
}

function takeChosen(input, use) {
  const files = [...input.files];
  input.value = "";
  if (files.length) use(files);
}

function wireBox() {
  const choose = (suggestion) => {
    box.value = completed(box.value, suggestion);
    if (suggestion.whole) asWords(suggestion.words);
  };
  new Combobox(box, part("suggestions"), { suggest: suggestionsFor, choose });
  part("search").addEventListener("submit", (event) => {
    event.preventDefault();
    asWords(box.value.trim());
  });
  part("heard").addEventListener("submit", (event) => {
    event.preventDefault();
    asWords(part("heard-words").value.trim());
  });
  for (const [button, input] of [["by-picture", "query-picture"], ["by-camera", "query-camera"]]) {
    part(button).addEventListener("click", () => part(input).click());
    part(input).addEventListener("change", (event) => takeChosen(event.target, ([file]) => asPicture(file)));
  }
  part("combine").addEventListener("click", combineTyped);
}

function wire() {
  wireBox();
  part("add").addEventListener("click", () => part("files").click());
  part("files").addEventListener("change", (event) => takeChosen(event.target, (files) => uploads.add(files)));
  part("home").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goHome();
  });
  more.addEventListener("click", () => loadMore());
  addEventListener("keydown", onKey);
  addEventListener("popstate", route);
  const add = (transfer) => droppedFiles(transfer).then((files) => uploads.add(files), complain);
  wireDrops(part("search"), { ask: asPicture, add });
  wirePaste(asPicture);
}

history.scrollRestoration = "manual"; // the photos are not there yet when the browser would do it
wire();
route();
health().then((state) => (voice.available = state.whisper_available), complain);
