"""Reads what is written in photos, behind whatever else the service does."""

import logging
import os
import sys
import threading

from sqlmodel import col, func, select, update

from app.errors import AppError, StorageMissing
from app.flows.background import Background
from app.flows.services import Services, Serving
from app.services.interfaces import TextRecogniser
from app.services.ocr import LONG_SIDE
from app.tables import Photo
from app.telemetry import StepTimer

logger = logging.getLogger(__name__)

POLL_S = 1.0  # how often to look for new photos, and whether they are still coming in
NICENESS = 19  # a second of work for each photo must not be felt by who searches

UNREAD = (col(Photo.sha256).is_not(None), col(Photo.ocr_text).is_(None))  # as in the index ix_photos_unread


def count_unread(services: Services, owner: str | None = None) -> int:
    """Photos, of one owner or of all, that are not read yet, and those whose original is lost or damaged."""
    unread = select(func.count()).select_from(Photo).where(*UNREAD)
    with services.database.read() as session:
        return session.exec(unread if owner is None else unread.where(Photo.owner == owner)).one()


class TextReader(Background):
    """A thread that reads one photo after another, the newest first, from its original: small text needs it.

    While photos come in it waits, for they would come in half as fast. What it cannot read it passes over until
    the next start.
    """

    name, retry_s = "text-reader", 10.0

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self._serving = serving
        self._unreadable: set[int] = set()
        self._size = 0  # of the library, when last looked at

    def start(self) -> None:
        """Does nothing if text is not to be read here, or cannot be."""
        if self._serving.current.ocr:
            super().start()

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere it would be the whole process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        super()._run()

    def _step(self) -> float:
        """One photo, which takes a second."""
        with self._serving.use() as services:
            photo = None if self._is_growing(services) else self._next(services)
            if photo is None or services.ocr is None:
                return POLL_S
            photo_id, sha256 = photo
            text = self._read(services, services.ocr, sha256)
            if text is None:
                self._unreadable.add(photo_id)
            else:
                _store(services, photo_id, text)
        return 0.0

    def _is_growing(self, services: Services) -> bool:
        before, self._size = self._size, len(services.live_index)
        return before != self._size

    def _next(self, services: Services) -> tuple[int, str] | None:
        newest = select(col(Photo.id), col(Photo.sha256)).where(*UNREAD).order_by(col(Photo.id).desc())
        with services.database.read() as session:
            for photo_id, sha256 in session.exec(newest.limit(len(self._unreadable) + 1)):
                if photo_id is not None and photo_id not in self._unreadable:
                    return photo_id, str(sha256)
        return None

    def _read(self, services: Services, ocr: TextRecogniser, sha256: str) -> str | None:
        """None of an original that is lost, damaged, or breaks the reader. Raises: StorageMissing."""
        timer = StepTimer(services.telemetry)
        try:
            with timer("decode"), services.store.open(sha256) as original:
                image = services.decoder.decode(original.read(), at_least=LONG_SIDE).image
            with timer("read-text"):
                return ocr.read_text(image)
        except StorageMissing:
            raise
        except (AppError, OSError) as error:
            logger.warning("Original %s cannot be read: %s", sha256, error)
        except Exception:
            logger.exception("The text in original %s could not be read.", sha256)
        return None


def _store(services: Services, photo_id: int, text: str) -> None:
    with services.database.log() as session:
        session.exec(update(Photo).where(col(Photo.id) == photo_id).values(ocr_text=text))
