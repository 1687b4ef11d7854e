"""Voice: milliseconds of each step and word errors, beside openai-whisper's own transcribe on the same weights.

    python benchmarks/bench_voice.py --speech ../shared/corpora/speech

The folder holds recordings and transcripts.json, {"file": "what is said"}. Words are compared after Whisper's own
English normalizer, as in its paper: "10 of clubs" is "ten of clubs".
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any, TypeVar

import torch
from whisper.normalizers import EnglishTextNormalizer

from app.errors import NoSpeech
from app.services.audio import SAMPLE_RATE, decode_audio
from app.services.interfaces import Samples16k
from app.services.speech_detector import SpeechDetector
from app.services.transcriber import WhisperTranscriber
from app.services.whisper_weights import load_tiny_en

RESULTS = Path(__file__).parent / "results" / "voice.json"
SPEECH = Path(__file__).parent.parent.parent / "shared" / "corpora" / "speech"
MAX_SECONDS = 60.0
STEPS = ("decode", "detect", "ours", "whisper")

T = TypeVar("T")


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
    with warnings.catch_warnings():  # it leaves its word list open
        warnings.simplefilter("ignore", ResourceWarning)
        return EnglishTextNormalizer()


def timed(call: Callable[[], T], repeats: int) -> tuple[T, float]:
    """The last answer, and the median milliseconds of `repeats` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = call()
        times.append((time.perf_counter() - start) * 1000)
    return answer, median(times)


class Bench:
    """Both ways of hearing, on the same weights."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.detector = SpeechDetector()
        self.transcriber = WhisperTranscriber("tiny.en", "cpu")
        self.whisper: Any = load_tiny_en()

    def ours(self, samples: Samples16k) -> str:
        try:
            return self.transcriber.transcribe(samples).text
        except NoSpeech:
            return ""

    def theirs(self, samples: Samples16k) -> str:
        text: str = self.whisper.transcribe(samples, fp16=False)["text"]
        return text

    def clip(self, path: Path, expected: str) -> dict[str, Any]:
        """One row: milliseconds by step, words said, and word errors of both."""
        data = path.read_bytes()
        samples, decode_ms = timed(lambda: decode_audio(data, MAX_SECONDS), self.repeats)
        _, detect_ms = timed(lambda: self.detector.speech_seconds(samples), self.repeats)
        text, ours_ms = timed(lambda: self.ours(samples), self.repeats)
        reference, whisper_ms = timed(lambda: self.theirs(samples), self.repeats)
        said = words(expected)
        return {
            "file": path.name,
            "seconds": len(samples) / SAMPLE_RATE,
            "ms": dict(zip(STEPS, (decode_ms, detect_ms, ours_ms, whisper_ms), strict=True)),
            "words": len(said),
            "errors": {
                "ours": word_errors(said, words(text)),
                "whisper": word_errors(said, words(reference)),
            },
            "text": text,
        }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    total = sum(row["words"] for row in rows)
    return {
        "clips": len(rows),
        "mean_ms": {step: mean(row["ms"][step] for row in rows) for step in STEPS},
        "wer": {who: sum(row["errors"][who] for row in rows) / total for who in ("ours", "whisper")},
    }


def print_table(rows: Sequence[dict[str, Any]], total: dict[str, Any]) -> None:
    print(f"{'clip':24}{'s':>6}{'decode':>9}{'detect':>9}{'ours':>9}{'whisper':>9}   errors ours/whisper/words")
    for row in rows:
        ms = "".join(f"{row['ms'][step]:9.1f}" for step in STEPS)
        errors = f"{row['errors']['ours']}/{row['errors']['whisper']}/{row['words']}"
        print(f"{row['file']:24}{row['seconds']:6.1f}{ms}   {errors}")
    ms = "".join(f"{total['mean_ms'][step]:9.1f}" for step in STEPS)
    wer = total["wer"]
    print(f"{'mean, ms; word error rate':30}{ms}   {wer['ours']:.1%} / {wer['whisper']:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder of recordings and transcripts.json")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each step; the median counts")
    arguments = parser.parse_args()
    transcripts: dict[str, str] = json.loads((arguments.speech / "transcripts.json").read_text())
    bench = Bench(arguments.repeats)
    rows = [bench.clip(arguments.speech / name, said) for name, said in transcripts.items()]
    total = summary(rows)
    print_table(rows, total)
    machine = {"cpus": os.cpu_count(), "torch_threads": torch.get_num_threads(), "torch": torch.__version__}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "total": total, "clips": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
