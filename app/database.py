"""One engine, three kinds of transaction. SQLite's settings are here, and nowhere else."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, create_engine

from app.migrations import bring_up_to_date

# In WAL mode FULL makes every commit durable on power loss; NORMAL may lose the last ones, but never corrupts.
_BEGIN = {
    "read": ("BEGIN",),
    "write": ("PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"),
    "log": ("PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE"),
}


class Database:
    """Sessions on one database, whose tables are made or brought up to date first.

    Raises at construction: sqlalchemy.exc.OperationalError, NewerDatabase.
    """

    def __init__(self, url: str, busy_timeout_s: float = 30) -> None:
        sqlite = url.startswith("sqlite")
        connect_args = {"check_same_thread": False, "timeout": busy_timeout_s} if sqlite else {}
        # As many connections as the server has threads: a request never waits for one.
        self.engine = create_engine(url, connect_args=connect_args, pool_size=40, max_overflow=20)
        self._busy_timeout_s = busy_timeout_s
        self._writer = threading.Lock() if sqlite else None
        if sqlite:
            _set_up_sqlite(self.engine)
        bring_up_to_date(self.engine.execution_options(recollect_begin="write"))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view of the rows; nothing is written."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Committed and durable when the block ends, rolled back if it raises."""
        with self._transaction("write") as session:
            yield session

    @contextmanager
    def log(self) -> Iterator[Session]:
        """Like write, for rows whose loss on a power cut would not matter: it does not wait for the disk."""
        with self._transaction("log") as session:
            yield session

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[Session]:
        engine = self.engine.execution_options(recollect_begin=kind)
        with self._turn(), Session(engine, expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite lets one write at a time, and who waits for it sleeps and asks again; threads can be woken."""
        if self._writer is None:
            yield
            return
        if not self._writer.acquire(timeout=self._busy_timeout_s):
            raise OperationalError("BEGIN IMMEDIATE", None, TimeoutError("database is locked"))
        try:
            yield
        finally:
            self._writer.release()

    def dispose(self) -> None:
        self.engine.dispose()


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # this module says BEGIN itself, below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # SQLite's own knows ASCII only; with this one a search in any case works as on other databases.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        # IMMEDIATE: a writer waits its turn at the start; upgrading a read later fails at once with "locked".
        kind = connection.get_execution_options().get("recollect_begin", "read")
        for statement in _BEGIN[kind]:
            connection.exec_driver_sql(statement)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()
