/** The service's HTTP API as the page uses it. Every failure is a Problem whose message can be shown. */

import { text } from "./text.js";

export class Problem extends Error {
  /** `retryAfter` is in seconds, or null if the server did not ask to be asked again. */
  constructor(message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.name = "Problem";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

// `params` of a list or search are the API's own: filters, `sort`, `k` or `limit`, `cursor`.
export const photoPage = (params, signal) => call("GET", "/photos", { query: params, signal });
export const searchText = (params, signal) => call("GET", "/search/text", { query: params, signal });
export const searchImage = (file, params, signal) => call("POST", "/search/image", { query: params, file, signal });
export const searchVoice = (file, params, signal) => call("POST", "/search/voice", { query: params, file, signal });
export const searchSimilar = (id, { k, ...params }, signal) =>
  call("POST", "/search/image-to-image", { query: { reference_photo_id: id, top_k: k, ...params }, signal });
export const searchPage = (params, signal) => call("GET", "/search/page", { query: params, signal });
export const facets = (params, signal) => call("GET", "/facets", { query: params, signal });
export const recentQueries = (limit) => call("GET", "/queries/recent", { query: { limit } });
export const photoDetail = (id, signal) => call("GET", `/photo/${id}`, { signal });
export const changePhoto = (id, changes) => call("PATCH", `/photo/${id}`, { json: changes });
export const addVote = (vote) => call("POST", "/feedback", { json: vote });
export const removeVote = (id) => call("DELETE", `/feedback/${id}`);
export const deletePhoto = (id) => call("DELETE", `/photo/${id}`);
export const health = () => call("GET", "/health");

/** `terms` as the API has them; `files` are the pictures that they name by number. */
export function searchMixed(terms, files, params, signal) {
  const form = new FormData();
  form.append("terms", JSON.stringify(terms));
  for (const file of files) form.append("files", file, file.name);
  return call("POST", "/search/mixed", { query: params, form, signal });
}

/** `{photo, known}`; `known` is true where the library already had exactly this file. */
export async function upload(file) {
  const response = await send("POST", "/upload", { file });
  return { photo: await response.json(), known: response.status === 200 };
}

export const thumbnail = (id, size) => `/photo/${id}/thumbnail?size=${size}`;

/** Colours to lay over the photo: where in it these words are seen. */
export function heatMap(id, words) {
  return `/photo/${id}/heatmap?${new URLSearchParams({ q: words, size: 640, overlay: true })}`;
}

async function call(method, path, options = {}) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

async function send(method, path, { query = {}, json, file, form, signal }) {
  const url = new URL(path, location.origin);
  for (const [name, values] of Object.entries(query)) {
    for (const value of [values ?? []].flat()) url.searchParams.append(name, value);
  }
  const response = await reach(url, { method, signal, ...content(json, file, form) });
  if (response.status === 401) return (await import("./signin.js")).signIn();
  if (!response.ok) throw await problemOf(response);
  return response;
}

function content(json, file, form) {
  const headers = { Accept: "application/json" };
  if (form) return { headers, body: form };
  if (json) return { headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(json) };
  if (!file) return { headers };
  const body = new FormData();
  body.append("file", file, file.name);
  return { headers, body };
}

async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(text.api.unreachable);
  }
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new Problem(body.detail || body.title || text.api.status(response.status), {
    status: response.status,
    retryAfter: Number.isNaN(seconds) ? null : seconds,
  });
}
