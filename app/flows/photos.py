"""Looking at the library and changing it."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from app.errors import InvalidRequest, ItemIdTaken, PhotoNotFound
from app.flows.filters import PhotoFilter
from app.flows.originals import remove_unused_file, settled
from app.flows.reindex import embed_in_others, text_of
from app.flows.services import Services
from app.services.interfaces import Vectors
from app.tables import DEFAULT_OWNER, Embedding, Photo, utc_now


@dataclass(frozen=True)
class Page:
    photos: Sequence[Photo]
    total: int
    next_cursor: str | None


def list_photos(services: Services, wanted: PhotoFilter, *, skip: int, limit: int, cursor: str | None) -> Page:
    """Newest first. A cursor continues where its page ended, whatever was added since. Raises: InvalidRequest."""
    conditions = wanted.conditions()
    with services.database.read() as session:
        total = session.exec(select(func.count()).select_from(Photo).where(*conditions)).one()
        page = select(Photo).where(*conditions).order_by(col(Photo.id).desc())
        if cursor is not None:
            page = page.where(col(Photo.id) < read_cursor(cursor))
        photos = session.exec(page.offset(skip).limit(limit + 1)).all()
    more = len(photos) > limit
    photos = photos[:limit]
    return Page(photos, total, make_cursor(photos[-1].id) if more else None)


def get_photo(session: Session, photo_id: int, owner: str = DEFAULT_OWNER) -> Photo:
    """Raises: PhotoNotFound."""
    photo = session.get(Photo, photo_id)
    if photo is None or photo.owner != owner:
        raise PhotoNotFound(f"There is no photo {photo_id}.")
    return photo


def get_embedding(session: Session, photo_id: int, space: str) -> Vectors | None:
    """The (dim,) vector of a photo in a space, or None while it has none."""
    wanted = select(Embedding).where(Embedding.photo_id == photo_id, Embedding.space == space)
    row = session.exec(wanted).first()
    return None if row is None else cast(Vectors, row.vector)


def update_photo(services: Services, photo_id: int, changes: dict[str, object]) -> Photo:
    """Set the owner's words; an empty text counts as none. Raises: PhotoNotFound, ItemIdTaken."""
    try:
        with services.database.write() as session:
            photo = get_photo(session, photo_id)
            for name, value in changes.items():
                setattr(photo, name, value or ([] if name == "tags" else None))
            photo.updated_at = utc_now()
            session.add(photo)
            if photo.sha256 is None and not text_of(photo):
                raise InvalidRequest("An item without a picture needs a caption or a title.")
    except IntegrityError as error:
        raise ItemIdTaken(f"The item_id {changes.get('item_id')!r} belongs to another photo.") from error
    if photo.sha256 is None:
        _embed_again(services, photo)
    return photo


def delete_photo(services: Services, photo_id: int) -> None:
    """Row, vector, file and thumbnails are gone when this returns. Raises: PhotoNotFound, StorageMissing."""
    with services.database.read() as session:
        sha256 = get_photo(session, photo_id).sha256
    with services.photo_locks(sha256 or f"photo {photo_id}"), settled(services, sha256, deleting=True):
        with services.database.write() as session:
            session.delete(get_photo(session, photo_id))
        services.live_index.forget([photo_id])
        remove_unused_file(services, sha256)


def _embed_again(services: Services, photo: Photo) -> None:
    """A text-only item is found by its words: new words need a new vector, and no old one is right any more."""
    assert photo.id is not None, "a stored photo has an id"
    vector = services.encoder.encode_texts([text_of(photo)])[0]
    with services.database.write() as session:
        for row in session.exec(select(Embedding).where(Embedding.photo_id == photo.id)):
            session.delete(row)
        session.flush()
        session.add(Embedding(photo_id=photo.id, space=services.encoder.space, vector=vector))
    services.live_index.replace(photo.id, vector)
    embed_in_others(services, photo)


def make_cursor(photo_id: int | None) -> str:
    """For a page of what comes before this photo."""
    return base64.urlsafe_b64encode(json.dumps({"before": photo_id}).encode()).decode()


def read_cursor(cursor: str) -> int:
    """The id that make_cursor was given. Raises: InvalidRequest."""
    try:
        before = json.loads(base64.urlsafe_b64decode(cursor.encode()))["before"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        before = None
    if not isinstance(before, int):
        raise InvalidRequest("This cursor was not made by this service.")
    return before
