/** What the status page asks the server for, and the two things that it can change. */

/** The server has answered, but not what was asked for. */
export class Refused extends Error {}

export const answers = async () => {
  const [health, stats, metrics, imports, recent] = await Promise.all([
    get("/health"), get("/stats"), get("/metrics", "text").catch(() => ""), get("/imports?limit=5"), get("/queries/recent?limit=300"),
  ]); // prettier-ignore
  return { health, stats, metrics, imports, queries: recent.queries };
};

/** The first failed items of an import. */
export const failures = async (importId, limit) =>
  (await get(`/imports/${importId}/items?status=failed&limit=${limit}`)).items;

export const retryImport = (importId) => post(`/imports/${importId}/retry`);
export const changeModel = (model, key) => post("/models/change", { model }, keyed(key));
export const rollBackModel = (key) => post("/models/rollback", null, keyed(key));

/** Without a key it is the one that this browser has signed in with. */
const keyed = (key) => (key ? { "X-API-Key": key } : {});

async function get(path, kind = "json") {
  const response = await fetch(path, { headers: { Accept: kind === "json" ? "application/json" : "*/*" } });
  if (response.status === 401) return (await import("../signin.js")).signIn();
  if (!response.ok && path !== "/health") throw await problemOf(response); // an unhealthy server tells why
  return response[kind]();
}

async function post(path, body = null, headers = {}) {
  const options = { method: "POST", headers: { Accept: "application/json", ...headers } };
  if (body) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const response = await fetch(path, options);
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

async function problemOf(response) {
  const { detail, title } = await response.json().catch(() => ({}));
  return new Refused(detail || title || String(response.status));
}
