"""A library's rows move to another database; its originals stay where they are."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Integer, Row, Table, select, text
from sqlmodel import Session, SQLModel, func

from app.database import Database, is_postgres
from app.errors import InvalidRequest
from app.flows.integrity import nothing

PAGE = 1000  # rows that are in memory together


def migrate(source: Database, target: Database, *, tick: Callable[[], None] = nothing) -> dict[str, int]:
    """Copy all tables to an empty database, ids and all, in one transaction; returns how many rows each has.

    Triggers of the target fill its full-text tables. Then the target is read again, and compared. `tick` is called
    for each row. Raises: InvalidRequest (the target is in use, or has other rows in the end), SQLAlchemyError.
    """
    tables = SQLModel.metadata.sorted_tables
    with source.read() as rows, target.write() as copies:
        for table in tables:
            if copies.execute(select(table).limit(1)).first() is not None:
                raise InvalidRequest(f"The new database is in use: it has {table.name} already.")
        written = {table.name: _copy(rows, copies, table, tick) for table in tables}
    with target.read() as copies:
        for table in tables:
            if _fingerprint(_pages(copies, table)) != written[table.name]:
                raise InvalidRequest(f"The copy of {table.name} differs: use another new database.")
    return {name: count for name, (count, _) in written.items()}


def _copy(rows: Session, copies: Session, table: Table, tick: Callable[[], None]) -> tuple[int, str]:
    def copied() -> Iterator[Sequence[Row[Any]]]:
        for page in _pages(rows, table):
            copies.execute(table.insert(), [dict(row._mapping) for row in page])
            for _ in page:
                tick()
            yield page

    found = _fingerprint(copied())
    _go_on_counting(rows, copies, table)
    return found


def _pages(session: Session, table: Table) -> Iterator[Sequence[Row[Any]]]:
    """All rows, in the order of their keys."""
    [key] = table.primary_key.columns
    wanted = select(table).order_by(key).limit(PAGE)
    page = session.execute(wanted).all()
    while page:
        yield page
        page = session.execute(wanted.where(key > page[-1]._mapping[key])).all()


def _fingerprint(pages: Iterator[Sequence[Row[Any]]]) -> tuple[int, str]:
    """How many rows, and the SHA-256 of all that is in them."""
    count, digest = 0, hashlib.sha256()
    for page in pages:
        count += len(page)
        for row in page:
            plain = [value.tobytes() if isinstance(value, np.ndarray) else value for value in row]
            digest.update(repr(plain).encode())
    return count, digest.hexdigest()


def _go_on_counting(rows: Session, copies: Session, table: Table) -> None:
    """New ids go on after all that were ever given, so that none is given again."""
    [key] = table.primary_key.columns
    if not isinstance(key.type, Integer) or not is_postgres(copies):
        return
    last = rows.execute(select(func.max(key))).scalar_one() or 0
    if not is_postgres(rows):
        given = text("SELECT seq FROM sqlite_sequence WHERE name = :table")
        last = max(last, rows.execute(given, {"table": table.name}).scalar() or 0)
    if last:
        sequence = func.pg_get_serial_sequence(table.name, key.name)
        copies.execute(select(func.setval(sequence, last)))
