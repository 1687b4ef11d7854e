"""One engine, three kinds of transaction. SQLite's settings are here, PostgreSQL's in app/postgres.py."""

import copy
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

from sqlalchemy import Engine, TextClause, event, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, create_engine

from app import postgres
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
        sqlite = not postgres.is_postgres(url)
        options = _sqlite_options(url, busy_timeout_s) if sqlite else postgres.engine_options(url)
        # As many connections as the server has threads: a request never waits for one.
        self.engine = create_engine(**options, pool_size=40, max_overflow=20, pool_use_lifo=True)
        self._busy_timeout_s = busy_timeout_s
        self._writer = threading.Lock() if sqlite else None
        if sqlite:
            _set_up_sqlite(self.engine)
        else:
            postgres.set_up(self.engine, busy_timeout_s)
        self._keeps = True
        # Made once: one for each session would take as long as a statement.
        self._engines = {kind: self.engine.execution_options(recollect_begin=kind) for kind in _BEGIN}
        bring_up_to_date(self._engines["write"])

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view of the rows; nothing is written."""
        with Session(self._engines["read"]) as session:
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

    def on_trial(self) -> Self:
        """The same, but what is written in a transaction is rolled back: nothing of it reaches SQLite's disk."""
        trial = copy.copy(self)
        trial._keeps = False
        return trial

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[Session]:
        with self._turn(), Session(self._engines[kind], expire_on_commit=False) as session:
            yield session
            if self._keeps:
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

    def news(self) -> "postgres.Listener | Poll":
        """How one thread waits for the vectors that others commit."""
        return Poll() if self._writer else postgres.Listener(self.engine)

    def dispose(self) -> None:
        self.engine.dispose()


class Poll:
    """SQLite tells nobody of what other processes commit: they look again after a while."""

    def wait(self, timeout_s: float, stop: threading.Event) -> None:
        """For timeout_s; ends at once with `stop`."""
        stop.wait(timeout_s)

    def close(self) -> None:
        """Nothing is open."""


def is_postgres(session: Session) -> bool:
    """Where what the two kinds of database understand differs."""
    return session.get_bind().dialect.name == "postgresql"


@lru_cache(maxsize=256)
def statement(sql: str) -> TextClause:
    """Made once: to look for the names of values in it takes as long as to execute it."""
    return text(sql)


def _sqlite_options(url: str, busy_timeout_s: float) -> dict[str, Any]:
    return {"url": url, "connect_args": {"check_same_thread": False, "timeout": busy_timeout_s}}


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
