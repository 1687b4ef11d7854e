// node drop_in.js URL PICTURE: what a client in Node does with the drop-in routes; prints the answers as JSON.
const fs = require("node:fs");
const axios = require("axios");
const FormData = require("form-data");

const [url, picture] = process.argv.slice(2);

async function post(path, fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return (await axios.post(url + path, form, { headers: form.getHeaders() })).data;
}

async function main() {
  const ingested = await post("/ingest_stream/", {
    image_file: fs.createReadStream(picture),
    item_id: "node-1",
    tags_str: "pizza, dinner",
    category: "food",
  });
  const found = (await axios.post(`${url}/search_text/`, { query_text: "a pizza on a plate" })).data;
  const pairs = (await axios.post(`${url}/search`, { query: "a pizza on a plate" })).data;
  const embedded = await post("/embed-image", { file: fs.createReadStream(picture) });
  const image = await axios.get(`${url}/images/${found.results[0].image_path}`, { responseType: "arraybuffer" });
  console.log(JSON.stringify({ ingested, found, pairs, embedded, image_bytes: image.data.length }));
}

main().catch((error) => {
  console.error(error.response ? error.response.data : error);
  process.exit(1);
});
