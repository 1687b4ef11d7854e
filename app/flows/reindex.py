"""Give every photo a vector in the present space: after a change of model, or when a vector was lost."""

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, select

from app.errors import AppError, Overloaded
from app.flows.services import Services
from app.services.interfaces import Vectors
from app.tables import Embedding, Photo, PhotoStatus

logger = logging.getLogger(__name__)

BUSY_PAUSE_S = 1.0


def count_missing(services: Services) -> int:
    """Ready photos without a vector in the present space: two counts are much cheaper than a join of all rows."""
    ready = select(func.count()).select_from(Photo).where(Photo.status == PhotoStatus.READY)
    embedded = select(func.count()).select_from(Embedding).where(Embedding.space == services.encoder.space)
    with services.database.read() as session:
        return session.exec(ready).one() - session.exec(embedded).one()


def fill_missing(services: Services, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Embed what has no vector, newest first; returns how many got one.

    A photo whose original is missing or damaged is passed over with a warning, and stays as it is.
    """
    filled, below = 0, None
    while not should_stop():
        with services.database.read() as session:
            wanted = _missing(services).order_by(col(Photo.id).desc()).limit(1)
            photo = session.exec(wanted if below is None else wanted.where(col(Photo.id) < below)).first()
        if photo is None:
            break
        try:
            filled += _fill(services, photo)
        except Overloaded:
            time.sleep(BUSY_PAUSE_S)  # people who search come first; the same photo is tried again
            continue
        below = photo.id
    return filled


def _missing(services: Services):  # type: ignore[no-untyped-def]  # SQLModel's select has no short name for its type
    embedded = select(Embedding.photo_id).where(Embedding.space == services.encoder.space)
    return select(Photo).where(Photo.status == PhotoStatus.READY, col(Photo.id).not_in(embedded))


def _fill(services: Services, photo: Photo) -> bool:
    assert photo.id is not None, "a stored photo has an id"
    try:
        vector = _vector(services, photo)
        with services.database.write() as session:
            session.add(Embedding(photo_id=photo.id, space=services.encoder.space, vector=vector))
    except IntegrityError:
        return False  # deleted, or filled by another process, in the meantime
    except Overloaded:
        raise
    except AppError as error:
        logger.warning("Photo %d has no vector in %s: %s", photo.id, services.encoder.space, error.detail)
        return False
    services.live_index.add(photo.id, vector)
    return True


def _vector(services: Services, photo: Photo) -> Vectors:
    if photo.sha256 is None:
        return _first(services.encoder.encode_texts([photo.caption or photo.title or ""]))
    with services.store.open(photo.sha256) as original:
        image = services.decode(original.read()).image
    return _first(services.encoder.encode_images([image]))


def _first(vectors: Vectors) -> Vectors:
    row: Vectors = vectors[0]
    return row
