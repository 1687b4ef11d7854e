"""Keeps the vector index equal to the rows, whoever writes them: this process, or `recollect import` beside it."""

import logging
import threading
from collections.abc import Sequence

import numpy as np
from sqlmodel import col, func, select

from app.database import Database
from app.services.faiss_index import FaissIndex
from app.services.interfaces import Vectors
from app.tables import Embedding

logger = logging.getLogger(__name__)

CHUNK_ROWS = 10_000
POLLS_PER_RECONCILIATION = 10


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
            mine = col(Embedding.space) == self._space
            if session.exec(select(func.count()).select_from(Embedding).where(mine)).one() == len(self._index):
                return
            stored = set(session.exec(select(Embedding.photo_id).where(mine)).all())
            indexed = self._index.ids()
            self._index.remove(sorted(indexed - stored))
            for photo_id in sorted(stored - indexed):
                wanted = select(Embedding).where(mine, Embedding.photo_id == photo_id)
                self._add_rows(list(session.exec(wanted)))

    def _add_new_rows(self) -> None:
        while True:
            with self._database.read() as session:
                newer = select(Embedding).where(col(Embedding.id) > self._last_row, Embedding.space == self._space)
                rows = list(session.exec(newer.order_by(col(Embedding.id)).limit(CHUNK_ROWS)))
            if not rows:
                return
            self._add_rows(rows)
            self._last_row = max(row.id or 0 for row in rows)

    def _add_rows(self, rows: list[Embedding]) -> None:
        # Most rows seen here were added by this process already; taking them out for a moment would lose hits.
        new = [row for row in rows if not self._holds(row)]
        if new:
            ids = [row.photo_id for row in new]
            self._index.remove(ids)
            self._index.add(ids, np.stack([row.vector for row in new]))

    def _holds(self, row: Embedding) -> bool:
        vector = self._index.vector(row.photo_id)
        return vector is not None and np.array_equal(vector, row.vector)

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
