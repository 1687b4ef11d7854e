"""Whisper (Radford et al. 2022) behind a speech detector: noise and music are not made into words."""

import threading
import time
import warnings
from typing import Any

from app.errors import EncoderFailed, NoSpeech
from app.services.audio import raised
from app.services.compact_whisper import CompactWhisper
from app.services.interfaces import Samples16k, Transcript
from app.services.speech_detector import SpeechDetector
from app.services.weight_files import WeightsRefused
from app.services.whisper_weights import load_tiny_en

PACKAGED_MODEL = "tiny.en"

# Measured 2026-11, in frames of 32 ms that the detector calls speech. With speech (8 recordings, each as it is, at
# −20 and −40 dB, and with white noise at 20 and 10 dB SNR; 60 short synthetic phrases): 8 or more ("cat" has 8).
# Without (558 clips of 1.5 to 10 s: silence, white, pink and brown noise, hum, tones, clicks, drums, chords,
# melodies, at −50 to −8 dBFS): 1 or none. Four frames lie between.
MIN_SPEECH_SECONDS = 0.12

# Whisper's published signs that a text was not heard but invented (section 4.5 of the paper). A low
# log-probability alone is none: right single words have it too (−1.25 for "football"). Without speech, and
# without the detector, a no-speech probability of 0.34 to 0.94 and a log-probability of −1.0 to −1.8 were usual.
NO_SPEECH_PROBABILITY = 0.6
LOW_LOG_PROBABILITY = -1.0
REPETITIVE = 2.4  # gzip compression ratio; "beep beep beep …" for a pure tone has 29

# Another temperature is tried only after a repetition. Trying it for a low log-probability as well (Whisper's
# default) took 2.6 times as long and found no word more, on recordings and on synthetic phrases.
TEMPERATURES = (0.0, 0.4, 0.8)

NOTHING_HEARD = "No speech heard. Say what you are looking for, close to the microphone, and try again."


class WhisperTranscriber:
    """Transcriber of openai-whisper. `tiny.en` comes with the service; other sizes load by Whisper's own names.

    Safe for any number of threads; one clip is transcribed at a time (Whisper's kv-cache hooks sit on the model).
    Raises at construction: WeightsRefused.
    """

    def __init__(self, model_name: str = PACKAGED_MODEL, device: str = "cpu") -> None:
        self.model = model_name
        model = _load(model_name, device)
        read_vocabulary(model)
        self._whisper = CompactWhisper(model, REPETITIVE) if model.device.type == "cpu" else model
        self._detector = SpeechDetector()
        self._lock = threading.Lock()
        self._options = {
            "language": None if self._whisper.is_multilingual else "en",
            "fp16": self._whisper.device.type == "cuda",
            "temperature": TEMPERATURES,
            "compression_ratio_threshold": REPETITIVE,
            "logprob_threshold": None,
            "no_speech_threshold": None,
            "condition_on_previous_text": False,
        }

    def transcribe(self, samples: Samples16k) -> Transcript:
        """The words in (n,) mono 16 kHz samples; `ms` is Whisper's own time. Raises: NoSpeech, EncoderFailed."""
        loud = raised(samples)
        if self._detector.speech_seconds(loud) < MIN_SPEECH_SECONDS:
            raise NoSpeech(NOTHING_HEARD)
        with self._lock:
            start = time.perf_counter()
            result = self._run(loud)
            ms = (time.perf_counter() - start) * 1000
        heard = [segment for segment in result["segments"] if not is_invented(segment)]
        if not heard:
            raise NoSpeech(NOTHING_HEARD)
        return Transcript(
            text="".join(segment["text"] for segment in heard).strip(),
            language=result["language"],
            no_speech_prob=max(segment["no_speech_prob"] for segment in heard),
            ms=ms,
        )

    def _run(self, samples: Samples16k) -> dict[str, Any]:
        try:
            result: dict[str, Any] = self._whisper.transcribe(samples, **self._options)
        except (RuntimeError, ValueError) as error:  # out of memory; NaN where probabilities should be
            raise EncoderFailed("Whisper failed on this recording.") from error
        return result


def is_invented(segment: dict[str, Any]) -> bool:
    """Whether Whisper's segment has no words, or bears the signs of words that nobody said."""
    if not any(character.isalnum() for character in segment["text"]):
        return True
    if segment["compression_ratio"] > REPETITIVE:
        return True
    return bool(segment["no_speech_prob"] > NO_SPEECH_PROBABILITY and segment["avg_logprob"] < LOW_LOG_PROBABILITY)


def _load(model_name: str, device: str) -> Any:
    if model_name == PACKAGED_MODEL:
        return load_tiny_en().to(device)
    import whisper

    try:
        return whisper.load_model(model_name, device)  # checks the SHA-256 of the names it knows
    except (RuntimeError, OSError) as error:
        raise WeightsRefused(f"The Whisper model {model_name} cannot be loaded: {error}") from error


def read_vocabulary(model: Any) -> None:
    """Now instead of at the first clip; openai-whisper keeps it. It leaves the file to be closed by Python."""
    from whisper.tokenizer import get_encoding

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        get_encoding(name="multilingual" if model.is_multilingual else "gpt2", num_languages=model.num_languages)
