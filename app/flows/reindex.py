"""Give every photo a vector in a bundle's space: while a model change is under way, or when a vector was lost."""

import logging
import time
from collections.abc import Callable, Sequence

from PIL import Image
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from app.errors import AppError, Overloaded
from app.flows.services import Services
from app.services.interfaces import Vectors
from app.tables import Embedding, Photo, PhotoStatus

logger = logging.getLogger(__name__)

BUSY_PAUSE_S = 1.0
BATCH = 4  # photos encoded together: decoded, each may take 150 MB, and a search by picture waits for one batch

Report = Callable[[int, int], None]  # photos that got a vector, photos passed over


def count_ready(services: Services) -> int:
    """Photos that a search should find."""
    ready = select(func.count()).select_from(Photo).where(Photo.status == PhotoStatus.READY)
    with services.database.read() as session:
        return session.exec(ready).one()


def count_missing(services: Services) -> int:
    """Ready photos without a vector in this space: two counts are much cheaper than a join of all rows."""
    embedded = select(func.count()).select_from(Embedding).where(Embedding.space == services.encoder.space)
    with services.database.read() as session:
        return count_ready(services) - session.exec(embedded).one()


def fill_missing(
    services: Services,
    should_stop: Callable[[], bool] = lambda: False,
    report: Report = lambda _filled, _skipped: None,
) -> int:
    """Embed what has no vector, newest first; returns how many got one.

    A photo whose original is missing or damaged is passed over with a warning, and stays as it is.
    """
    total, below = 0, None
    while not should_stop():
        photos = _missing(services, below)
        if not photos:
            break
        try:
            filled = _fill(services, photos)
        except Overloaded:
            time.sleep(BUSY_PAUSE_S)  # people who search come first; the same photos are tried again
            continue
        report(filled, len(photos) - filled)
        total += filled
        below = photos[-1].id
    return total


def embed_in_others(services: Services, photo: Photo) -> None:
    """While a model change is under way, what came in over the old bundle gets a vector in the new space, too."""
    for other in services.serving.others(services):
        try:
            _fill(other, [photo])
        except Exception as error:  # the photo is stored already: its upload has not failed
            logger.warning("Photo %s is left to the filling of %s: %r", photo.id, other.encoder.space, error)


def _missing(services: Services, below: int | None) -> Sequence[Photo]:
    # NOT EXISTS looks each photo up in the index of (photo_id, space); NOT IN would list the space anew each time.
    has_vector = select(Embedding.id).where(
        Embedding.photo_id == Photo.id, Embedding.space == services.encoder.space
    )
    wanted = select(Photo).where(Photo.status == PhotoStatus.READY, ~has_vector.exists())
    if below is not None:
        wanted = wanted.where(col(Photo.id) < below)
    with services.database.read() as session:
        return session.exec(wanted.order_by(col(Photo.id).desc()).limit(BATCH)).all()


def _fill(services: Services, photos: Sequence[Photo]) -> int:
    """How many of them got a vector; what fails together is tried one by one. Raises: Overloaded."""
    try:
        return _store(services, photos, _vectors(services, photos))
    except Overloaded:
        raise
    except (AppError, IntegrityError) as error:
        if len(photos) > 1:
            return sum(_fill(services, [photo]) for photo in photos)
        if isinstance(error, AppError):
            logger.warning("Photo %s has no vector in %s: %s", photos[0].id, services.encoder.space, error.detail)
        return 0  # IntegrityError: deleted, or filled by another process, in the meantime


def _vectors(services: Services, photos: Sequence[Photo]) -> dict[int, Vectors]:
    """(dim,) vectors by photo id."""
    words = {_id(photo): text_of(photo) for photo in photos if photo.sha256 is None}
    originals = {_id(photo): photo.sha256 for photo in photos if photo.sha256 is not None}
    images = [_decoded(services, sha256) for sha256 in originals.values()]
    found = dict(zip(originals, services.encoder.encode_images(images), strict=True)) if images else {}
    if words:
        found |= zip(words, services.encoder.encode_texts(list(words.values())), strict=True)
    return found


def _decoded(services: Services, sha256: str) -> Image.Image:
    with services.store.open(sha256) as original:
        return services.decode(original.read()).image


def _store(services: Services, photos: Sequence[Photo], vectors: dict[int, Vectors]) -> int:
    """In one commit. What was deleted, reworded or filled by somebody else meanwhile is left out."""
    space = services.encoder.space
    with services.database.write() as session:
        wanted = [_id(photo) for photo in photos if _still_wanted(session, photo, space)]
        session.add_all(Embedding(photo_id=i, space=space, vector=vectors[i]) for i in wanted)
    owners = {_id(photo): photo.owner for photo in photos}
    for photo_id in wanted:
        services.live_index.add(photo_id, vectors[photo_id], owners[photo_id])
    return len(wanted)


def _still_wanted(session: Session, photo: Photo, space: str) -> bool:
    now = session.get(Photo, photo.id)
    if now is None or (now.sha256 is None and text_of(now) != text_of(photo)):
        return False
    filled = select(Embedding.id).where(Embedding.photo_id == photo.id, Embedding.space == space)
    return session.exec(filled).first() is None


def text_of(photo: Photo) -> str:
    """What is embedded of a text-only item."""
    return photo.caption or photo.title or ""


def _id(photo: Photo) -> int:
    assert photo.id is not None, "a stored photo has an id"
    return photo.id
