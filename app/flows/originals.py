"""Originals and the rows that name them agree, whatever fails or crashes in between."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import col, func, select

from app.database import Database
from app.errors import StorageMissing
from app.flows.background import Background
from app.flows.services import Services, Serving
from app.services.interfaces import PhotoStore
from app.services.photo_store import MARK
from app.tables import Photo

logger = logging.getLogger(__name__)

MEND_POLL_S = 60.0
SAMPLE = 100  # originals by which the folder of a library that has no mark yet is known


def recognise(database: Database, store: PhotoStore) -> None:
    """See that the folder or bucket is the library's; one that is new, or of a version without marks, is marked.

    Raises: StorageMissing, OSError.
    """
    if store.is_set_up():
        return
    named = select(Photo.sha256).where(col(Photo.sha256).is_not(None))
    with database.read() as session:
        sample = session.exec(named.order_by(func.random()).limit(SAMPLE)).all()
    if 2 * sum(store.holds(sha256) for sha256 in sample if sha256) < len(sample):
        raise StorageMissing(
            f"{store.where} does not hold this library's photos: is its disk mounted? "
            f"If it is the right place all the same, make an empty file {MARK} in it."
        )
    store.set_up()


def mend(services: Services) -> None:
    """Finish what processes that died left half done; what living ones work on is left alone."""
    for sha256 in services.store.left_notes():
        settle(services, sha256)
        logger.info("original %s of an upload or deletion that was cut short: settled", sha256)


class Mender(Background):
    """A thread that goes on mending: another process may have died, and its notes are held for a while yet."""

    name, retry_s = "mender", MEND_POLL_S

    def __init__(self, serving: Serving) -> None:
        super().__init__(first_after_s=MEND_POLL_S)
        self._serving = serving

    def _step(self) -> float:
        with self._serving.use() as services:
            mend(services)
        return MEND_POLL_S


@contextmanager
def settled(services: Services, sha256: str | None, *, deleting: bool = False) -> Iterator[None]:
    """Alone with an original, which no row needs to name meanwhile; afterwards it is named, or deleted.

    An error deletes what is new, a crash leaves it to `mend`. None, of an item without a picture, is let through.
    Raises: StorageFull, StorageMissing, OSError.
    """
    if sha256 is None:
        yield
        return
    try:
        with services.store.noted(sha256, deleting=deleting):
            yield
    except BaseException as error:
        if services.store.is_noted(sha256) and not _in_doubt(error):
            settle(services, sha256)
        raise


def settle(services: Services, sha256: str) -> None:
    """Delete an original and its thumbnails unless a row needs them. Raises: StorageMissing."""
    with services.store.noted(sha256, deleting=True):
        remove_unused_file(services, sha256)


def remove_unused_file(services: Services, sha256: str | None) -> None:
    """Delete an original and its thumbnails unless some row, of any owner, needs them; inside `settled`."""
    if sha256 is None or is_named(services.database, sha256):
        return
    services.store.delete(sha256)
    services.thumbnails.delete(sha256)


def is_named(database: Database, sha256: str) -> bool:
    """Whether a row, of any owner, names this original."""
    with database.read() as session:
        return session.exec(select(Photo.id).where(Photo.sha256 == sha256)).first() is not None


def _in_doubt(error: BaseException) -> bool:
    """A commit that the disk refused may yet be found in SQLite's log after a crash; one whose connection is lost,
    PostgreSQL may have made: the next start will know."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlite_errorcode", 0) if isinstance(error, OperationalError) else 0
    return code & 0xFF == sqlite3.SQLITE_IOERR
