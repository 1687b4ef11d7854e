"""Gives photos of older versions what newer ones get when they come in: hash, placeholder, names of the place."""

import logging
from dataclasses import asdict
from typing import Any

from sqlmodel import and_, col, func, or_, select, update

from app.errors import AppError
from app.flows.background import Background
from app.flows.services import Services, Serving
from app.services.looks import Look, look_of
from app.services.places import PlaceName, name_place
from app.services.thumbnails import GRID_SIZE
from app.tables import Photo

logger = logging.getLogger(__name__)

BATCH = 16  # photos a commit, some 5 ms each from a thumbnail that is there
PAUSE_S = 0.2  # between two, so that searches and uploads hardly notice

WITHOUT_LOOK = (col(Photo.sha256).is_not(None), col(Photo.phash).is_(None))
# Far from everything there is no name, and each start finds that again.
WITHOUT_PLACE = (col(Photo.latitude).is_not(None), col(Photo.country).is_(None))


def count_without_look(services: Services, owner: str) -> int:
    """Photos not reached yet, and those whose original is lost or damaged."""
    wanted = select(func.count()).select_from(Photo).where(Photo.owner == owner, *WITHOUT_LOOK)
    with services.database.read() as session:
        return session.exec(wanted).one()


class LookFiller(Background):
    """A thread that goes through the library once, newest first, and ends; what it cannot read it passes over."""

    name, retry_s = "look-filler", 10.0

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self._serving = serving
        self._below: int | None = None  # the photos from here on have been tried

    def _step(self) -> float | None:
        """One batch."""
        with self._serving.use() as services:
            photos = _unfilled(services, self._below)
            found = {photo.id: self._missing(services, photo) for photo in photos if photo.id}
            _store(services, found)
        if not photos:
            return None
        self._below = photos[-1].id
        return PAUSE_S

    def _missing(self, services: Services, photo: Photo) -> dict[str, Any]:
        """The columns that can be filled; none if time is up."""
        if self._stop.is_set():
            return {}
        look = _look(services, photo.sha256) if photo.sha256 and photo.phash is None else None
        place = _place(photo)
        return (asdict(look) if look else {}) | (asdict(place) if place else {})


def _look(services: Services, sha256: str) -> Look | None:
    """Of the thumbnail, which is made if it is not there; None if that is not possible."""
    try:
        return look_of(services.decode(services.thumbnails.path(sha256, GRID_SIZE).read_bytes()).image)
    except (AppError, OSError) as error:
        logger.warning("Original %s cannot be looked at: %s", sha256, error)
        return None


def _unfilled(services: Services, below: int | None) -> list[Photo]:
    """The newest ones below an id."""
    wanted = select(Photo).where(or_(and_(*WITHOUT_LOOK), and_(*WITHOUT_PLACE))).order_by(col(Photo.id).desc())
    if below is not None:
        wanted = wanted.where(col(Photo.id) < below)
    with services.database.read() as session:
        return list(session.exec(wanted.limit(BATCH)))


def _place(photo: Photo) -> PlaceName | None:
    if photo.country or photo.latitude is None or photo.longitude is None:
        return None
    return name_place(photo.latitude, photo.longitude)


def _store(services: Services, found: dict[int, dict[str, Any]]) -> None:
    with services.database.log() as session:
        for photo_id, values in found.items():
            if values:
                session.exec(update(Photo).where(col(Photo.id) == photo_id).values(**values))
