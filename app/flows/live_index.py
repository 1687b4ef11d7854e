"""Keeps the vector index equal to the rows, whoever writes them: this process, or `recollect import` beside it."""

import logging
import threading
from collections.abc import Sequence

import numpy as np
from sqlalchemy import ColumnElement, LargeBinary, type_coerce
from sqlmodel import Session, col, func, select

from app.database import Database
from app.services.faiss_index import FaissIndex
from app.services.interfaces import Ids, Vectors
from app.tables import Embedding, stacked

logger = logging.getLogger(__name__)

CHUNK_ROWS = 10_000
POLLS_PER_RECONCILIATION = 10
IDS_A_QUERY = 1000  # databases limit the parameters of one query

# Plain columns and the vectors as bytes: an object for each row would take ten times as long.
COLUMNS = (col(Embedding.id), col(Embedding.photo_id), type_coerce(col(Embedding.vector), LargeBinary))


class LiveIndex:
    """The one writer of the index. Rows of other spaces than its own are left alone."""

    def __init__(self, database: Database, index: FaissIndex, space: str, poll_s: float) -> None:
        self._database = database
        self._index = index
        self._space = space
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._last_row = 0  # embedding ids only grow
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="live-index", daemon=True)

    def rebuild(self) -> int:
        """Fill the index from the rows. Returns how many vectors it now holds."""
        with self._lock:
            with self._database.read() as session:
                self._index.reserve(self._count(session))
            self._add_new_rows()
        return len(self._index)

    def start(self) -> None:
        """From now on, follow what other processes write."""
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def add(self, photo_id: int, vector: Vectors) -> None:
        """Make a committed (dim,) vector searchable at once."""
        with self._lock:
            if photo_id not in self._index:
                self._index.add([photo_id], vector[None])

    def replace(self, photo_id: int, vector: Vectors) -> None:
        """Like add, for a photo whose vector has changed."""
        with self._lock:
            self._index.remove([photo_id])
            self._index.add([photo_id], vector[None])

    def forget(self, photo_ids: Sequence[int]) -> None:
        """Take vectors out whose photos are gone."""
        with self._lock:
            self._index.remove(photo_ids)

    def catch_up(self) -> None:
        """Add what has been committed since the last look."""
        with self._lock:
            self._add_new_rows()

    def reconcile(self) -> None:
        """Compare all ids where the counts differ: finds what was deleted elsewhere, or came out of order."""
        with self._lock, self._database.read() as session:
            if self._count(session) == len(self._index):
                return
            stored = np.array(session.exec(select(Embedding.photo_id).where(self._mine)).all(), np.int64)
            indexed = self._index.ids()
            self._index.remove(np.setdiff1d(indexed, stored))
            missing = np.setdiff1d(stored, indexed)
            for i in range(0, len(missing), IDS_A_QUERY):
                self._add_rows(session, col(Embedding.photo_id).in_(missing[i : i + IDS_A_QUERY].tolist()))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return col(Embedding.space) == self._space

    def _count(self, session: Session) -> int:
        return session.exec(select(func.count()).select_from(Embedding).where(self._mine)).one()

    def _add_new_rows(self) -> None:
        while True:
            with self._database.read() as session:
                last = self._add_rows(session, col(Embedding.id) > self._last_row)
            if last is None:
                return
            self._last_row = last

    def _add_rows(self, session: Session, wanted: ColumnElement[bool]) -> int | None:
        """The first CHUNK_ROWS of those wanted, by row number; returns the last one, or None if there is none."""
        rows = select(*COLUMNS).where(self._mine, wanted).order_by(col(Embedding.id)).limit(CHUNK_ROWS)
        found = session.exec(rows).all()
        if not found:
            return None
        numbers, photo_ids, vectors = zip(*found, strict=True)
        self._update(np.array(photo_ids, np.int64), stacked(vectors))
        return int(numbers[-1])

    def _update(self, photo_ids: Ids, vectors: Vectors) -> None:
        # Most rows seen here were added by this process already; taking them out for a moment would lose hits.
        new = ~self._index.holds(photo_ids, vectors)
        if new.any():
            self._index.remove(photo_ids[new])
            self._index.add(photo_ids[new], vectors[new])

    def _follow(self) -> None:
        polls = 0
        while not self._stop.wait(self._poll_s):
            polls += 1
            try:
                self.catch_up()
                if polls % POLLS_PER_RECONCILIATION == 0:
                    self.reconcile()
            except Exception:  # a locked or briefly missing database must not end the following
                logger.exception("Could not look for new photos; trying again in %g s.", self._poll_s)
