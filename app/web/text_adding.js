/** All that the page says while photos are added, and to whoever has none yet. */

const counted = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`;
const files = (n) => counted(n, "file", "files");

/** `3.1 MB`, as file managers count: a megabyte is a million bytes. */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toLocaleString(undefined, { maximumFractionDigits: power && value < 100 ? 1 : 0 })} ${units[power]}`;
}

/** `about 40 s`, `about 3 min`, `about 2 h 10 min`. */
export function duration(seconds) {
  if (seconds < 55) return `about ${Math.max(5, 5 * Math.round(seconds / 5))} s`;
  const minutes = Math.max(1, Math.round(seconds / 60));
  const hours = Math.floor(minutes / 60);
  return hours ? `about ${hours} h ${minutes % 60} min` : `about ${minutes} min`;
}

const states = {
  waiting: "waiting",
  sending: "sending…",
  working: "being added…",
  added: "added",
  known: "already there",
  failed: "failed",
  stopped: "not added",
  lost: "to be chosen again",
};

export const text = {
  titles: {
    busy: "Adding photos",
    paused: "Paused",
    trouble: "Waiting for the server",
    done: "All done",
    lost: "Some files are missing",
    stopped: "Stopped",
  },
  invite: {
    title: "Drop your photos here",
    anywhere: "Drop photos or folders anywhere, or ",
    files: "choose files",
    or: " or ",
    folder: "a folder",
    private: "They stay on your own server. Then find them by words, by a picture, or by voice.",
    input: "Photos to add",
    folderInput: "Folder of photos to add",
  },
  samples: {
    load: "Load the sample photos",
    loading: (done, total) => `Loading the sample photos: ${done} of ${total}`,
    failed: (reason) => `The sample photos could not be loaded. ${reason}`,
    ready: (n) => `${counted(n, "sample photo is", "sample photos are")} here. Try to find some:`,
    searches: ["people riding horses on the beach", "a red laptop", "pizza and a glass of wine"],
  },
  toStatus: "Status of the server",
  close: "Close this list",
  list: "Files",
  show: "Show",
  pause: "Pause",
  goOn: "Go on",
  stop: "Stop",
  retry: "Try again",
  chooseAgain: "Choose them again",
  states,
  shown: (state, n) => `${state ? states[state].replace("…", "") : "all files"} (${n.toLocaleString()})`,
  summary: (done, total, parts) => [`${done.toLocaleString()} of ${total.toLocaleString()}`, ...parts].join(" · "),
  part: (state, n) => `${n.toLocaleString()} ${states[state]}`,
  sent: (bytes, total) => `${size(bytes)} of ${size(total)} sent`,
  left: (seconds) => `${duration(seconds)} left`,
  allSent: "all sent",
  row: (label, bytes) => `${label} · ${size(bytes)}`,
  percent: (share) => `${Math.floor(100 * share)} %`,
  lost: (n) =>
    `The browser could not keep ${files(n)} while this page was closed. Choose ${n === 1 ? "it" : "them"} again, or ` +
    "the whole folder: what is there already is not sent twice.",
  unreachable: (seconds) => `The server cannot be reached. Trying again in ${seconds} s; nothing is lost.`,
  busy: (seconds) => `The server is busy. Going on in ${seconds} s.`,
  halted: (reason) => `${reason} Nothing is lost: go on once that is mended.`,
  unreadable: "This file cannot be read: it was moved, changed or is a folder.",
  twice: "twice in this list",
  forgotten: "given up on the server",
  unreachableNow: "The server cannot be reached.",
  status: (status) => `The server answered ${status}.`,
  said: (summary) => `Adding photos: ${summary}`,
};
