/** Records one spoken query. */

import { text } from "./text.js";

const FORMATS = [
  ["audio/webm;codecs=opus", "webm"],
  ["audio/mp4", "m4a"],
  ["audio/ogg;codecs=opus", "ogg"],
];
const REFUSALS = {
  NotAllowedError: text.voice.blocked,
  NotFoundError: text.voice.missing,
  NotReadableError: text.voice.busy,
};

/** Why this browser cannot record here, in words, or null if it can. */
function whyNot() {
  if (!window.isSecureContext) return text.voice.insecure;
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return text.voice.unable;
  return null;
}

/**
 * Starts recording. Resolves to {stop(), cancel(), level(), recording}: `recording` is a promise of the File, or of
 * null after cancel(); it stops by itself after `mostMs`. Throws an Error whose message can be shown.
 */
export async function startRecording(mostMs) {
  const stream = await openMicrophone();
  const [mimeType, extension] = FORMATS.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
  const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
  const meter = meterOf(stream);
  const parts = [];
  let cancelled = false;
  const stop = () => {
    if (recorder.state !== "inactive") recorder.stop();
  };
  const cancel = () => {
    cancelled = true;
    stop();
  };
  const timer = setTimeout(stop, mostMs);
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  const recording = new Promise((resolve) => {
    recorder.addEventListener("stop", () => {
      clearTimeout(timer);
      meter.close();
      for (const track of stream.getTracks()) track.stop();
      resolve(cancelled ? null : new File(parts, `voice.${extension}`, { type: recorder.mimeType }));
    });
  });
  recorder.start();
  return { stop, cancel, level: meter.level, recording };
}

/** `level()` is how loud it is now: the root mean square of the samples, 0 to 1. */
function meterOf(stream) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const level = () => {
    analyser.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
  };
  return { level, close: () => context.close() };
}

async function openMicrophone() {
  const reason = whyNot();
  if (reason) throw new Error(reason);
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? text.voice.failed(error.message));
  }
}
