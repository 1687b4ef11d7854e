"""What is particular about PostgreSQL: how transactions begin, and hearing of what other processes commit."""

import importlib.util
import threading
import time
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    event,
    make_url,
)

from app.errors import CapabilityMissing
from app.migrations.news import CHANNEL

STANDSTILL_S = 120
STOP_S = 0.2  # how soon a wait notices that it is to stop

# Flows read, decide and write as if they were alone, which they are in SQLite; and rows are committed in the order
# of their ids, so that `id > last seen` misses none. The import queue and logs do without: they lock rows, or add
# some.
_ONE_WRITER = "SELECT pg_advisory_xact_lock(hashtext('recollect'))"
_BEGIN = {
    "read": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "write": _ONE_WRITER,
    "log": "SET LOCAL synchronous_commit = off",
}


def is_postgres(url: str) -> bool:
    """Whether it names a database of this kind."""
    return url.startswith(("postgresql:", "postgresql+", "postgres:"))


def engine_options(url: str) -> dict[str, Any]:
    """For create_engine; psycopg is the driver, whatever the URL names. Raises: CapabilityMissing."""
    if importlib.util.find_spec("psycopg") is None:
        raise CapabilityMissing('PostgreSQL needs an extra: pip install "recollect[postgres]"')
    plain = url.replace("postgres:", "postgresql:", 1) if url.startswith("postgres:") else url
    return {
        "url": make_url(plain).set(drivername="postgresql+psycopg"),
        # After a few runs psycopg would keep a statement's plan, also when a better index has come.
        "connect_args": {"prepare_threshold": None},
        "pool_pre_ping": True,  # a connection to a server that has gone, or is a replica now, is made anew
    }


def set_up(engine: Engine, busy_timeout_s: float) -> None:
    """Every connection waits for locks so long, and every transaction begins as its kind asks."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.execute(f"SET lock_timeout = {round(busy_timeout_s * 1000)}")
        # A process that stands still while it writes must not hold up the others for ever.
        connection.execute(f"SET idle_in_transaction_session_timeout = {STANDSTILL_S * 1000}")
        connection.execute("SET jit = off")  # compiling takes longer than any query here
        connection.commit()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        kind = connection.get_execution_options().get("recollect_begin")
        if kind is not None:  # else it is none of Database's
            connection.exec_driver_sql(_BEGIN[kind])


class Listener:
    """Hears of vectors that are committed, on a connection of its own; for one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None  # psycopg's

    def wait(self, timeout_s: float, stop: threading.Event) -> None:
        """Until vectors have been committed since the last wait, for timeout_s at most; ends soon after `stop`.

        Returns at once when it has just connected, for what was told before is not known. Raises: psycopg.Error,
        sqlalchemy.exc.OperationalError; the next wait connects again.
        """
        deadline = time.monotonic() + timeout_s
        try:
            if self._connection is None:
                self._connect()
                return
            while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
                if any(self._connection.notifies(timeout=min(left, STOP_S), stop_after=1)):
                    return
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> None:
        pooled = self._engine.raw_connection()
        self._connection = pooled.driver_connection
        pooled.detach()
        self._connection.autocommit = True
        self._connection.execute(f"LISTEN {CHANNEL}")
