"""How fast is the embedded encoder, and what do kept memory and threads of its own gain?

Each case runs in a process of its own, in turn, several times; the figure is the median. The case "plain" is the
same encoder called from worker threads of a web server, without either. Run: python -m benchmarks.bench_encode
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CASES = ("plain", "memory", "threads", "both")
ROUNDS = 3
PHOTOS = Path(__file__).parent.parent / "tests" / "data" / "photos"
RESULTS = Path(__file__).parent / "results" / "encode.json"


def main() -> None:
    """Print a table, and write results/encode.json."""
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(ROUNDS):
        for case in CASES:
            command = [sys.executable, "-m", "benchmarks.bench_encode", case]
            runs[case].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    medians = {
        case: {key: statistics.median(run[key] for run in runs[case]) for key in runs[case][0]} for case in CASES
    }
    print(f"{'ms':10}{'picture, 16 at once':>22}{'picture alone':>16}{'text alone':>13}")
    for case, ms in medians.items():
        print(f"{case:10}{ms['image_16']:22.1f}{ms['image_1']:16.1f}{ms['text_1']:13.1f}")
    gain = {key: medians["plain"][key] / medians["both"][key] for key in medians["plain"]}
    print(f"{'gain':10}{gain['image_16']:21.2f}×{gain['image_1']:15.2f}×{gain['text_1']:12.2f}×")
    RESULTS.write_text(json.dumps({"median_ms": medians, "gain": gain}, indent=1) + "\n")


def measure(case: str) -> dict[str, float]:
    """ms a picture in batches of 16 and alone, ms a text alone; called as the service calls it."""
    from PIL import Image

    from app.services.allocator import keep_large_blocks
    from app.services.embedded_encoder import EmbeddedEncoder
    from app.services.inference_thread import (
        InferenceThread,
        InferenceThreads,
        available_cores,
        leave_the_cores_to_inference,
    )

    if case in ("memory", "both"):
        keep_large_blocks()
    own_threads = case in ("threads", "both")
    if own_threads:
        leave_the_cores_to_inference()
    encoder = EmbeddedEncoder()
    images = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    encoder.encode_images(images[:1])  # the first thread has a team of its own from here on, unless told not to
    cores = available_cores()
    threads = InferenceThreads.on(cores)
    if not own_threads:  # a worker thread for each kind, with torch's own number of OpenMP threads
        threads = InferenceThreads(InferenceThread("pictures", cores), InferenceThread("texts", cores))
    return {
        "image_16": _ms(lambda: threads.heavy.run(encoder.encode_images, images[:16]), 6) / 16,
        "image_1": _ms(lambda: threads.heavy.run(encoder.encode_images, images[:1]), 16),
        "text_1": _ms(lambda: threads.short.run(encoder.encode_texts, ["a dog in the snow"]), 32),
    }


def _ms(work: Callable[[], object], times: int) -> float:
    work()
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
