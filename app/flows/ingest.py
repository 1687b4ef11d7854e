"""How a photo comes into the library: design of the path in one function, `add_photo`."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from app.errors import InvalidRequest, ItemIdTaken, StorageUnreachable
from app.flows.originals import settled
from app.flows.reindex import embed_in_others
from app.flows.services import Services
from app.schemas import ItemWords
from app.services.decode import DecodedImage
from app.services.interfaces import Suggestion, Vectors
from app.services.looks import look_of
from app.services.metadata_values import merged_tags
from app.services.photo_metadata import read_metadata
from app.services.places import name_place
from app.tables import Embedding, Photo
from app.telemetry import StepTimer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewItem:
    """What the caller gives: the bytes of a picture, or none for a text-only item, and the caller's words.

    taken_at is in UTC, latitude and longitude in degrees, north and east positive; they go before the file's EXIF.
    Raises: InvalidRequest (only one of latitude and longitude).
    """

    data: bytes | None
    filename: str = ""
    title: str | None = None
    caption: str | None = None
    category: str | None = None
    tags: list[str] = field(default_factory=list)
    item_id: str | None = None
    taken_at: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    original: Path | None = None  # the file stays there and is not copied

    def __post_init__(self) -> None:
        if (self.latitude is None) != (self.longitude is None):
            raise InvalidRequest("A place is a latitude and a longitude; one of them is missing.")


def new_item(data: bytes | None, words: Mapping[str, Any]) -> NewItem:
    """A NewItem from words as they are stored and sent: fields of ItemWords, taken_at in ISO 8601.

    Raises: InvalidRequest.
    """
    try:
        given = ItemWords.model_validate(dict(words))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise InvalidRequest("; ".join(wrong[:3])) from None
    return NewItem(data, **given.model_dump(exclude_none=True))


@dataclass(frozen=True)
class Added:
    photo: Photo
    created: bool  # False: these bytes, or this text, were in the library already


def add_item(services: Services, item: NewItem) -> Added:
    """A picture or a text-only item. Raises: what add_photo and add_text raise."""
    added = add_text(services, item) if item.data is None else add_photo(services, item, item.data)
    if added.created:
        embed_in_others(services, added.photo)
    return added


def add_photo(services: Services, item: NewItem, data: bytes) -> Added:
    """When this returns, the photo is durable and found by the next search.

    If a step before the commit fails, nothing is visible; a crash is mended by the next start.
    Raises: TooLarge, UnsupportedMedia, BrokenMedia, ItemIdTaken, EncoderFailed, Overloaded, StorageFull,
    StorageMissing.
    """
    timer = StepTimer(services.telemetry)
    sha256 = hashlib.sha256(data).hexdigest()
    with services.photo_locks(sha256):
        if known := _known(services, item, sha256):
            there = services.store.has if item.original else services.store.has_copy
            if not there(sha256):  # lost, moved away, or until now only linked
                with settled(services, sha256):
                    _store(services, item, sha256, data)
            return Added(known, created=False)
        with timer("decode"):
            decoded = services.decode(data)
        with timer("encode"):
            vector = services.encoder.encode_images([decoded.image])[0]
        with timer("tag"):
            suggestion = services.tagger.suggest(vector[None])[0]
        with settled(services, sha256):
            with timer("store"):
                _store(services, item, sha256, data)
            with timer("thumbnail"):
                _make_thumbnail(services, sha256, decoded)
            with timer("database"):
                added = _insert(services, _photo_row(item, sha256, len(data), decoded, suggestion), vector)
        if added.created:
            with timer("index"):
                services.live_index.add(_id(added.photo), vector, services.owner)
    logger.info("photo %s added=%s %s", added.photo.id, added.created, timer, extra=timer.fields)
    return added


def _store(services: Services, item: NewItem, sha256: str, data: bytes) -> None:
    if item.original:
        services.store.link(sha256, item.original)
    else:
        services.store.save(sha256, data)


def _make_thumbnail(services: Services, sha256: str, decoded: DecodedImage) -> None:
    """The one that pages of results show; without room for it, the photo is no less complete."""
    try:
        services.thumbnails.make(sha256, decoded.image)
    except (OSError, StorageUnreachable) as error:
        logger.warning("no thumbnail yet of %s: %s", sha256, error)


def add_text(services: Services, item: NewItem) -> Added:
    """An item without a picture: its caption, else its title, is what is embedded.

    Raises: InvalidRequest (no text at all), ItemIdTaken, EncoderFailed, Overloaded.
    """
    text = item.caption or item.title
    if not text:
        raise InvalidRequest("An item without a picture needs a caption or a title.")
    timer = StepTimer(services.telemetry)
    with services.photo_locks(f"text {item.item_id or text}"):
        if known := _known_text(services, item):
            return Added(known, created=False)
        with timer("encode"):
            vector = services.encoder.encode_texts([text])[0]
        with timer("database"):
            added = _insert(services, _text_row(item), vector)
        if added.created:
            with timer("index"):
                services.live_index.add(_id(added.photo), vector, services.owner)
    logger.info("item %s added=%s %s", added.photo.id, added.created, timer, extra=timer.fields)
    return added


def _known(services: Services, item: NewItem, sha256: str) -> Photo | None:
    """The photo with these bytes. Raises ItemIdTaken if the item_id is another photo's."""
    with services.database.read() as session:
        photo = session.exec(select(Photo).where(Photo.owner == services.owner, Photo.sha256 == sha256)).first()
        holder = _holder_of(services, session, item)
    if holder and (photo is None or holder.id != photo.id):
        raise ItemIdTaken(f"The item_id {item.item_id!r} belongs to photo {holder.id}.")
    return photo


def _known_text(services: Services, item: NewItem) -> Photo | None:
    """The same text-only item: by its item_id, or word for word. Raises: ItemIdTaken."""
    with services.database.read() as session:
        if holder := _holder_of(services, session, item):
            if (holder.sha256, holder.caption, holder.title) != (None, item.caption, item.title):
                raise ItemIdTaken(f"The item_id {item.item_id!r} belongs to photo {holder.id}.")
            return holder
        if item.item_id:
            return None
        return session.exec(
            select(Photo).where(
                Photo.owner == services.owner,
                col(Photo.sha256).is_(None),
                col(Photo.item_id).is_(None),
                Photo.caption == item.caption,
                Photo.title == item.title,
            )
        ).first()


def _holder_of(services: Services, session: Session, item: NewItem) -> Photo | None:
    if not item.item_id:
        return None
    return session.exec(select(Photo).where(Photo.owner == services.owner, Photo.item_id == item.item_id)).first()


def _own_words(item: NewItem) -> dict[str, Any]:
    return {
        "item_id": item.item_id or None,
        "filename": item.filename,
        "title": item.title or None,
        "caption": item.caption or None,
        "category": item.category or None,
        "tags": item.tags,
    }


def _text_row(item: NewItem) -> Photo:
    return Photo(**_own_words(item), taken_at=item.taken_at, **_placed(item.latitude, item.longitude))


def _photo_row(item: NewItem, sha256: str, size: int, decoded: DecodedImage, suggestion: Suggestion) -> Photo:
    look = look_of(decoded.image)
    return Photo(
        **(_own_words(item) | _told(item, decoded)),
        sha256=sha256,
        bytes=size,
        mime=decoded.mime,
        width=decoded.width,
        height=decoded.height,
        suggested_tags=list(suggestion.tags),
        suggested_caption=suggestion.caption,
        suggested_category=suggestion.category,
        phash=look.phash,
        placeholder=look.placeholder,
    )


def _told(item: NewItem, decoded: DecodedImage) -> dict[str, Any]:
    """What the file says of itself, after what the caller says; tags are both."""
    said = read_metadata(decoded.blocks)
    taken_at, utc_offset_min = said.moment or (None, None)
    if item.taken_at not in (None, taken_at):
        taken_at, utc_offset_min = item.taken_at, None
    latitude, longitude = said.place or (None, None)
    if item.latitude is not None:
        latitude, longitude = item.latitude, item.longitude
    return {
        "title": item.title or said.title,
        "caption": item.caption or said.caption,
        "tags": merged_tags(item.tags, said.keywords),
        "taken_at": taken_at,
        "utc_offset_min": utc_offset_min,
        **_placed(latitude, longitude),
        "camera": said.camera,
        "lens": said.lens,
    }


def _placed(latitude: float | None, longitude: float | None) -> dict[str, Any]:
    """The fields of a position, with its names."""
    if latitude is None or longitude is None:
        return {}
    return {"latitude": latitude, "longitude": longitude, **asdict(name_place(latitude, longitude))}


def _insert(services: Services, photo: Photo, vector: Vectors) -> Added:
    """Photo and embedding in one commit."""
    photo.owner = services.owner
    try:
        with services.database.write() as session:
            session.add(photo)
            session.flush()
            session.add(Embedding(photo_id=_id(photo), space=services.encoder.space, vector=vector))
    except IntegrityError:
        return Added(_inserted_by_another(services, photo), created=False)
    return Added(photo, created=True)


def _inserted_by_another(services: Services, photo: Photo) -> Photo:
    """Another process was faster: its row. Raises ItemIdTaken if it was only the item_id that collided."""
    with services.database.read() as session:
        same = select(Photo).where(Photo.owner == photo.owner, Photo.sha256 == photo.sha256)
        winner = session.exec(same).first() if photo.sha256 else None
    if winner is None:
        raise ItemIdTaken(f"The item_id {photo.item_id!r} belongs to another photo.")
    return winner


def _id(photo: Photo) -> int:
    assert photo.id is not None, "an inserted photo has an id"
    return photo.id
