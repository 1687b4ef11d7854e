/** A large file in parts, by the resumable protocol tus 1.0.0: after a broken line it goes on from the last byte. */

import { send } from "./sending.js";

const VERSION = { "Tus-Resumable": "1.0.0" };
const GONE = [404, 410];

/**
 * Sends what the server does not have yet of `job.file`, and gives `{importId, itemId}`. `job.upload` is the
 * address that takes the parts; it is kept with the job, so that another page can go on there.
 */
export async function sendInParts(job, { line, importId, signal, arrived, started }) {
  let state = job.upload ? await askOffset(job, signal) : null;
  if (!state) {
    state = await create(job, importId, signal);
    started();
  }
  while (!state.itemId) {
    arrived(state.offset);
    state = await sendPart(job, state.offset, { line, signal, arrived });
  }
  return state;
}

/** What has arrived is deleted on the server; where that cannot be told, it goes by itself after a week. */
export function giveUp(job) {
  return send("DELETE", job.upload, { headers: VERSION }).catch(() => {});
}

async function create(job, importId, signal) {
  const words = { filename: job.name, import_id: String(importId), ...(job.sha256 && { sha256: job.sha256 }) };
  const metadata = Object.entries(words).map(([key, value]) => `${key} ${base64(value)}`);
  const headers = { ...VERSION, "Upload-Length": job.size, "Upload-Metadata": metadata.join(",") };
  const answer = await send("POST", "/files", { headers, signal });
  job.upload = new URL(answer.getResponseHeader("Location"), location.href).pathname;
  return stateOf(answer);
}

/** How far an earlier attempt came; null if the server does not know of it any more. */
async function askOffset(job, signal) {
  try {
    return stateOf(await send("HEAD", job.upload, { headers: VERSION, signal }));
  } catch (error) {
    if (GONE.includes(error.status)) return null;
    throw error;
  }
}

async function sendPart(job, offset, { line, signal, arrived }) {
  const part = job.file.slice(offset, offset + line.bite);
  const headers = { ...VERSION, "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
  const began = performance.now();
  const progress = (bytes) => arrived(offset + Math.min(bytes, part.size));
  try {
    const answer = await send("PATCH", job.upload, { headers, body: part, signal, progress });
    line.held(part.size, performance.now() - began);
    return stateOf(answer);
  } catch (error) {
    if (error.status === 409) return askOffset(job, signal); // the answer to an earlier part was lost
    throw error;
  }
}

function stateOf(answer) {
  const number = (name) => Number(answer.getResponseHeader(name) ?? 0);
  return {
    offset: number("Upload-Offset"),
    importId: number("Recollect-Import"),
    itemId: number("Recollect-Item"),
  };
}

/** UTF-8 in base64. */
function base64(words) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(words)));
}
