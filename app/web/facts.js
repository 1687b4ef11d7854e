/** What is known of a photo beside your words: when, where, with what, how large. */

import { text } from "./text.js";

const DAY = { dateStyle: "medium", timeStyle: "short" };

/** [name, value] for each thing that is known. */
export function factsOf(photo) {
  const place = [photo.city, photo.region, photo.country].filter(Boolean).join(", ");
  const facts = [
    ["taken", photo.taken_at && takenAt(photo)],
    ["place", place || position(photo)],
    ["camera", photo.camera],
    ["lens", photo.lens],
    ["size", photo.width && sizeOf(photo)],
    ["file", photo.filename],
    ["added", photo.created_at && new Date(photo.created_at).toLocaleString(undefined, DAY)],
    ["writing", photo.ocr_text],
  ];
  return facts.filter(([, value]) => value).map(([name, value]) => [text.facts[name], value]);
}

/** By the clock of the place where it was taken. */
function takenAt({ taken_at: moment, utc_offset_min: offset }) {
  const there = new Date(Date.parse(moment) + 60_000 * (offset ?? 0));
  return there.toLocaleString(undefined, { ...DAY, timeZone: "UTC" });
}

function position({ latitude, longitude }) {
  return latitude === null || latitude === undefined ? null : `${latitude.toFixed(4)}, ${longitude.toFixed(4)}`;
}

function sizeOf({ width, height, bytes }) {
  const megabytes = bytes && text.facts.megabytes(bytes / 1e6);
  return [`${width} × ${height}`, megabytes].filter(Boolean).join(" · ");
}
