/** The files behind a drop or a chosen folder. */

const PICTURE = /\.(jpe?g|png|webp|gif|bmp|avif|hei[cf]|tiff?|jxl|dng|nef|nrw|arw|cr[23]|orf|rw2|pef|raf|srw)$/i;
const HIDDEN = /(^|\/)(\.|@eaDir\/|__MACOSX\/)/;

/**
 * The files of a drop, folders opened. Inside a folder only pictures count; a file that was dropped by
 * itself is always kept, so that the server can say what is wrong with it.
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  for (const entry of entries) await collect(entry, files, false);
  return files;
}

/** What of a chosen folder is a picture, and not a system's own. */
export function picturesOf(files) {
  return [...files].filter((file) => isPicture(file.webkitRelativePath || file.name));
}

const isPicture = (path) => PICTURE.test(path) && !HIDDEN.test(path);

async function collect(entry, files, inFolder) {
  if (entry.isFile) {
    if (!inFolder || isPicture(entry.fullPath)) files.push(await new Promise((...done) => entry.file(...done)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // readEntries answers at most 100 entries a call; an empty list is the end.
    const batch = await new Promise((...done) => reader.readEntries(...done));
    if (!batch.length) return;
    for (const child of batch) await collect(child, files, true);
  }
}
