/** Beside the page: the SHA-256 of a file, so that scrolling stays smooth while thousands are read. */

addEventListener("message", async ({ data: file }) => {
  try {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    postMessage({ sha256: [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("") });
  } catch {
    postMessage({ unreadable: true });
  }
});
