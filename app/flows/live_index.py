"""Keeps the vector indexes equal to the rows, whoever writes these: this process, or `recollect import`."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from sqlalchemy import ColumnElement, LargeBinary, type_coerce
from sqlmodel import Session, col, func, select

from app.database import Database
from app.id_lists import among
from app.services.interfaces import Ids, VectorIndex, Vectors
from app.tables import Embedding, Photo, stacked

logger = logging.getLogger(__name__)

CHUNK_ROWS = 10_000
POLLS_PER_RECONCILIATION = 10

# Plain columns and the vectors as bytes: an object for each row would take ten times as long.
COLUMNS = (
    col(Embedding.id),
    col(Embedding.photo_id),
    col(Photo.owner),
    type_coerce(col(Embedding.vector), LargeBinary),
)

NewIndex = Callable[[str], VectorIndex]  # of this owner


class LiveIndex:
    """The one writer of the indexes, one for each owner: what one owner has takes no time of another's search, and
    no filter can let it through. Rows of other spaces than its own are left alone.
    """

    def __init__(self, database: Database, new_index: NewIndex, space: str, poll_s: float) -> None:
        self._database = database
        self._new_index = new_index
        self._indexes: dict[str, VectorIndex] = {}
        self._space = space
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._last_row = 0  # embedding ids only grow
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="live-index", daemon=True)

    def __len__(self) -> int:
        """How many vectors all owners have together."""
        return sum(map(len, self.indexes()))

    def of(self, owner: str) -> VectorIndex:
        """The index of this owner's photos, to be searched."""
        index = self._indexes.get(owner)
        return self._indexes.setdefault(owner, self._new_index(owner)) if index is None else index

    def owners(self) -> list[str]:
        return list(self._indexes)

    def indexes(self) -> list[VectorIndex]:
        return list(self._indexes.values())

    @property
    def memory_bytes(self) -> int:
        return sum(index.memory_bytes for index in self.indexes())

    def rebuild(self) -> int:
        """Fill the indexes from the rows. Returns how many vectors they now hold."""
        with self._database.read() as session:
            counts = session.exec(select(Photo.owner, func.count()).group_by(Photo.owner)).all()
            newest = session.exec(select(func.max(Embedding.id))).one() or 0
        if counts and all(self.of(owner).durable for owner, _ in counts):
            self._last_row = newest
            self.reconcile()
        for owner, photos in counts:
            self.of(owner).reserve(photos)
        self.catch_up()
        return len(self)

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

    def add(self, photo_id: int, vector: Vectors, owner: str) -> None:
        """Make a committed (dim,) vector searchable at once."""
        index = self.of(owner)
        with self._lock:
            if photo_id not in index:
                index.add([photo_id], vector[None])

    def replace(self, photo_id: int, vector: Vectors, owner: str) -> None:
        """Like add, for a photo whose vector has changed."""
        index = self.of(owner)
        with self._lock:
            index.remove([photo_id])
            index.add([photo_id], vector[None])

    def forget(self, photo_ids: Sequence[int] | Ids) -> None:
        """Take vectors out whose photos are gone."""
        with self._lock:
            for index in self.indexes():
                index.remove(photo_ids)

    def catch_up(self) -> None:
        """Add what has been committed since the last look."""
        with self._lock:
            self._add_new_rows()

    def reconcile(self) -> None:
        """Compare all ids where the counts differ: finds what was deleted elsewhere, or came out of order."""
        with self._lock, self._database.read() as session:
            if self._count(session) == len(self):
                return
            stored = np.array(session.exec(select(Embedding.photo_id).where(self._mine)).all(), np.int64)
            indexed = np.concatenate([index.ids() for index in self.indexes()] or [stored[:0]])
            for index in self.indexes():
                index.remove(np.setdiff1d(indexed, stored))
            missing = np.setdiff1d(stored, indexed)
            for i in range(0, len(missing), CHUNK_ROWS):
                self._add_rows(session, among(col(Embedding.photo_id), missing[i : i + CHUNK_ROWS]))

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
        rows = select(*COLUMNS).join(Photo).where(self._mine, wanted).order_by(col(Embedding.id)).limit(CHUNK_ROWS)
        found = session.exec(rows).all()
        if not found:
            return None
        numbers, photo_ids, owners, vectors = zip(*found, strict=True)
        ids, matrix, theirs = np.array(photo_ids, np.int64), stacked(vectors), np.array(owners)
        for owner in set(owners):
            self._update(self.of(owner), ids[theirs == owner], matrix[theirs == owner])
        return int(numbers[-1])

    def _update(self, index: VectorIndex, photo_ids: Ids, vectors: Vectors) -> None:
        # Most rows seen here were added by this process already; taking them out for a moment would lose hits.
        new = ~index.holds(photo_ids, vectors)
        if new.any():
            index.remove(photo_ids[new])
            index.add(photo_ids[new], vectors[new])

    def _follow(self) -> None:
        news, reconciled = self._database.news(), time.monotonic()
        while not self._stop.is_set():
            try:
                news.wait(self._poll_s, self._stop)
                if self._stop.is_set():
                    break
                self.catch_up()
                if time.monotonic() - reconciled > POLLS_PER_RECONCILIATION * self._poll_s:
                    self.reconcile()
                    reconciled = time.monotonic()
            except Exception:  # a locked or briefly missing database must not end the following
                logger.exception("Could not look for new photos; trying again in %g s.", self._poll_s)
                self._stop.wait(self._poll_s)
        news.close()
