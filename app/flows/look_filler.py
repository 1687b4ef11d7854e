"""Gives photos of older versions what newer ones get when they come in: a perceptual hash and a placeholder."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict

from sqlmodel import col, func, select, update

from app.errors import AppError
from app.flows.services import Services, Serving
from app.services.looks import Look, look_of
from app.services.thumbnails import GRID_SIZE
from app.tables import Photo

logger = logging.getLogger(__name__)

BATCH = 16  # photos a commit, some 5 ms each from a thumbnail that is there
PAUSE_S = 0.2  # between two, so that searches and uploads hardly notice
RETRY_S = 10.0  # after a database that is locked or missing for a while

WITHOUT_LOOK = (col(Photo.sha256).is_not(None), col(Photo.phash).is_(None))


def count_without_look(services: Services, owner: str) -> int:
    """Photos not reached yet, and those whose original is lost or damaged."""
    wanted = select(func.count()).select_from(Photo).where(Photo.owner == owner, *WITHOUT_LOOK)
    with services.database.read() as session:
        return session.exec(wanted).one()


class LookFiller:
    """A thread that goes through the library once, newest first, and ends; what it cannot read it passes over."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._stop = threading.Event()
        self._below: int | None = None  # the photos from here on have been tried
        self._thread = threading.Thread(target=self._run, name="look-filler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """What is missing is left to the next start."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                if not self._step():
                    return
                pause = PAUSE_S
            except Exception:
                logger.exception("Could not fill in perceptual hashes; trying again in %g s.", RETRY_S)
                pause = RETRY_S

    def _step(self) -> bool:
        """One batch; False: there was none left."""
        with self._serving.use() as services:
            photos = _without_look(services, self._below)
            looks = {photo_id: self._look(services, sha256) for photo_id, sha256 in photos}
            _store(services, looks)
        if photos:
            self._below = photos[-1][0]
        return bool(photos)

    def _look(self, services: Services, sha256: str) -> Look | None:
        """Of the thumbnail, which is made if it is not there; None if that is not possible, or time is up."""
        if self._stop.is_set():
            return None
        try:
            return look_of(services.decode(services.thumbnails.path(sha256, GRID_SIZE).read_bytes()).image)
        except (AppError, OSError) as error:
            logger.warning("Original %s cannot be looked at: %s", sha256, error)
            return None


def _without_look(services: Services, below: int | None) -> Sequence[tuple[int, str]]:
    """Ids and SHA-256 of the newest ones below an id."""
    wanted = select(col(Photo.id), col(Photo.sha256)).where(*WITHOUT_LOOK).order_by(col(Photo.id).desc())
    if below is not None:
        wanted = wanted.where(col(Photo.id) < below)
    with services.database.read() as session:
        return [
            (photo_id, sha256) for photo_id, sha256 in session.exec(wanted.limit(BATCH)) if photo_id and sha256
        ]


def _store(services: Services, looks: dict[int, Look | None]) -> None:
    with services.database.log() as session:
        for photo_id, look in looks.items():
            if look:
                session.exec(update(Photo).where(col(Photo.id) == photo_id).values(**asdict(look)))
