/**
 * Uploads a picture as a page does, and says on the last line which requests that took:
 * node tus_upload.cjs PACKAGE ENDPOINT PICTURE URLS [STOP_AT]
 *
 * URLS is the file that remembers uploads under way. From STOP_AT bytes on, the process dies.
 */
const fs = require("node:fs");

const [tusJsClient, endpoint, picture, urls, stopAt = "Infinity"] = process.argv.slice(2);
const tus = require(tusJsClient);
const requests = [];

function end(status) {
  console.log(JSON.stringify(requests));
  process.exit(status);
}

const upload = new tus.Upload(fs.createReadStream(picture), {
  endpoint,
  chunkSize: 64 * 1024,
  urlStorage: new tus.FileUrlStorage(urls),
  metadata: { filename: "from-node.png", tags: "phone" },
  retryDelays: null,
  onBeforeRequest: (request) => requests.push([request.getMethod(), request.getHeader("Upload-Offset") ?? null]),
  onChunkComplete: (_size, accepted) => accepted >= Number(stopAt) && end(0),
  onSuccess: () => end(0),
  onError: (error) => {
    console.error(error);
    end(1);
  },
});

upload.findPreviousUploads().then((found) => {
  if (found.length) upload.resumeFromPreviousUpload(found[0]);
  upload.start();
});
