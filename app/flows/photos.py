"""Looking at the library and changing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from app.database import Database
from app.errors import FileNotStored, InvalidRequest, ItemIdTaken, PhotoNotFound
from app.flows.cursors import make_cursor, read_cursor
from app.flows.filters import PhotoFilter
from app.flows.originals import remove_unused_file, settled
from app.flows.reindex import embed_in_others, text_of
from app.flows.services import Services
from app.search_schemas import PhotoOrder
from app.services.interfaces import Vectors
from app.tables import Embedding, Photo, original_path, utc_now


@dataclass(frozen=True)
class Page:
    photos: Sequence[Photo]
    total: int
    next_cursor: str | None


class Position(NamedTuple):
    """Of the last photo of a page."""

    photo_id: int
    taken_at: datetime | None = None


def list_photos(
    services: Services, wanted: PhotoFilter, order: PhotoOrder, *, skip: int, limit: int, cursor: str | None
) -> Page:
    """A cursor continues where its page ended, whatever was added since. Raises: InvalidRequest."""
    page = select(Photo).where(*wanted.conditions())
    if cursor is not None:
        page = page.where(_after(read_cursor(cursor, Position), order))
    if order is PhotoOrder.TAKEN:
        page = page.order_by(col(Photo.taken_at).desc().nulls_last())
    with services.database.read() as session:
        photos = session.exec(page.order_by(col(Photo.id).desc()).offset(skip).limit(limit + 1)).all()
    more, photos = len(photos) > limit, photos[:limit]
    total = count_photos(services.database, wanted)
    return Page(photos, total, _cursor_after(photos[-1], order) if more else None)


def count_photos(database: Database, wanted: PhotoFilter) -> int:
    """How many the filter leaves."""
    with database.read() as session:
        return session.exec(select(func.count()).select_from(Photo).where(*wanted.conditions())).one()


def _after(last: Position, order: PhotoOrder) -> ColumnElement[bool]:
    older = col(Photo.id) < last.photo_id
    if order is PhotoOrder.ADDED:
        return older
    taken = col(Photo.taken_at)
    if last.taken_at is None:
        return and_(taken.is_(None), older)
    return or_(taken < last.taken_at, taken.is_(None), and_(taken == last.taken_at, older))


def _cursor_after(photo: Photo, order: PhotoOrder) -> str:
    taken = photo.taken_at.isoformat() if photo.taken_at and order is PhotoOrder.TAKEN else None
    return make_cursor((photo.id, taken))


def get_photo(session: Session, photo_id: int, owner: str) -> Photo:
    """Raises: PhotoNotFound."""
    photo = session.get(Photo, photo_id)
    if photo is None or photo.owner != owner:
        raise PhotoNotFound(f"There is no photo {photo_id}.")
    return photo


def photo_at(session: Session, path: str, owner: str) -> Photo:
    """By where its original lies below the uploads folder, as its row says. Raises: FileNotStored."""
    sha256 = path.rpartition("/")[2]
    photo = session.exec(select(Photo).where(Photo.owner == owner, Photo.sha256 == sha256)).first()
    if photo is None or path != original_path(sha256):
        raise FileNotStored("There is no picture at this path.")
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
            photo = get_photo(session, photo_id, services.owner)
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
        sha256 = get_photo(session, photo_id, services.owner).sha256
    with services.photo_locks(sha256 or f"photo {photo_id}"), settled(services, sha256, deleting=True):
        with services.database.write() as session:
            session.delete(get_photo(session, photo_id, services.owner))
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
    services.live_index.replace(photo.id, vector, photo.owner)
    embed_in_others(services, photo)
