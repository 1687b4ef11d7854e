/** Records one spoken query. */

const MAX_MS = 15_000;
const FORMATS = [
  ["audio/webm;codecs=opus", "webm"],
  ["audio/mp4", "m4a"],
  ["audio/ogg;codecs=opus", "ogg"],
];
const REFUSALS = {
  NotAllowedError: "The microphone is blocked. Allow it for this page in the browser's address bar and try again.",
  NotFoundError: "No microphone was found on this device.",
  NotReadableError: "The microphone is in use by another program.",
};

/** Why this browser cannot record here, in words, or null if it can. */
export function whyNot() {
  if (!window.isSecureContext) return "Browsers allow the microphone only over https or on localhost.";
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return "This browser cannot record sound.";
  return null;
}

/**
 * Starts recording. Resolves to {stop(), cancel(), recording}: `recording` is a promise of the File, or of
 * null after cancel(); it stops by itself after 15 s. Throws an Error whose message can be shown.
 */
export async function startRecording() {
  const stream = await openMicrophone();
  const [mimeType, extension] = FORMATS.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
  const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
  const parts = [];
  let cancelled = false;
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  const stop = () => {
    if (recorder.state !== "inactive") recorder.stop();
  };
  const timer = setTimeout(stop, MAX_MS);
  const recording = new Promise((resolve) => {
    recorder.addEventListener("stop", () => {
      clearTimeout(timer);
      for (const track of stream.getTracks()) track.stop();
      resolve(cancelled ? null : new File(parts, `voice.${extension}`, { type: recorder.mimeType }));
    });
  });
  const cancel = () => {
    cancelled = true;
    stop();
  };
  recorder.start();
  return { stop, cancel, recording };
}

async function openMicrophone() {
  const reason = whyNot();
  if (reason) throw new Error(reason);
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The microphone did not start: ${error.message}`);
  }
}
