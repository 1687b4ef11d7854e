/** All that the status page says. */

const number = (value, digits = 0) => value.toLocaleString(undefined, { maximumFractionDigits: digits });
const units = { ms: "ms", mb: "MB", percent: "%", rate: "/s", count: "" };
const withUnit = (value, unit) => `${number(value, value < 10 && unit !== "count" ? 1 : 0)} ${units[unit]}`.trim();

/** `4 min`, `2 h 10 min`, `3 days`. */
export function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} days`;
}

export const text = {
  title: "Status · Recollect",
  toPhotos: "To the photos",
  signOut: "Sign out",
  now: "Now",
  load: "Load",
  latency: "How long searches take",
  imports: "Imports",
  model: "Model",
  searches: "Recent searches",
  change: "Change the model",
  modelName: "Model",
  adminKey: "Access key with the scope admin; none if you have signed in with one",
  doChange: "Change",
  doRollback: "Go back to the one before",
  healthy: "Everything works",
  starting: "Starting",
  unhealthy: "Something is wrong",
  unreachable: "The server cannot be reached",
  facts: {
    photos: "Photos",
    size: "Originals",
    model: "Model",
    device: "Runs on",
    memory: "Memory",
    uptime: "Running for",
    searches: "Searches",
    voice: "Voice",
    reading: "Text to read",
    version: "Version",
  },
  off: "off",
  none: "nothing",
  bytes: (bytes) => `${number(bytes / 1e6, bytes < 1e8 ? 1 : 0)} MB`,
  mb: (mb) => withUnit(mb * 1.048576, "mb"),
  number,
  charts: {
    photos: "Photos",
    queue: "Imports waiting",
    memory: "Memory",
    cpu: "Processor, of one core",
    rate: "Answers a second",
    text: "By words",
    image: "By a picture",
    voice: "By voice",
  },
  kinds: { text: "words", image: "picture", voice: "voice", similar: "similar photos", mixed: "mixed" },
  value: withUnit,
  half: "half of them within",
  most: "95 % within",
  noSearches: "no searches of this kind lately",
  noData: "no values yet",
  span: (seconds) => `${duration(seconds)} ago`,
  nowMark: "now",
  chart: (title, unit, { now, least, most, seconds }) =>
    `${title}: ${withUnit(now, unit)} now, between ${withUnit(least, unit)} and ${withUnit(most, unit)} in the last ${duration(seconds)}.`,
  latencyChart: (title, half, most, count) =>
    `${title}, the last ${number(count)} searches: half of them within ${withUnit(half, "ms")}, 95 % within ${withUnit(most, "ms")}.`,
  noImports: "Nothing has been imported yet.",
  importTitle: (source, id) => `${source} (${id})`,
  importState: ({ total, waiting, ready, known, failed }) =>
    [
      `${number(total - waiting)} of ${number(total)}`,
      ready && `${number(ready)} added`,
      known && `${number(known)} there already`,
      failed && `${number(failed)} failed`,
    ]
      .filter(Boolean)
      .join(" · "),
  left: (seconds) => `about ${duration(seconds)} left`,
  paused: (reason) => `Imports wait: ${reason}`,
  failures: (n) => `What failed (${number(n)})`,
  firstFailures: (n) => `The first ${number(n)} are shown.`,
  retry: "Try them again",
  retried: (n) => (n ? `${number(n)} wait again.` : "None of them can do better: they must be sent anew."),
  modelNow: (space, why) => `${space}: ${why}.`,
  modelChanging: (change) =>
    `Changing to ${change.model}: ${number(change.done)} of ${number(change.total)} photos` +
    (change.seconds_left === null ? "" : `, about ${duration(change.seconds_left)} left`) +
    (change.error ? `. It does not go on: ${change.error}` : "."),
  modelFailed: (change) => `The change to ${change.model} was given up${change.error ? `: ${change.error}` : "."}`,
  changeAccepted: (model) => `The change to ${model} has begun. Searches stay as they are until it is done.`,
  columns: ["When", "By", "Asked for", "Found", "Took"],
  aPicture: "a picture",
  noRecent: "Nobody has searched yet.",
};
