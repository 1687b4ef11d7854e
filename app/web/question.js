/**
 * What the page is asked, and its form as an address: /?q=words, /?similar=7&crop=…, /?mix=[…], with filters and order.
 * A question is {words | photo, name, crop | picture, crop | parts, filters, sort}; with none of them it is the library.
 * A picture of this device is a number (see pictures.js): it stays in the history of this tab, and out of the address.
 */

import { pictureOf } from "./pictures.js";
import { text } from "./text.js";

const MANY = new Set(["tags_all"]);
const FILTERS = [
  "tags_all", "category", "camera", "place", "year", "orientation", "has_location", "filename", "text", "tags_any",
  "tags_none", "taken_from", "taken_before", "added_from", "added_before", "box", "near", "id",
];

export const library = { filters: {} };

export function kindOf({ parts, picture, photo, words }) {
  if (parts) return "mixed";
  if (picture !== undefined) return "picture";
  if (photo) return "similar";
  return words ? "words" : "library";
}

export const isLibrary = (question) => kindOf(question) === "library";
export const isNarrowed = ({ filters }) => Object.keys(filters).length > 0;

/** The question as parts of a combination. */
export function partsOf({ parts, words, photo, name, picture, crop }) {
  if (parts) return parts;
  if (words) return [{ words, weight: 1 }];
  if (photo) return [{ photo, name, crop, weight: 1 }];
  return picture === undefined ? [] : [{ image: picture, crop, weight: 1 }];
}

export function headingOf(question) {
  const { words, name, picture } = question;
  switch (kindOf(question)) {
    case "mixed": return text.results.mixed;
    case "words": return text.results.words(words);
    case "picture": return text.results.similarTo(pictureOf(picture).name);
    case "similar": return name ? text.results.similarTo(name) : text.results.similar;
    default: return text.results.library;
  }
}

/** {address, state} for the browser's history. */
export function placeOf(question) {
  const query = new URLSearchParams();
  const { words, photo, name, crop, picture, parts, filters, sort } = question;
  const pictures = [picture, ...(parts ?? []).map((part) => part.image)].filter((key) => key !== undefined);
  if (words) query.set("q", words);
  if (photo) query.set("similar", photo);
  if (picture !== undefined) query.set("picture", "");
  if (parts) query.set("mix", JSON.stringify(termsOf(parts)));
  if (crop) query.set("crop", cropText(crop));
  for (const [filter, values] of Object.entries(filters)) {
    for (const value of [values].flat()) query.append(filter, value);
  }
  if (sort) query.set("sort", sort);
  const names = parts?.map((part) => part.name);
  return { address: query.size ? `/?${query}` : "/", state: { name, names, pictures } };
}

/** `lost` is true where the address names a picture that this tab does not have. */
export function questionAt(address, state) {
  const query = new URLSearchParams(address);
  const question = { filters: filtersOf(query), sort: query.get("sort") ?? undefined };
  const crop = readCrop(query.get("crop"));
  const words = query.get("q")?.trim();
  const [key] = state?.pictures ?? [];
  if (query.has("mix")) return { ...question, ...readMix(query.get("mix"), state) };
  if (words) return { ...question, words };
  if (/^\d+$/.test(query.get("similar") ?? "")) {
    return { ...question, photo: Number(query.get("similar")), name: state?.name, crop };
  }
  if (!query.has("picture")) return question;
  return pictureOf(key) ? { ...question, picture: key, crop } : { ...question, lost: true };
}

function filtersOf(query) {
  const given = FILTERS.filter((name) => query.getAll(name).some(Boolean));
  return Object.fromEntries(given.map((name) => {
    const values = query.getAll(name).filter(Boolean);
    return [name, values.length > 1 || MANY.has(name) ? values : values[0]];
  }));
}

function readMix(json, state) {
  let terms = [];
  try {
    terms = [JSON.parse(json)].flat().filter((term) => term?.text || term?.photo_id || term?.image >= 0);
  } catch {
    return {};
  }
  const parts = terms.map(({ text: words, photo_id: photo, image, weight = 1, crop }, index) => ({
    ...(words ? { words: String(words) } : photo ? { photo: Number(photo) } : { image: state?.pictures?.[image] }),
    weight: Number(weight) || 1,
    crop,
    name: state?.names?.[index],
  }));
  const here = parts.filter((part) => part.words || part.photo || pictureOf(part.image));
  return { ...(here.length && { parts: here }), lost: here.length < parts.length };
}

/** The parts as the API names them; pictures by their place among the pictures. */
export function termsOf(parts) {
  let pictures = 0;
  return parts.map(({ words, photo, weight, crop }) => ({
    ...(words ? { text: words } : photo ? { photo_id: photo } : { image: pictures++ }),
    ...(weight !== 1 && { weight }),
    ...(crop && { crop }),
  }));
}

export const cropText = ({ x, y, width, height }) => [x, y, width, height].map((n) => Number(n.toFixed(4))).join(",");

function readCrop(given) {
  const [x, y, width, height] = (given ?? "").split(",").map(Number);
  return height > 0 ? { x, y, width, height } : undefined;
}
