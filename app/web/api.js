/** The service's HTTP API as the page uses it. Every failure is a Problem whose message can be shown. */

export class Problem extends Error {
  /** `retryAfter` is in seconds, or null if the server did not ask to be asked again. */
  constructor(message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.name = "Problem";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export const photoPage = (limit, cursor, signal) => call("GET", "/photos", { query: { limit, cursor }, signal });
export const searchText = (q, k, signal) => call("GET", "/search/text", { query: { q, k, paged: true }, signal });
export const searchImage = (file, k, signal) => call("POST", "/search/image", { query: { k, paged: true }, file, signal });
export const searchVoice = (file, k, signal) => call("POST", "/search/voice", { query: { k, paged: true }, file, signal });
export const searchSimilar = (id, k, signal) =>
  call("POST", "/search/image-to-image", { query: { reference_photo_id: id, top_k: k, paged: true }, signal });
export const searchPage = (cursor, k, signal) => call("GET", "/search/page", { query: { cursor, k }, signal });
export const addVote = (vote) => call("POST", "/feedback", { json: vote });
export const removeVote = (id) => call("DELETE", `/feedback/${id}`);
export const deletePhoto = (id) => call("DELETE", `/photo/${id}`);
export const health = () => call("GET", "/health");

/** `{photo, known}`; `known` is true where the library already had exactly this file. */
export async function upload(file) {
  const response = await send("POST", "/upload", { file });
  return { photo: await response.json(), known: response.status === 200 };
}

export function thumbnail(id, size) {
  return `/photo/${id}/thumbnail?size=${size}`;
}

async function call(method, path, options = {}) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

async function send(method, path, { query = {}, json, file, signal }) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  const response = await reach(url, { method, signal, ...content(json, file) });
  if (!response.ok) throw await problemOf(response);
  return response;
}

function content(json, file) {
  const headers = { Accept: "application/json" };
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
    throw new Problem("The server cannot be reached.");
  }
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new Problem(body.detail || body.title || `The server answered ${response.status}.`, {
    status: response.status,
    retryAfter: Number.isNaN(seconds) ? null : seconds,
  });
}
