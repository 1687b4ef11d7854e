"""How many searches a second does the running server answer, and how long do 1, 8, 64 and 256 clients wait?

A server of its own, on loopback, with 10,000 photos. Each client asks again as soon as it is answered. Two limits
are measured beside it: /health (the HTTP stack and a few counts of rows), and the text encoder alone, text after
text, as a server without batches would call it. Run: python -m benchmarks.bench_http
"""

import http.client
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from urllib.parse import quote

import numpy as np

from app.services.embedded_encoder import EmbeddedEncoder
from app.services.inference_thread import InferenceThreads, available_cores, leave_the_cores_to_inference
from app.services.photo_store import LocalPhotoStore
from app.services.precision import image_dtype
from benchmarks import results
from benchmarks.bench_search import stored
from tests.server import Server, running

CLIENTS = (1, 8, 64, 256)
PHOTOS = 10_000
ROUNDS = 3
SECONDS = 4.0
REPEATED = ["a dog in the snow", "a red bus", "horses on the beach", "a laptop on a desk"]

Paths = Iterator[str]


def main() -> None:
    """Print a table, and write results/http.json."""
    alone = encoder_alone()
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder) / "recollect.db", PHOTOS, EmbeddedEncoder.space).dispose()
        LocalPhotoStore(Path(folder) / "uploads").set_up()
        # As many as ask at once: none is refused.
        settings = {"RECOLLECT_LOG_LEVEL": "warning", "RECOLLECT_SEARCH_QUEUE_SIZE": str(max(CLIENTS))}
        with running(Path(folder), **settings) as server:
            rounds = [measure_all(server) for _ in range(ROUNDS)]
    found = {
        case: {
            clients: {key: statistics.median(one[case][clients][key] for one in rounds) for key in MEASURES}
            for clients in CLIENTS
        }
        for case in CASES
    }
    print_table(found, alone)
    report = {"photos": PHOTOS, "encoder_alone_per_s": alone, "found": found}
    results.write("http", report, ["fastapi", "uvicorn", "sqlalchemy", "torch"])


MEASURES = ("per_s", "p50_ms", "p95_ms", "p99_ms")


def new_words() -> Paths:
    """Never the same twice, so that no cache helps."""
    return (f"/search/text?q={quote(f'a dog in the snow, number {number}')}" for number in count(time.time_ns()))


def repeated_words() -> Paths:
    return (f"/search/text?q={quote(REPEATED[number % len(REPEATED)])}" for number in count())


def health() -> Paths:
    return ("/health" for _ in count())


CASES: dict[str, Callable[[], Paths]] = {
    "new words": new_words,
    "repeated words": repeated_words,
    "health": health,
}


def measure_all(server: Server) -> dict[str, dict[int, dict[str, float]]]:
    return {
        case: {clients: load(server, paths(), clients) for clients in CLIENTS} for case, paths in CASES.items()
    }


def load(server: Server, paths: Paths, clients: int) -> dict[str, float]:
    """Requests a second, and percentiles of their ms, of so many clients for SECONDS."""
    times: list[float] = []
    lock, start = threading.Lock(), threading.Barrier(clients + 1)
    threads = [threading.Thread(target=ask, args=(server.port, paths, lock, start, times)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    p50, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]))
    return dict(zip(MEASURES, (len(times) / seconds, p50, p95, p99), strict=True))


def ask(port: int, paths: Paths, lock: threading.Lock, start: threading.Barrier, times: list[float]) -> None:
    """One client on one connection. Raises: AssertionError for any answer but 200."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.connect()
        start.wait()
        end = time.perf_counter() + SECONDS
        while (started := time.perf_counter()) < end:
            with lock:
                path = next(paths)
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, f"{answer.status} for {path}"
            times.append((time.perf_counter() - started) * 1000)


def encoder_alone() -> float:
    """Texts a second, one after another."""
    leave_the_cores_to_inference()
    threads = InferenceThreads.on(available_cores())
    encoder = EmbeddedEncoder(dtype=image_dtype("auto", "cpu"))
    encoder.encode_texts(["warm-up"])
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        threads.short.run(encoder.encode_texts, [f"a dog in the snow, number {done}"])
        done += 1
    threads.close()
    return done / SECONDS


def print_table(found: dict[str, dict[int, dict[str, float]]], alone: float) -> None:
    print(f"the text encoder alone: {alone:.0f} a second")
    print(f"{'':16}{'clients':>8}" + "".join(f"{name:>8}" for name in MEASURES))
    for case, by_clients in found.items():
        for clients, measured in by_clients.items():
            values = "".join(f"{measured[key]:8.0f}" for key in MEASURES)
            gain = measured["per_s"] / by_clients[1]["per_s"]
            print(f"{case:16}{clients:8}{values}   {gain:.1f}× one client")


if __name__ == "__main__":
    main()
