/** Asks the server what a question asks: one page of photos at a time. */

import { photoPage, searchImage, searchMixed, searchPage, searchSimilar, searchText } from "./api.js";
import { pictureOf } from "./pictures.js";
import { cropText, kindOf, termsOf } from "./question.js";

const PAGE = 48;

const SEARCHES = {
  words: ({ words }, params, signal) => searchText({ q: words, ...params }, signal),
  similar: ({ photo }, params, signal) => searchSimilar(photo, params, signal),
  picture: ({ picture }, params, signal) => searchImage(pictureOf(picture), params, signal),
  mixed: ({ parts }, params, signal) => {
    const files = parts.map((part) => pictureOf(part.image)).filter(Boolean);
    return searchMixed(termsOf(parts), files, params, signal);
  },
};

/** → {photos, answer, next, total}; `answer` is null in the library, `next` the cursor of the page after. */
export async function ask(question, cursor, signal) {
  const kind = kindOf(question);
  const { sort } = question;
  if (kind === "library") {
    const page = await photoPage({ limit: PAGE, cursor, sort, ...filterParams(question.filters) }, signal);
    return { photos: page.photos, answer: null, next: page.next_cursor, total: page.total };
  }
  if (cursor) return pageOf(await searchPage({ cursor, k: PAGE }, signal));
  return pageOf(await SEARCHES[kind](question, searchParams(question), signal));
}

export function pageOf(answer) {
  return { photos: answer.results, answer, next: answer.next_cursor, total: null };
}

/** What every search is asked beside its words or picture. */
export function searchParams({ filters, sort, crop }) {
  return { k: PAGE, paged: true, sort, crop: crop && cropText(crop), ...filterParams(filters) };
}

/** The filters as the API has them: it knows times, where the page has years. */
export function filterParams({ year, ...others }) {
  if (!year) return others;
  const digits = (n) => String(n).padStart(4, "0");
  return { ...others, taken_from: `${digits(year)}-01-01`, taken_before: `${digits(Number(year) + 1)}-01-01` };
}
