"""Vectors in PostgreSQL (pgvector), shared by all processes: for libraries too large for the memory of each."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    String,
    Table,
    select,
    tablesample,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, func

from app.database import Database
from app.id_lists import among
from app.services.interfaces import Ids, Scores, Vectors
from app.tables import Embedding, Photo, stacked

EXACT_ROWS = 20_000  # up to here all vectors are compared, in some 10 ms; beyond, HNSW looks at a part of them
SPARE = 10  # candidates beside those asked for: 16 bits order near equals otherwise than 32
COUNT_KNOWN_S = 1.0  # counting a million rows takes 50 ms
LONGEST_SCAN = 20  # rows that a filtered search looks at, for each one asked for, before it takes what it has
MOST_EF = 1000  # pgvector's own limit


def vector_table(database: Database, space: str, dim: int) -> Table:
    """The table of a space, made if it is not there.

    It has 16 bits a number: vectors of 512 then lie in their rows, while those of 32 bits would be kept apart from
    them (TOAST), and take three times as long to compare.

    Raises: sqlalchemy.exc.DBAPIError (pgvector is not installed in the server, or may not be made an extension).
    """
    name = f"vectors_{hashlib.sha256(space.encode()).hexdigest()[:16]}"
    table = Table(
        name,
        MetaData(),
        Column("photo_id", BigInteger, primary_key=True, autoincrement=False),
        Column("owner", String, nullable=False, index=True),
        Column("vector", HALFVEC(dim), nullable=False),
        comment=space,
    )
    with database.write() as session:
        connection = session.connection()
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector")
        if not connection.dialect.has_table(connection, name):
            table.create(connection)
            orphans = f"ALTER TABLE {name} ADD FOREIGN KEY (photo_id) REFERENCES photos (id) ON DELETE CASCADE"
            connection.exec_driver_sql(orphans)
    return table


class PgvectorIndex:
    """VectorIndex of one owner: 16-bit vectors bring candidates, the 32-bit ones of the embeddings the scores."""

    kind = "pgvector halfvec, HNSW"
    durable = True

    def __init__(self, database: Database, table: Table, space: str, dim: int, owner: str, ef_search: int) -> None:
        self.dim = dim
        self._database = database
        self._table = table
        self._space = space
        self._owner = owner
        self._ef_search = ef_search
        self._counted: TTLCache[str, int] = TTLCache(1, COUNT_KNOWN_S)

    def __len__(self) -> int:
        count = self._counted.get("all")
        if count is None:
            with self._database.read() as session:
                mine = select(func.count()).select_from(self._table).where(self._mine)
                count = self._counted["all"] = session.execute(mine).scalar_one()
        return count

    def __contains__(self, photo_id: int) -> bool:
        return bool(len(self._present([photo_id])))

    @property
    def memory_bytes(self) -> int:
        """None of this process; what the vectors take in the database."""
        return len(self) * self.dim * 2

    def ids(self) -> Ids:
        """All ids, in no order."""
        with self._database.read() as session:
            return np.array(session.scalars(select(self._table.c.photo_id).where(self._mine)).all(), np.int64)

    def some_ids(self, count: int) -> Ids:
        """As many ids as asked for, or as there are, from all over the table."""
        percent = min(100.0, 400 * count / max(1, len(self)))
        sample = tablesample(self._table, percent)
        wanted = select(sample.c.photo_id).where(sample.c.owner == self._owner).order_by(func.random())
        with self._database.read() as session:
            return np.array(session.scalars(wanted.limit(count)).all(), np.int64)

    def vector(self, photo_id: int) -> Vectors | None:
        """One (dim,) vector, or None if the id is not there."""
        there, vectors = self.vectors([photo_id])
        return vectors[0] if len(there) else None

    def vectors(self, ids: Sequence[int] | Ids) -> tuple[Ids, Vectors]:
        """(n,) those of the ids that are there, in order, and their (n, dim) vectors, from the rows."""
        wanted = np.asarray(ids, np.int64)
        with self._database.read() as session:
            return _stored(session, wanted, self._space, self._owner, self.dim)

    def holds(self, ids: Ids, vectors: Vectors) -> NDArray[np.bool_]:
        """(n,) bool: whether the index has this id with this vector, as 16 bits hold it."""
        rows = select(self._table.c.photo_id, self._table.c.vector).where(self._of(ids))
        with self._database.read() as session:
            there = {photo_id: np.array(vector, np.float16) for photo_id, vector in session.execute(rows)}
        given = zip(ids.tolist(), vectors.astype(np.float16), strict=True)
        return np.array([i in there and np.array_equal(there[i], vector) for i, vector in given], bool)

    def reserve(self, size: int) -> None:
        """HNSW for a library that needs it; before, vectors are added many times as fast."""
        if size > EXACT_ROWS:
            name = self._table.name
            hnsw = f"CREATE INDEX IF NOT EXISTS ix_{name}_hnsw ON {name} USING hnsw (vector halfvec_ip_ops)"
            with self._database.log() as session:
                session.connection().exec_driver_sql(hnsw)

    def add(self, ids: Sequence[int] | Ids, vectors: Vectors) -> None:
        """(n,) ids and (n, dim) unit vectors; what another process has added, or deleted, is passed over."""
        given = dict(zip(np.asarray(ids).tolist(), vectors, strict=True))
        with self._database.log() as session:
            # Locked, so that none is deleted before this is committed.
            there = select(col(Photo.id)).where(among(col(Photo.id), given))
            there = there.with_for_update(read=True, key_share=True)
            rows = [{"photo_id": i, "owner": self._owner, "vector": given[i]} for i in session.scalars(there)]
            if rows:
                session.execute(insert(self._table).on_conflict_do_nothing(), rows)
        self._counted.clear()

    def remove(self, ids: Sequence[int] | Ids) -> None:
        """Ids that are not there are passed over."""
        with self._database.log() as session:
            session.execute(self._table.delete().where(self._of(ids)))
        self._counted.clear()

    def search(
        self, vectors: Vectors, k: int, allowed_ids: Sequence[int] | Ids | None = None
    ) -> tuple[Ids, Scores]:
        """Top min(k, available) for each of (n, dim) queries: (n, k) ids and cosines; equals in the order of ids.

        Exact for up to EXACT_ROWS photos, in all or allowed. Raises: ValueError.
        """
        queries = np.asarray(vectors, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim or not np.isfinite(queries).all():
            raise ValueError(f"Queries must be finite and of shape (n, {self.dim}).")
        allowed = None if allowed_ids is None else np.unique(np.asarray(allowed_ids, np.int64))
        with self._database.read() as session:
            found = [self._best(session, query, k, allowed) for query in queries]
        most = min((len(ids) for ids, _ in found), default=0)
        ids = np.array([ids[:most] for ids, _ in found], np.int64).reshape(len(found), most)
        return ids, np.array([scores[:most] for _, scores in found], np.float32).reshape(len(found), most)

    def _best(self, session: Session, query: Vectors, k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        candidates = self._candidates(session, query, k + SPARE, allowed)
        ids, vectors = _stored(session, candidates, self._space, self._owner, self.dim)
        scores: Scores = vectors @ query
        order = np.lexsort((ids, -scores))[:k]
        return ids[order], scores[order]

    def _candidates(self, session: Session, query: Vectors, count: int, allowed: Ids | None) -> Ids:
        """The nearest by 16 bits, in no order."""
        rows = select(self._table).where(self._mine if allowed is None else self._of(allowed))
        if self._is_small(session) if allowed is None else len(allowed) <= EXACT_ROWS:
            source = rows.cte("compared").prefix_with("MATERIALIZED").c  # which no index can be used for
        else:
            source = rows.subquery().c
            self._set_up_scan(session, count)
        # By the distance alone: ids to order equals by would need a sort.
        nearest = select(source.photo_id).order_by(source.vector.max_inner_product(query)).limit(count)
        return np.array(session.scalars(nearest).all(), np.int64)

    def _is_small(self, session: Session) -> bool:
        first = select(self._table.c.photo_id).where(self._mine).limit(EXACT_ROWS + 1).subquery()
        return int(session.execute(select(func.count()).select_from(first)).scalar_one()) <= EXACT_ROWS

    def _set_up_scan(self, session: Session, count: int) -> None:
        """For this transaction. Without the iterative scan, a filter would leave few of the ef_search rows."""
        settings = {
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.ef_search": min(MOST_EF, max(self._ef_search, count)),
            "hnsw.max_scan_tuples": max(EXACT_ROWS, LONGEST_SCAN * count),
        }
        for name, value in settings.items():
            session.execute(select(func.set_config(name, str(value), True)))

    def _present(self, ids: Sequence[int] | Ids) -> Sequence[int]:
        with self._database.read() as session:
            return session.scalars(select(self._table.c.photo_id).where(self._of(ids))).all()

    @property
    def _mine(self) -> Any:
        return self._table.c.owner == self._owner

    def _of(self, ids: Sequence[int] | Ids) -> Any:
        return self._mine & among(self._table.c.photo_id, ids)


def _stored(session: Session, ids: Ids, space: str, owner: str, dim: int) -> tuple[Ids, Vectors]:
    """Those of the ids that have a row, in order, and their (n, dim) vectors."""
    columns = col(Embedding.photo_id), type_coerce(col(Embedding.vector), LargeBinary)
    wanted = (among(col(Embedding.photo_id), ids), col(Embedding.space) == space, col(Photo.owner) == owner)
    rows = select(*columns).join(Photo, col(Photo.id) == col(Embedding.photo_id)).where(*wanted)
    found = {row[0]: row[1] for row in session.execute(rows)}
    there = [i for i in ids.tolist() if i in found]
    return np.array(there, np.int64), stacked(found[i] for i in there).reshape(len(there), dim)
