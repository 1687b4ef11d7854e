"""Passes over the rows of a matrix, compiled by numba, and the proof that the best rows are among those kept.

Each pass gives bounds, low <= score <= high, where the score of a row is its inner product with the query: exact
in real numbers, then rounded to float32. At least k rows score no less than the k-th best `low`, so a row with a
`high` below it is not among the best k. Rows that remain go to the next, more exact pass; the last one, in
float64, gives the scores. So the result depends neither on the passes before nor on the number of threads.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from app.services.inference_thread import available_cores
from app.services.interfaces import Ids, Scores, Vectors

Bounds = tuple[Scores, Scores]  # low and high, one a row

ROUNDING = 2.0**-24  # unit roundoff of float32
# What a few more float32 operations on a score, and rounding the score itself, may add to an error, for unit rows
# and a unit query.
SLACK = 1e-6
ROWS_A_THREAD = 8192  # with fewer, handing rows to another thread takes as long as reading them
BLOCK = 256  # rows of which only the best counts while a threshold is sought


def float32_error(dim: int) -> float:
    """Bound on |computed − true| of an inner product of unit vectors in float32, summed in any order.

    dim·u / (1 − dim·u): Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1.
    """
    return dim * ROUNDING / (1 - dim * ROUNDING)


def _bound_scores(matrix: Any, query: Any, margin: Any, rows: Any, low: Any, high: Any) -> None:
    for i in range(rows.shape[0]):
        row = matrix[rows[i]]
        total = np.float32(0)
        for j in range(row.shape[0]):
            total += row[j] * query[j]
        low[i] = total - margin
        high[i] = total + margin


def _score(matrix: Any, query: Any, rows: Any, scores: Any) -> None:
    for i in range(rows.shape[0]):
        row = matrix[rows[i]]
        total = np.float64(0)
        for j in range(row.shape[0]):
            total += np.float64(row[j]) * query[j]
        scores[i] = np.float32(total)


@cache
def compiled(function: Callable[..., None], signature: str) -> Callable[..., None]:
    """Machine code that runs beside other threads; sums may be taken in any order, which the bounds allow for."""
    made: Callable[..., None] = numba.njit(signature, nogil=True, fastmath={"reassoc", "contract"})(function)
    return made


class Scanner:
    """Threads of its own, which never spin: searches at the same time take turns, and do not slow inference."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or available_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="scan")
        self._bound = compiled(
            _bound_scores, "void(float32[:,::1], float32[::1], float32, int64[::1], float32[::1], float32[::1])"
        )
        self._score = compiled(_score, "void(float32[:,::1], float64[::1], int64[::1], float32[::1])")

    def bounds(self, matrix: Vectors, query: Scores, rows: Ids) -> Bounds:
        """From float32 sums over these rows of (n, dim) unit vectors, for one (dim,) query."""
        low, high = empty_bounds(len(rows))
        margin = margin_of(query)
        self.run(lambda part: self._bound(matrix, query, margin, rows[part], low[part], high[part]), len(rows))
        return low, high

    def scores(self, matrix: Vectors, query: Scores, rows: Ids) -> Scores:
        """Inner products, rounded once: the sum of 53-bit products is right to some 13 digits."""
        scores = np.empty(len(rows), np.float32)
        exact = query.astype(np.float64)
        self.run(lambda part: self._score(matrix, exact, rows[part], scores[part]), len(rows))
        return scores

    def run(self, work: Callable[[slice], None], size: int) -> None:
        """work(part) for slices that cover range(size), at the same time if there is much to do."""
        parts = min(self._threads, -(-size // ROWS_A_THREAD))
        if parts <= 1:
            work(slice(0, size))
            return
        edges = np.linspace(0, size, parts + 1).astype(int).tolist()
        waiting: list[Future[None]] = [
            self._pool.submit(work, slice(start, end)) for start, end in pairwise(edges)
        ]
        for part in waiting:
            part.result()


def margin_of(query: Scores) -> np.float32:
    """How far a float32 inner product of this query and a unit vector may lie from its score."""
    return np.float32(np.linalg.norm(query) * (1.01 * float32_error(len(query)) + SLACK))


def empty_bounds(size: int) -> Bounds:
    return np.empty(size, np.float32), np.empty(size, np.float32)


def keep_best(bounds: Bounds, k: int) -> NDArray[np.int64]:
    """Positions that may be among the best k."""
    low, high = bounds
    if k >= len(low):
        return np.arange(len(low))
    return np.flatnonzero(high >= _threshold(low, k))


def _threshold(low: Scores, k: int) -> np.float32:
    """What at least k of them reach: the k-th best, or, much quicker, the k-th best of the blocks' best."""
    blocks = len(low) // BLOCK
    if blocks >= 8 * k:
        low = low[: blocks * BLOCK].reshape(blocks, BLOCK).max(axis=1)
    reached: np.float32 = np.partition(low, len(low) - k)[len(low) - k]
    return reached
