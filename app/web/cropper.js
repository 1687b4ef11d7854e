/** Chooses a part of a picture: drawn with the pointer, or moved and sized with the arrow keys. */

import { text } from "./text.js";

const STEP = 0.02;
const SMALLEST = 0.05;
const START = { x: 0.25, y: 0.25, width: 0.5, height: 0.5 };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const dialog = document.getElementById("cropper");
const image = dialog.querySelector("img");
const frame = dialog.querySelector(".crop-frame");
const stage = dialog.querySelector(".crop-stage");
let crop = START;

/** → the part as {x, y, width, height} in shares of the picture, null for all of it, undefined if given up. */
export function chooseCrop({ address, name, crop: before }) {
  image.src = address;
  image.alt = name;
  dialog.returnValue = "";
  show(before ?? START);
  dialog.showModal();
  frame.focus();
  return new Promise((resolve) => {
    const answer = () => resolve({ part: crop, whole: null }[dialog.returnValue]);
    dialog.addEventListener("close", answer, { once: true });
  });
}

function show(next) {
  const width = clamp(next.width, SMALLEST, 1);
  const height = clamp(next.height, SMALLEST, 1);
  crop = { x: clamp(next.x, 0, 1 - width), y: clamp(next.y, 0, 1 - height), width, height };
  for (const [side, share] of Object.entries(crop)) frame.style.setProperty(`--${side}`, `${100 * share}%`);
  frame.ariaLabel = text.cropper.frame(...Object.values(crop).map((share) => Math.round(100 * share)));
}

const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

function onKey(event) {
  const [x, y] = ARROWS[event.key] ?? [];
  if (x === undefined) return;
  event.preventDefault();
  if (event.shiftKey) show({ ...crop, width: crop.width + STEP * x, height: crop.height + STEP * y });
  else show({ ...crop, x: crop.x + STEP * x, y: crop.y + STEP * y });
}

/** Inside the frame the pointer moves it; elsewhere it draws another one. */
function onPointerDown(event) {
  if (event.button) return;
  event.preventDefault();
  frame.focus();
  const from = shareAt(event);
  const start = crop;
  const moved = (to) => ({ ...start, x: start.x + to.x - from.x, y: start.y + to.y - from.y });
  const next = event.target === frame ? moved : (to) => between(from, to);
  const onMove = (move) => show(next(shareAt(move)));
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", onMove);
  stage.addEventListener("lostpointercapture", () => stage.removeEventListener("pointermove", onMove), { once: true });
}

function shareAt(event) {
  const { left, top, width, height } = stage.getBoundingClientRect();
  return { x: clamp((event.clientX - left) / width, 0, 1), y: clamp((event.clientY - top) / height, 0, 1) };
}

function between(a, b) {
  return { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
}

frame.addEventListener("keydown", onKey);
stage.addEventListener("pointerdown", onPointerDown);
