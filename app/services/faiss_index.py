"""Exact search by cosine similarity: a FAISS IndexFlatIP over unit vectors, one writer or many readers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import faiss
import numpy as np
from numpy.typing import NDArray

from app.services.int8_codes import Int8Codes
from app.services.interfaces import Ids, Scores, Vectors
from app.services.row_table import ABSENT, MAX_ID, RowTable
from app.services.scan import Bounds, Scanner, keep_best, margin_of

UNIT_TOLERANCE = 1e-3  # float16 storage rounds a unit vector's length by less than this
QUERIES_A_PRODUCT = 16  # of several queries: 64 MB of scores for a million photos
ROWS_A_PRODUCT = 8192  # of a filtered matrix: 16 MB for 512 dimensions


class ReadWriteLock:
    """Many readers or one writer; a waiting writer goes before new readers.

    FAISS allows searches side by side, but a search beside an add or a remove crashes the process.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writing = False
        self._writers_waiting = 0

    @contextmanager
    def read(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._writing and not self._writers_waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        with self._condition:
            self._writers_waiting += 1
            self._condition.wait_for(lambda: not self._writing and not self._readers)
            self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._condition:
                self._writing = False
                self._condition.notify_all()


class FaissIndex:
    """VectorIndex over IndexFlatIP, read by passes of our own. Row i of the index belongs to self._ids[i].

    With `int8`, a first pass reads a copy of a quarter of the size; the results are the same.
    """

    durable = False

    def __init__(self, dim: int, *, int8: bool = False) -> None:
        self.dim = dim
        self.kind = "IndexFlatIP + int8" if int8 else "IndexFlatIP"
        self._index = faiss.IndexFlatIP(dim)
        self._ids = np.empty(0, np.int64)  # longer than the index: it grows by doubling
        self._rows = RowTable()
        self._scanner = Scanner()
        self._codes = Int8Codes(dim, self._scanner) if int8 else None
        self._lock = ReadWriteLock()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def __contains__(self, photo_id: int) -> bool:
        with self._lock.read():
            return self._row(photo_id) != ABSENT

    @property
    def memory_bytes(self) -> int:
        """Of the vectors and what is searched beside them."""
        return len(self) * (self.dim * 4 + (self._codes.row_bytes if self._codes else 0))

    def ids(self) -> Ids:
        """A copy of all ids, in no order."""
        with self._lock.read():
            return self._ids[: len(self)].copy()

    def some_ids(self, count: int) -> Ids:
        """As many ids as asked for, or as there are, spread evenly over the rows."""
        with self._lock.read():
            rows = np.linspace(0, len(self), min(count, len(self)), endpoint=False).astype(np.int64)
            return self._ids[rows]

    def vector(self, photo_id: int) -> Vectors | None:
        """A copy of one (dim,) vector, or None if the id is not there."""
        with self._lock.read():
            row = self._row(photo_id)
            return None if row == ABSENT else self._matrix()[row].copy()

    def vectors(self, ids: Sequence[int] | Ids) -> tuple[Ids, Vectors]:
        """(n,) those of the ids that are there, in order, and copies of their (n, dim) vectors."""
        wanted = np.asarray(ids, np.int64)
        with self._lock.read():
            rows = self._rows.rows(wanted)
            there = rows != ABSENT
            return wanted[there], self._matrix()[rows[there]]

    def holds(self, ids: Ids, vectors: Vectors) -> NDArray[np.bool_]:
        """(n,) bool: whether the index has this id with exactly this vector, for (n,) ids and (n, dim) vectors."""
        with self._lock.read():
            rows = self._rows.rows(ids)
            held: NDArray[np.bool_] = rows != ABSENT
            held[held] = (self._matrix()[rows[held]] == vectors[held]).all(axis=1)
            return held

    def reserve(self, size: int) -> None:
        """Room for so many vectors in all, taken once and not by doubling."""
        with self._lock.write():
            if size > len(self):
                self._index.codes.resize(size * self._index.code_size)
                self._index.codes.resize(len(self) * self._index.code_size)  # what was taken stays reserved
                self._reserve_ids(size)
                if self._codes:
                    self._codes.reserve(size)

    def add(self, ids: Sequence[int] | Ids, vectors: Vectors) -> None:
        """(n,) ids and (n, dim) unit vectors. Raises ValueError, and adds nothing, if one is not as it must be."""
        new_ids, new = np.asarray(ids, np.int64), np.ascontiguousarray(vectors, np.float32)
        with self._lock.write():
            self._check(new_ids, new)
            start, end = len(self), len(self) + len(new_ids)
            self._reserve_ids(end)
            if self._codes:
                self._codes.put(start, new)
            self._index.add(new)
            self._ids[start:end] = new_ids
            self._rows.put(new_ids, np.arange(start, end))

    def remove(self, ids: Sequence[int] | Ids) -> None:
        """Removed rows are filled with the last ones, so the cost depends on nothing but how many they are."""
        with self._lock.write():
            rows = np.unique(self._rows.rows(np.asarray(ids, np.int64)))
            rows = rows[rows != ABSENT]
            left = len(self) - len(rows)
            self._rows.remove(self._ids[rows])
            kept = np.setdiff1d(np.arange(left, len(self)), rows, assume_unique=True)
            self._move(kept, rows[rows < left])
            self._truncate(left)

    def search(
        self, vectors: Vectors, k: int, allowed_ids: Sequence[int] | Ids | None = None
    ) -> tuple[Ids, Scores]:
        """Exact top min(k, available) for each of (n, dim) queries: (n, k) ids and cosines.

        Best first; equal cosines (as float32) in the order of their ids.
        """
        queries = np.array(vectors, np.float32, order="C")  # a copy: compiled code takes no read-only array
        if queries.ndim != 2 or queries.shape[1] != self.dim or not np.isfinite(queries).all():
            raise ValueError(f"Queries must be finite and of shape (n, {self.dim}).")
        with self._lock.read():
            rows = np.arange(len(self)) if allowed_ids is None else self._allowed_rows(allowed_ids)
            k = min(k, len(rows))
            ids, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
            for i in range(0, len(queries) if k else 0, QUERIES_A_PRODUCT):
                group = queries[i : i + QUERIES_A_PRODUCT]
                for j, bounds in enumerate(self._bounds(group, rows)):
                    ids[i + j], scores[i + j] = self._best(group[j], k, rows, bounds)
        return ids, scores

    def _bounds(self, queries: Vectors, rows: Ids) -> Iterator[Bounds]:
        """What the score of each row can be at least and at most, for one query after the other."""
        if len(queries) > 1:
            for query, products in zip(queries, self._products(queries, rows), strict=True):
                yield products - margin_of(query), products + margin_of(query)
        elif self._codes:
            yield self._codes.bounds(queries[0], rows)
        else:
            yield self._scanner.bounds(self._matrix(), queries[0], rows)

    def _products(self, queries: Vectors, rows: Ids) -> Vectors:
        """(queries, rows) products of matrices: several queries for one reading of the vectors."""
        matrix = self._matrix()
        if len(rows) == len(matrix):
            everything: Vectors = queries @ matrix.T
            return everything
        products = np.empty((len(queries), len(rows)), np.float32)
        for i in range(0, len(rows), ROWS_A_PRODUCT):
            part = slice(i, i + ROWS_A_PRODUCT)
            products[:, part] = queries @ matrix[rows[part]].T
        return products

    def _best(self, query: Scores, k: int, rows: Ids, bounds: Bounds) -> tuple[Ids, Scores]:
        matrix = self._matrix()
        kept = rows[keep_best(bounds, k)]
        if self._codes:  # their bounds are wide: the float32 ones leave less for the last pass
            kept = kept[keep_best(self._scanner.bounds(matrix, query, kept), k)]
        scores, ids = self._scanner.scores(matrix, query, kept), self._ids[kept]
        order = np.lexsort((ids, -scores))[:k]
        return ids[order], scores[order]

    def _allowed_rows(self, allowed_ids: Sequence[int] | Ids) -> Ids:
        """In the order of memory, each once; ids that are not there are passed over."""
        found = self._rows.rows(np.asarray(allowed_ids, np.int64))
        allowed = np.zeros(len(self), bool)
        allowed[found[found != ABSENT]] = True
        return np.flatnonzero(allowed)

    def _row(self, photo_id: int) -> int:
        return int(self._rows.rows(np.array([photo_id], np.int64))[0])

    def _matrix(self) -> Vectors:
        """The index's own memory as (n, dim), not a copy; valid only under the lock."""
        matrix: Vectors = faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self.dim)
        return matrix.reshape(-1, self.dim)

    def _move(self, sources: Ids, targets: Ids) -> None:
        matrix = self._matrix()
        matrix[targets] = matrix[sources]
        self._ids[targets] = self._ids[sources]
        self._rows.put(self._ids[targets], targets)
        if self._codes:
            self._codes.move(sources, targets)

    def _truncate(self, size: int) -> None:
        self._index.codes.resize(size * self._index.code_size)
        self._index.ntotal = size

    def _reserve_ids(self, size: int) -> None:
        if size > len(self._ids):
            self._ids = np.resize(self._ids, max(size, 2 * len(self._ids), 1024))

    def _check(self, ids: Ids, vectors: Vectors) -> None:
        # FAISS itself takes duplicate ids, NaN and any length without a word.
        if ids.ndim != 1 or vectors.shape != (len(ids), self.dim):
            raise ValueError(f"Expected vectors of shape ({len(ids)}, {self.dim}), got {vectors.shape}.")
        if ((ids < 0) | (ids >= MAX_ID)).any():
            raise ValueError(f"Every id must be from 0 to {MAX_ID - 1}.")
        if len(np.unique(ids)) != len(ids) or (self._rows.rows(ids) != ABSENT).any():
            raise ValueError("Every id must be new.")
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))  # many times as fast as np.linalg.norm
        if not (np.abs(lengths - 1) < UNIT_TOLERANCE).all():  # false for NaN, too
            raise ValueError("Every vector must be finite and of unit length.")
