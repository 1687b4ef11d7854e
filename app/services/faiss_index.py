"""Exact search by cosine similarity: a FAISS IndexFlatIP over unit vectors, one writer or many readers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import faiss
import numpy as np

from app.services.interfaces import Ids, Scores, Vectors

UNIT_TOLERANCE = 1e-3  # float16 storage rounds a unit vector's length by less than this
GATHER_SHARE = 0.1  # up to this share of all vectors, gathering the allowed ones beats scanning past the others


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
    """VectorIndex over IndexFlatIP. Row i of the index belongs to self._ids[i]."""

    kind = "IndexFlatIP"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index = faiss.IndexFlatIP(dim)
        self._ids = np.empty(0, np.int64)  # longer than the index: it grows by doubling
        self._rows: dict[int, int] = {}
        self._lock = ReadWriteLock()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, photo_id: int) -> bool:
        return photo_id in self._rows

    @property
    def memory_bytes(self) -> int:
        return len(self) * self.dim * 4

    def ids(self) -> set[int]:
        """A copy of all ids."""
        with self._lock.read():
            return set(self._rows)

    def vector(self, photo_id: int) -> Vectors | None:
        """A copy of one (dim,) vector, or None if the id is not there."""
        with self._lock.read():
            row = self._rows.get(photo_id)
            return None if row is None else self._matrix()[row].copy()

    def add(self, ids: Sequence[int], vectors: Vectors) -> None:
        """(n,) ids and (n, dim) unit vectors. Raises ValueError, and adds nothing, if one is not as it must be."""
        new = np.ascontiguousarray(vectors, np.float32)
        with self._lock.write():
            self._check(ids, new)
            start = len(self._rows)
            self._reserve(start + len(ids))
            self._index.add(new)
            self._ids[start : start + len(ids)] = ids
            self._rows.update((photo_id, start + i) for i, photo_id in enumerate(ids))

    def remove(self, ids: Sequence[int]) -> None:
        """Each removed row is filled with the last one, so the cost does not depend on where it lay."""
        with self._lock.write():
            for photo_id in ids:
                row = self._rows.pop(photo_id, None)
                if row is not None:
                    self._fill_with_last(row)

    def search(self, vectors: Vectors, k: int, allowed_ids: Sequence[int] | None = None) -> tuple[Ids, Scores]:
        """Exact top min(k, available) for each of (n, dim) queries: (n, k) ids and cosines, best first."""
        queries = np.ascontiguousarray(vectors, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim or not np.isfinite(queries).all():
            raise ValueError(f"Queries must be finite and of shape (n, {self.dim}).")
        with self._lock.read():
            if allowed_ids is None:
                return self._search_all(queries, k)
            rows = np.array([self._rows[i] for i in set(allowed_ids) if i in self._rows], np.int64)
            if len(rows) <= GATHER_SHARE * len(self._rows):
                return self._search_gathered(queries, k, rows)
            return self._search_all(queries, min(k, len(rows)), _bitmap(rows, len(self._rows)))

    def _search_all(self, queries: Vectors, k: int, bitmap: np.ndarray | None = None) -> tuple[Ids, Scores]:
        k = min(k, len(self._rows))
        if k == 0:
            return _nothing(len(queries))
        parameters = None
        if bitmap is not None:
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))
        scores, rows = self._index.search(queries, k, params=parameters)
        return self._ids[rows], scores

    def _search_gathered(self, queries: Vectors, k: int, rows: Ids) -> tuple[Ids, Scores]:
        k = min(k, len(rows))
        if k == 0:
            return _nothing(len(queries))
        scores = queries @ self._matrix()[rows].T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return self._ids[rows[best]], np.take_along_axis(scores, best, axis=1)

    def _matrix(self) -> Vectors:
        """The index's own memory as (n, dim), not a copy; valid only under the lock."""
        matrix: Vectors = faiss.rev_swig_ptr(self._index.get_xb(), self._index.ntotal * self.dim)
        return matrix.reshape(-1, self.dim)

    def _fill_with_last(self, row: int) -> None:
        last = self._index.ntotal - 1
        if row != last:
            matrix = self._matrix()
            matrix[row] = matrix[last]
            moved = int(self._ids[last])
            self._ids[row] = moved
            self._rows[moved] = row
        self._index.remove_ids(faiss.IDSelectorRange(last, last + 1))

    def _reserve(self, size: int) -> None:
        if size > len(self._ids):
            self._ids = np.resize(self._ids, max(size, 2 * len(self._ids), 1024))

    def _check(self, ids: Sequence[int], vectors: Vectors) -> None:
        # FAISS itself takes duplicate ids, NaN and any length without a word.
        if vectors.shape != (len(ids), self.dim):
            raise ValueError(f"Expected vectors of shape ({len(ids)}, {self.dim}), got {vectors.shape}.")
        if len(set(ids)) != len(ids) or any(i in self._rows for i in ids):
            raise ValueError("Every id must be new.")
        lengths = np.linalg.norm(vectors, axis=1)
        if not (np.abs(lengths - 1) < UNIT_TOLERANCE).all():  # false for NaN, too
            raise ValueError("Every vector must be finite and of unit length.")


def _bitmap(rows: Ids, size: int) -> np.ndarray:
    """One bit a row, lowest bit first, as faiss.IDSelectorBitmap reads it."""
    allowed = np.zeros(size, bool)
    allowed[rows] = True
    return np.packbits(allowed, bitorder="little")


def _nothing(queries: int) -> tuple[Ids, Scores]:
    return np.empty((queries, 0), np.int64), np.empty((queries, 0), np.float32)
