"""How fast is the embedded encoder, and what do kept memory and threads of its own gain?

Each case runs in a process of its own, in turn, several times; the figure is the median. The case "plain" is the
same encoder called from worker threads of a web server, without either. "256 at once" are as many threads that
each ask for one text, beside the same texts one after another. Run: python -m benchmarks.bench_encode
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import results

CASES = ("plain", "memory", "threads", "both")
ROUNDS = 3
CALLERS = 256
PHOTOS = Path(__file__).parent.parent / "app" / "samples"


def main() -> None:
    """Print a table, and write results/encode.json."""
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(ROUNDS):
        for case in CASES:
            runs[case].append(json.loads(run(case)))
    medians = {
        case: {key: statistics.median(run[key] for run in runs[case]) for key in runs[case][0]} for case in CASES
    }
    print(f"{'ms':10}{'picture, 16 at once':>22}{'picture alone':>16}{'text alone':>13}")
    for case, ms in medians.items():
        print(f"{case:10}{ms['image_16']:22.1f}{ms['image_1']:16.1f}{ms['text_1']:13.1f}")
    gain = {key: medians["plain"][key] / medians["both"][key] for key in medians["plain"]}
    print(f"{'gain':10}{gain['image_16']:21.2f}×{gain['image_1']:15.2f}×{gain['text_1']:12.2f}×")
    together = json.loads(run("together"))
    print(
        f"texts a second, one by one: {together['one_by_one']:.0f}, {CALLERS} at once: {together['at_once']:.0f}"
    )
    results.write("encode", {"median_ms": medians, "gain": gain, "texts_per_s": together}, ["torch", "timm"])


def run(case: str) -> bytes:
    """What a process of its own prints."""
    command = [sys.executable, "-m", "benchmarks.bench_encode", case]
    return subprocess.run(command, check=True, capture_output=True).stdout


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


def texts_together() -> dict[str, float]:
    """Texts a second through the service's batches, without its cache."""
    from app.services.allocator import keep_large_blocks
    from app.services.batching import BatchedEncoder
    from app.services.embedded_encoder import EmbeddedEncoder
    from app.services.inference_thread import InferenceThreads, available_cores, leave_the_cores_to_inference

    keep_large_blocks()
    leave_the_cores_to_inference()
    threads = InferenceThreads.on(available_cores())
    encoder = BatchedEncoder(EmbeddedEncoder(), threads, max_batch=16, max_queue=CALLERS, timeout_s=60)
    texts = [f"a dog in the snow beside {number} trees" for number in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        one_by_one = _ms(lambda: [encoder.encode_texts([text]) for text in texts], ROUNDS)
        at_once = _ms(lambda: list(pool.map(lambda text: encoder.encode_texts([text]), texts)), ROUNDS)
    encoder.close()
    threads.close()
    return {"one_by_one": CALLERS / one_by_one * 1000, "at_once": CALLERS / at_once * 1000}


def _ms(work: Callable[[], object], times: int) -> float:
    work()
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(texts_together() if sys.argv[1] == "together" else measure(sys.argv[1])))
    else:
        main()
