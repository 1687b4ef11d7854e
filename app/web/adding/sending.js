/** One request that tells how much of it has arrived. fetch cannot, so this is XMLHttpRequest. */

import { Problem } from "../api.js";
import { text } from "../text_adding.js";

/** The XMLHttpRequest once it has been answered well. Every other answer is a Problem; `signal` aborts. */
export function send(method, path, { headers = {}, body = null, signal, progress } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open(method, path);
    request.setRequestHeader("Accept", "application/json");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (progress) request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () => (request.status < 400 ? resolve(request) : reject(problemOf(request))));
    request.addEventListener("error", () => reject(new Problem(text.unreachableNow)));
    request.addEventListener("abort", () => reject(new DOMException("Stopped.", "AbortError")));
    request.addEventListener("loadend", () => signal?.removeEventListener("abort", stop));
    signal?.addEventListener("abort", stop);
    request.send(body);
    if (signal?.aborted) stop();
  });
}

export const sendJson = async (method, path, value, signal) => {
  const headers = { "Content-Type": "application/json" };
  return JSON.parse((await send(method, path, { headers, body: JSON.stringify(value), signal })).responseText);
};

function problemOf(request) {
  const seconds = Number.parseInt(request.getResponseHeader("Retry-After") ?? "", 10);
  const told = { status: request.status, retryAfter: Number.isNaN(seconds) ? null : seconds };
  return new Problem(detailOf(request.responseText) || text.status(request.status), told);
}

function detailOf(body) {
  try {
    const { detail, title } = JSON.parse(body);
    return detail || title;
  } catch {
    return "";
  }
}
