"""What does a search cost in memory, time and recall when there are ten million photos, and not one?

Vectors are made up: around CENTRES directions, as photos of holidays and dogs lie, with noise, and more of both in
some dimensions than in others. The exact ten nearest to QUERIES others are found while they are made, for 20 GB of
float32 would fit in few machines. What is kept is 8 bits a dimension (SQ8) and 1 bit (RaBitQ), both in the same
LISTS inverted lists, so that probing all lists is a full scan. Sizes that need more than half of the memory are
left out.
Run: python -m benchmarks.bench_scale [--photos 10000000]
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
import psutil

from app.services.inference_thread import available_cores
from app.services.interfaces import Ids, Scores, Vectors
from benchmarks import results

DIM, K, QUERIES = 512, 10, 50
CENTRES, NOISE = 2_000, 0.7  # length of the noise, where a centre has 1
SPECTRUM = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5  # how much there is in each dimension
LISTS, TRAINING = 1024, 60_000
PROBES = (1, 4, 16, 64, LISTS)
POOL = 100  # candidates that would be compared again by their exact vectors
CHUNK = 50_000
BYTES = 1.3 * (DIM + DIM / 8 + 24)  # a photo, in lists that grow by a quarter at a time or so


@dataclass
class Truth:
    """The exact best K for each query, of what has been seen."""

    queries: Vectors
    ids: Ids = field(default_factory=lambda: np.empty((QUERIES, 0), np.int64))
    scores: Scores = field(default_factory=lambda: np.empty((QUERIES, 0), np.float32))

    def see(self, vectors: Vectors, first: int) -> None:
        """Rows are numbered from `first` on."""
        scores = np.hstack([self.scores, self.queries @ vectors.T])
        ids = np.hstack([self.ids, np.tile(np.arange(first, first + len(vectors)), (QUERIES, 1))])
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        self.scores, self.ids = (np.take_along_axis(array, best, axis=1) for array in (scores, ids))


def main() -> None:
    """Print tables, and write results/scale.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=10_000_000)
    wanted = parser.parse_args().photos
    affordable = int(psutil.virtual_memory().available / 2 / BYTES)
    sizes = [size for size in (100_000, 1_000_000, 10_000_000) if size <= min(wanted, affordable)]
    faiss.omp_set_num_threads(available_cores())
    print("photos       index    probes  recall@10  in 100   ms a query  bytes a photo")
    report: dict[str, Any] = {"dim": DIM, "k": K, "queries": QUERIES, "lists": LISTS, "pool": POOL, "found": []}
    for lines in measured(sizes):
        report["found"] += lines
        results.write("scale", report, ["faiss-cpu", "numpy"])  # each size, for the next one takes minutes
        for found in lines:
            print(
                f"{found['photos']:<12,} {found['index']:<8} {found['probes']:<7} {found['recall']:<10.3f} "
                f"{found['in_pool']:<8.3f} {found['ms']:<12.1f} {found['bytes']}",
                flush=True,
            )


def measured(sizes: list[int]) -> Iterator[list[dict[str, Any]]]:
    """The lines of each size in turn; one pass makes the vectors, adds them and finds what is true."""
    random = np.random.default_rng(0)
    centres = unit(random.standard_normal((CENTRES, DIM), dtype=np.float32) * SPECTRUM)
    truth = Truth(near(centres, QUERIES, np.random.default_rng(1)))
    indexes = trained(near(centres, TRAINING, random))
    for start in range(0, sizes[-1], CHUNK):
        vectors = near(centres, CHUNK, random)
        add(indexes, vectors)
        truth.see(vectors, start)
        if start + CHUNK in sizes:
            yield [line(index, name, truth, probes) for name, index in indexes.items() for probes in PROBES]


def near(centres: Vectors, count: int, random: np.random.Generator) -> Vectors:
    """(count, DIM) unit vectors, each beside a centre; some centres are chosen more often than others."""
    chosen = (len(centres) * random.random(count) ** 2).astype(np.int64)
    noise = random.standard_normal((count, DIM), dtype=np.float32)
    noise *= NOISE * SPECTRUM / np.linalg.norm(SPECTRUM)
    noise += centres[chosen]
    return unit(noise)


def unit(vectors: Vectors) -> Vectors:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def trained(sample: Vectors) -> dict[str, faiss.IndexIVF]:
    """Both share the centres of their lists."""
    first = faiss.index_factory(DIM, f"IVF{LISTS},SQ8", faiss.METRIC_INNER_PRODUCT)
    first.train(sample)
    second = faiss.IndexIVFRaBitQ(first.quantizer, DIM, LISTS, faiss.METRIC_INNER_PRODUCT)
    second.train(sample)
    return {"SQ8": first, "RaBitQ": second}


def add(indexes: dict[str, faiss.IndexIVF], vectors: Vectors) -> None:
    """The list of each vector is looked for once: most of the work."""
    lists = indexes["SQ8"].quantizer.search(vectors, 1)[1].ravel()
    for index in indexes.values():
        index.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))


def line(index: faiss.IndexIVF, name: str, truth: Truth, probes: int) -> dict[str, Any]:
    """One query after the other, as people ask."""
    index.nprobe = probes
    found, seconds = [], []
    for query in truth.queries[:, None]:
        started = time.perf_counter()
        found.append(index.search(query, POOL)[1][0])
        seconds.append(time.perf_counter() - started)
    return {
        "photos": index.ntotal,
        "index": name,
        "probes": probes,
        "recall": share(truth.ids, [ids[:K] for ids in found]),
        "in_pool": share(truth.ids, found),
        "ms": float(np.median(seconds)) * 1000,
        "bytes": index.code_size + 8,
    }


def share(true: Ids, found: list[Ids]) -> float:
    """Of the true ones, how many were found."""
    return float(np.mean([np.isin(ids, row).mean() for ids, row in zip(true, found, strict=True)]))


if __name__ == "__main__":
    main()
