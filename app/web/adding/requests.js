/** The routes of the API that adding photos needs beside the sending itself. */

import { send, sendJson } from "./sending.js";

const get = async (path) => JSON.parse((await send("GET", path)).responseText);

/** The id of a new import, to which all that is chosen now belongs. */
export async function openImport(signal) {
  const body = new FormData();
  body.append("tags", "");
  return JSON.parse((await send("POST", "/imports", { body, signal })).responseText).id;
}

/** Sends files together; one item for each, in order. */
export async function sendTogether(files, importId, { signal, progress }) {
  const body = new FormData();
  body.append("import_id", importId);
  for (const file of files) body.append("files", file, file.name);
  return JSON.parse((await send("POST", "/imports", { body, signal, progress })).responseText).items;
}

/** Brings in the photos that come along: the id of an import, and its items. */
export const loadSamples = async () => JSON.parse((await send("POST", "/samples")).responseText);

/** What waits there is given up; photos that it has brought in stay. */
export const forgetImport = (importId) => send("DELETE", `/imports/${importId}`).catch(() => {});

/** The state of items after the id `after`, at most a thousand. */
export const itemsAfter = async (importId, after) =>
  (await get(`/imports/${importId}/items?after=${after}&limit=1000`)).items;

/** Ids of the photos that are in the library already, by the SHA-256 of their bytes. */
export const knownPhotos = async (sha256) => (await sendJson("POST", "/photos/check", { sha256 })).known;

/** Photos as lists of the library show them, in the order of `ids`; without those that are gone again. */
export async function photosOf(ids) {
  if (!ids.length) return [];
  const query = new URLSearchParams(ids.map((id) => ["id", id]));
  const { photos } = await get(`/photos?limit=${ids.length}&${query}`);
  const byId = new Map(photos.map((photo) => [photo.id, photo]));
  return ids.map((id) => byId.get(id)).filter(Boolean);
}
