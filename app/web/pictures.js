/** Pictures from this device that are asked with. They live as long as the tab, under a number. */

const files = new Map();
const addresses = new Map();

export function keepPicture(file) {
  files.set(files.size + 1, file);
  return files.size;
}

/** Undefined for a number of another tab, or from before the page was loaded anew. */
export const pictureOf = (key) => files.get(key);

export function pictureAddress(key) {
  if (!addresses.has(key)) addresses.set(key, URL.createObjectURL(files.get(key)));
  return addresses.get(key);
}
