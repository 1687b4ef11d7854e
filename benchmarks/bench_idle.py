"""What does the first search after a pause cost beside a warm one, and how much of that is the machine's doing?

A server of its own, on loopback, with 10,000 photos, that nobody asks for a while. There are two warm ones: as
people ask, one a second, and one right after the other, which no person does, and which finds everything in the
processor's caches. The limit is a process that holds as much memory as the layers of the text tower and does
nothing but add it up: what the machine has taken away from that one meanwhile, no server can keep.
Run: python -m benchmarks.bench_idle [--pauses 15 60] [--tries 5]; with an hour: --pauses 15 60 3600
"""

import argparse
import http.client
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from app.services.embedded_encoder import EmbeddedEncoder
from app.services.photo_store import LocalPhotoStore
from benchmarks import results
from benchmarks.bench_http import PHOTOS, Paths, new_words
from benchmarks.bench_search import stored
from tests.server import Server, running

LAYERS_BYTES = 43 * 2**20  # of the embedded text tower in float32, without its vocabulary
WARM = 10
PACE_S = 1.0  # of people who ask one thing after another
LONG_S = 600  # pauses as long as this are waited for once

Work = Callable[[], object]


def main() -> None:
    """Print a table, and write results/idle.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pauses", type=float, nargs="+", default=[15, 60], help="seconds")
    parser.add_argument("--tries", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder) / "recollect.db", PHOTOS, EmbeddedEncoder.space).dispose()
        LocalPhotoStore(Path(folder) / "uploads").set_up()
        with running(Path(folder), RECOLLECT_LOG_LEVEL="warning") as server:
            found = measure(server, options.pauses, options.tries)
    results.write("idle", {"found": found}, ["torch", "sqlalchemy", "fastapi"])


def measure(server: Server, pauses: Sequence[float], tries: int) -> dict[str, dict[str, float]]:
    """Medians by pause: ms of first and warm ones, and how many times as long the first ones take."""
    weights, paths = np.ones(LAYERS_BYTES // 4, np.float32), new_words()
    cases: dict[str, Work] = {"search": partial(search, server.port, paths), "reading": weights.sum}
    found = {}
    for pause in pauses:
        rounds = [after(pause, cases) for _ in range(tries if pause < LONG_S else 1)]
        median = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        found[f"{pause:g}"] = median
        print(f"after {pause:g} s: ", end="")
        print(", ".join(f"{key} {value:.2f}" for key, value in median.items()), flush=True)
    return found


def after(pause: float, cases: dict[str, Work]) -> dict[str, float]:
    """Each case warm, then a pause, then each once: the search first, as reading would empty the caches."""
    in_a_row = {name: warm(work, 0.0) for name, work in cases.items()}
    paced = {name: warm(work, PACE_S) for name, work in cases.items()}
    time.sleep(pause)
    first = {name: ms(work) for name, work in cases.items()}
    report = {"search_first_ms": first["search"], "search_paced_ms": paced["search"]}
    for name in cases:
        report[f"{name}_of_paced"] = first[name] / paced[name]
        report[f"{name}_of_in_a_row"] = first[name] / in_a_row[name]
    return report


def warm(work: Work, pace_s: float) -> float:
    """Median in ms, with pace_s seconds of rest before each."""
    times = []
    for _ in range(WARM):
        time.sleep(pace_s)
        times.append(ms(work))
    return statistics.median(times)


def search(port: int, paths: Paths) -> None:
    """Over a connection of its own, as one who comes back after a while has none. Raises: AssertionError."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", next(paths))
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status


def ms(work: Work) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
