"""Voice: milliseconds a clip and word errors, beside openai-whisper and faster-whisper on the same weights.

    python -m benchmarks.bench_voice --speech ../shared/corpora/speech

The folder holds recordings and transcripts.json, {"file": "what is said"}. Words are compared after Whisper's own
English normalizer, as in its paper: "10 of clubs" is "ten of clubs". Each way has a process of its own, so that no
other's threads hinder it, and runs there in the service's thread for heavy work; they take turns clip by clip.
faster-whisper reads the packaged weights as they are; where it is not installed it is reported as missing:

    pip install --target /somewhere faster-whisper; PYTHONPATH=/somewhere python -m benchmarks.bench_voice
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

from app.errors import NoSpeech
from app.services.allocator import keep_large_blocks
from app.services.audio import SAMPLE_RATE, decode_audio
from app.services.inference_thread import InferenceThreads, available_cores, leave_the_cores_to_inference
from app.services.interfaces import Samples16k
from app.services.transcriber import WhisperTranscriber
from app.services.whisper_weights import load_tiny_en, tiny_en_file
from benchmarks import results

ROOT = Path(__file__).parent.parent
MANY_CLIPS = ROOT.parent / "shared" / "corpora" / "speech"
SPEECH = MANY_CLIPS if MANY_CLIPS.is_dir() else ROOT / "tests" / "data" / "speech"
MAX_SECONDS = 60.0
PACKAGES = ("torch", "openai-whisper", "faster-whisper", "ctranslate2")
OURS, PEER = "ours", "whisper.transcribe"

Hear = Callable[[Samples16k], str]


def word_errors(expected: Sequence[str], heard: Sequence[str]) -> int:
    """Least number of words to put in, leave out or change (Levenshtein's distance of two word lists)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(expected, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != other))
    return row[-1]


def words(text: str) -> list[str]:
    """Words after Whisper's normalizer: spelling, numbers and punctuation made alike."""
    normal: str = _normalizer()(text)
    return normal.split()


@cache
def _normalizer() -> Any:
    from whisper.normalizers import EnglishTextNormalizer

    with warnings.catch_warnings():  # it leaves its word list open
        warnings.simplefilter("ignore", ResourceWarning)
        return EnglishTextNormalizer()


def _ours() -> Hear:
    transcriber = WhisperTranscriber("tiny.en", "cpu")

    def hear(samples: Samples16k) -> str:
        try:
            return transcriber.transcribe(samples).text
        except NoSpeech:
            return ""

    return hear


def _transcribe() -> Hear:
    whisper = load_tiny_en()
    return lambda samples: str(whisper.transcribe(samples, fp16=False)["text"])


def _decode() -> Hear:
    """One window, one temperature: no long recordings, no second try."""
    from whisper.audio import log_mel_spectrogram, pad_or_trim
    from whisper.decoding import DecodingOptions

    whisper, options = load_tiny_en(), DecodingOptions(language="en", fp16=False)
    return lambda samples: str(whisper.decode(log_mel_spectrogram(pad_or_trim(samples)), options).text)


def _faster_whisper() -> Hear:
    """Greedy, as the others are. Raises: ImportError."""
    from faster_whisper import WhisperModel

    model = WhisperModel(
        str(tiny_en_file().parent), device="cpu", compute_type="int8", cpu_threads=available_cores()
    )
    return lambda samples: "".join(part.text for part in model.transcribe(samples, language="en", beam_size=1)[0])


WAYS: dict[str, Callable[[], Hear]] = {  # `ours` includes the speech detector
    OURS: _ours,
    PEER: _transcribe,
    "whisper.decode": _decode,
    "faster-whisper int8": _faster_whisper,
}


def serve(way: str) -> None:
    """In a process of its own: for each path on the standard input, one JSON line with milliseconds and text."""
    keep_large_blocks()
    leave_the_cores_to_inference()
    try:
        hear = WAYS[way]()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"missing": None}), flush=True)
    threads = InferenceThreads.on(available_cores())
    for line in sys.stdin:
        samples = decode_audio(Path(line.strip()).read_bytes(), MAX_SECONDS)
        start = time.perf_counter()
        text = threads.heavy.run(hear, samples)
        print(json.dumps({"ms": (time.perf_counter() - start) * 1000, "text": text}), flush=True)
    threads.close()


class Served:
    """One way of hearing in its process."""

    def __init__(self, way: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.bench_voice", "--way", way]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.missing: str | None = self._answer()["missing"]

    def hear(self, path: Path) -> dict[str, Any]:
        assert self._process.stdin
        print(path, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def measure(path: Path, said: str, ways: dict[str, Served], rounds: int) -> dict[str, Any]:
    """One clip: each way's median milliseconds over the rounds, and its word errors; a first round warms up."""
    heard = [{name: way.hear(path) for name, way in ways.items()} for _ in range(rounds + 1)][1:]
    expected = words(said)
    return {
        "file": path.name,
        "seconds": len(decode_audio(path.read_bytes(), MAX_SECONDS)) / SAMPLE_RATE,
        "ms": {name: median(turn[name]["ms"] for turn in heard) for name in ways},
        "words": len(expected),
        "errors": {name: word_errors(expected, words(heard[-1][name]["text"])) for name in ways},
        "text": {name: heard[-1][name]["text"] for name in ways},
    }


def summary(clips: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each way: mean milliseconds a clip, the same relative to whisper.transcribe, and the word error rate."""
    total = sum(clip["words"] for clip in clips)
    peer = mean(clip["ms"][PEER] for clip in clips)
    rows = {}
    for name in clips[0]["ms"]:
        ms = mean(clip["ms"][name] for clip in clips)
        errors = sum(clip["errors"][name] for clip in clips)
        rows[name] = {"ms": ms, "of_whisper_transcribe": ms / peer, "word_error_rate": errors / total}
    return rows


def print_table(clips: Sequence[dict[str, Any]], rows: dict[str, dict[str, float]]) -> None:
    print(f"{'clip':22}{'s':>6}" + "".join(f"{name:>21}" for name in rows))
    for clip in clips:
        cells = "".join(f"{clip['ms'][name]:15.0f} ms {clip['errors'][name]:2}" for name in rows)
        print(f"{clip['file']:22}{clip['seconds']:6.1f}{cells}")
    print(f"{'mean':28}" + "".join(f"{row['ms']:18.0f} ms" for row in rows.values()))
    print(
        f"{'of whisper.transcribe':28}" + "".join(f"{row['of_whisper_transcribe']:21.2f}" for row in rows.values())
    )
    print(f"{'word error rate':28}" + "".join(f"{row['word_error_rate']:21.1%}" for row in rows.values()))


def compare(speech: Path, rounds: int) -> None:
    """Print a table, and write results/voice.json."""
    transcripts: dict[str, str] = json.loads((speech / "transcripts.json").read_text())
    started = {name: Served(name) for name in WAYS}
    missing = {name: way.missing for name, way in started.items() if way.missing}
    ways = {name: way for name, way in started.items() if not way.missing}
    clips = [measure(speech / name, said, ways, rounds) for name, said in transcripts.items()]
    for way in ways.values():
        way.close()
    rows = summary(clips)
    print_table(clips, rows)
    for name, why in missing.items():
        print(f"{name} is missing: {why}")
    results.write("voice", {"ways": rows, "missing": missing, "clips": clips}, PACKAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder of recordings and transcripts.json")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over the ways; the median counts")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        serve(arguments.way)
    else:
        compare(arguments.speech, arguments.rounds)


if __name__ == "__main__":
    main()
