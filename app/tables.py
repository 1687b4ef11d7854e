"""The rows. They are the truth: index, thumbnails and caches are rebuilt from them.

A change here needs a step in app/migrations, which brings older databases up to date.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

DEFAULT_OWNER = "default"


def utc_now() -> datetime:
    return datetime.now(UTC)


def original_path(sha256: str) -> str:
    """Where an original lies below the uploads folder: a folder for each first byte keeps listings short."""
    return f"{sha256[:2]}/{sha256}"


class PhotoStatus(StrEnum):
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class Orientation(StrEnum):
    LANDSCAPE = "landscape"
    PORTRAIT = "portrait"
    SQUARE = "square"


class QueryKind(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    VOICE = "voice"
    SIMILAR = "similar"
    MIXED = "mixed"  # several terms, words and pictures


class Scope(StrEnum):
    """What an access key allows; none includes another."""

    READ = "read"  # look and search
    WRITE = "write"  # add, change and delete
    MONITOR = "monitor"  # /metrics, which counts the photos of all owners together
    ADMIN = "admin"  # keys and models


class ItemStatus(StrEnum):
    """Of one item of an import."""

    PENDING = "pending"
    WORKING = "working"
    READY = "ready"
    KNOWN = "known"  # it was in the library already
    FAILED = "failed"


class ChangeState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    CANCELLED = "cancelled"


def _stored_by_value(kind: type[StrEnum]) -> Any:
    """A column that holds `ready`, not `READY`."""
    return Enum(kind, native_enum=False, values_callable=lambda members: [member.value for member in members])


class VectorColumn(TypeDecorator[NDArray[np.float32]]):
    """A unit vector as its little-endian float32 bytes: 2 KB for 512 dimensions."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: NDArray[np.float32] | None, dialect: Dialect) -> bytes | None:
        return None if value is None else np.ascontiguousarray(value, dtype="<f4").tobytes()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> NDArray[np.float32] | None:
        return None if value is None else np.frombuffer(value, dtype="<f4")


class PathColumn(TypeDecorator[str]):
    """A path on this machine. A byte of it that is not UTF-8, which Python shows as U+DC80 to U+DCFF, cannot be
    stored as text; it is kept as a character of the private use area."""

    impl = String
    cache_ok = True
    _stored: ClassVar = {0xDC80 + i: 0xF780 + i for i in range(0x80)}
    _shown: ClassVar = {0xF780 + i: 0xDC80 + i for i in range(0x80)}

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.translate(self._stored)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value).translate(self._shown)


_UNREAD = "sha256 IS NOT NULL AND ocr_text IS NULL"


class Photo(SQLModel, table=True):
    """One item of a library; without `sha256` it is a text-only item, found by its caption.

    title, caption, category and tags are the owner's words; suggested_* are the machine's.
    """

    __tablename__ = "photos"
    # AUTOINCREMENT: an id that was deleted is never given to another photo.
    __table_args__ = (
        UniqueConstraint("owner", "sha256"),
        UniqueConstraint("owner", "item_id"),
        # So that it costs nothing to find, and to count, the few that have not been read.
        Index("ix_photos_unread", "owner", "id", sqlite_where=text(_UNREAD), postgresql_where=text(_UNREAD)),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    owner: str = Field(default=DEFAULT_OWNER, index=True)
    item_id: str | None = None
    sha256: str | None = Field(default=None, index=True)
    filename: str = ""
    mime: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    title: str | None = None
    caption: str | None = None
    category: str | None = Field(default=None, index=True)
    tags: list[str] = Field(default_factory=list, sa_type=JSON)
    suggested_caption: str | None = None
    suggested_category: str | None = None
    suggested_tags: list[str] = Field(default_factory=list, sa_type=JSON)
    taken_at: datetime | None = Field(default=None, index=True)
    latitude: float | None = Field(default=None, index=True)
    longitude: float | None = None
    city: str | None = None  # these three are the names of the place, as far as they are known
    region: str | None = None
    country: str | None = None
    camera: str | None = None
    lens: str | None = None
    # The camera's clock against UTC, min; None: unknown, and taken_at is the local time as if it were UTC.
    utc_offset_min: int | None = None
    phash: int | None = Field(default=None, sa_type=BigInteger)  # perceptual hash, 64 bits as a signed number
    placeholder: str | None = None  # a picture of some 16 px as a data: URL, shown until the thumbnail is there
    ocr_text: str | None = None  # what is written in the picture, a line each; None: it has not been read yet
    created_at: datetime = Field(default_factory=utc_now, index=True)
    updated_at: datetime = Field(default_factory=utc_now)
    status: PhotoStatus = Field(default=PhotoStatus.READY, sa_type=_stored_by_value(PhotoStatus))
    error: str | None = None


def _photo_key() -> Any:
    return Field(
        sa_column=Column(Integer, ForeignKey("photos.id", ondelete="CASCADE"), index=True, nullable=False)
    )


class Embedding(SQLModel, table=True):
    """One photo's vector in one space; ids only grow, so `id > last seen` finds what is new."""

    __tablename__ = "embeddings"
    __table_args__ = (UniqueConstraint("photo_id", "space"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True)
    photo_id: int = _photo_key()
    space: str = Field(index=True)
    vector: Any = Field(sa_column=Column(VectorColumn, nullable=False))


def stacked(vectors: Iterable[bytes]) -> NDArray[np.float32]:
    """(n, dim) from n vectors as VectorColumn stores them. Raises ValueError if they differ in length."""
    rows = list(vectors)
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), len(rows[0]) // 4 if rows else 0)


class SearchQuery(SQLModel, table=True):
    """One search as it was asked. `text` is the words, or names the picture asked with."""

    __tablename__ = "queries"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    owner: str = Field(default=DEFAULT_OWNER, index=True)
    kind: QueryKind = Field(sa_type=_stored_by_value(QueryKind))
    text: str
    result_count: int
    latency_ms: float
    created_at: datetime = Field(default_factory=utc_now)


class FrozenRanking(SQLModel, table=True):
    """What a search found, best first: later pages show what the first one left, whatever has changed since."""

    __tablename__ = "rankings"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    owner: str = DEFAULT_OWNER
    answer: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # what the answer says beside its results
    results: bytes = Field(sa_type=LargeBinary)  # flows/paging.py
    created_at: datetime = Field(default_factory=utc_now, index=True)


class Album(SQLModel, table=True):
    """A search that is kept: its photos are those that it finds now."""

    __tablename__ = "albums"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    owner: str = Field(default=DEFAULT_OWNER, index=True)
    name: str
    query: str = ""
    filter: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # as the parameters of a search
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)


class Feedback(SQLModel, table=True):
    """One vote, +1 or −1, for a photo as an answer to a query; the newest vote of a pair counts."""

    __tablename__ = "feedback"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    owner: str = Field(default=DEFAULT_OWNER, index=True)
    photo_id: int = _photo_key()
    query_id: int | None = Field(default=None, foreign_key="queries.id", ondelete="SET NULL")
    query_text: str = Field(index=True)
    vote: int
    created_at: datetime = Field(default_factory=utc_now)


class Import(SQLModel, table=True):
    """Many items that came together, and are followed together."""

    __tablename__ = "imports"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    owner: str = Field(default=DEFAULT_OWNER, index=True)
    source: str  # a folder or file, or how the items came
    created_at: datetime = Field(default_factory=utc_now)


class ImportItem(SQLModel, table=True):
    """One accepted item: a place in the durable queue, and afterwards what became of it.

    Its picture is the file `path` outside the library, or `staged` below the uploads folder; an item with neither
    is text only. A working item whose lease has run out belongs to nobody, and is worked on again.
    """

    __tablename__ = "import_items"
    __table_args__ = (
        Index("ix_import_items_queue", "status", "id"),
        Index("ix_import_items_progress", "import_id", "status"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    import_id: int = Field(foreign_key="imports.id", ondelete="CASCADE")
    owner: str = DEFAULT_OWNER
    name: str  # shown in reports
    path: str | None = Field(default=None, sa_type=PathColumn)
    staged: str | None = None
    in_place: bool = False
    local: bool = False  # worked on only by the command that accepted it
    words: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # the caller's: title, caption, tags, …
    status: ItemStatus = Field(default=ItemStatus.PENDING, sa_type=_stored_by_value(ItemStatus))
    photo_id: int | None = Field(default=None, foreign_key="photos.id", ondelete="SET NULL", index=True)
    problem: str | None = None  # the slug of the error
    error: str | None = None  # the same in words
    attempts: int = 0
    worker: str | None = None
    leased_until: float = 0.0  # Unix time, s
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)


class SourceFile(SQLModel, table=True):
    """A file outside the library that a photo came from; a second look passes over what has not changed.

    With in_place the file is the photo's original itself. Without photo_id the photo has been deleted since.
    """

    __tablename__ = "source_files"
    __table_args__ = (UniqueConstraint("owner", "path"), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True)
    owner: str = DEFAULT_OWNER
    path: str = Field(sa_type=PathColumn)  # absolute
    bytes: int = Field(sa_type=BigInteger)
    mtime_ns: int = Field(sa_type=BigInteger)
    in_place: bool = False
    photo_id: int | None = Field(default=None, foreign_key="photos.id", ondelete="SET NULL", index=True)


class PartialUpload(SQLModel, table=True):
    """A resumable upload; what has arrived is the file of this name in the staging folder.

    Once whole, the file belongs to the item of the queue that it has become; the row stays until it expires.
    """

    __tablename__ = "partial_uploads"

    id: str = Field(primary_key=True)  # random, and not to be guessed
    owner: str = DEFAULT_OWNER
    import_id: int = Field(foreign_key="imports.id", ondelete="CASCADE")
    item_id: int | None = None  # no foreign key: the item may be forgotten first
    length: int = Field(sa_type=BigInteger)  # bytes when it is whole
    name: str = ""
    words: dict[str, str] = Field(default_factory=dict, sa_type=JSON)  # the client's metadata
    created_at: datetime = Field(default_factory=utc_now)
    expires_at: datetime


class AccessKey(SQLModel, table=True):
    """What lets somebody in; the key itself is shown once, when it is made, and kept nowhere."""

    __tablename__ = "access_keys"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    owner: str  # whose library it opens
    scopes: list[str] = Field(sa_type=JSON)  # of Scope
    digest: str = Field(unique=True)  # SHA-256 of the key: 256 random bits need no slow hash
    created_at: datetime = Field(default_factory=utc_now)


class SignIn(SQLModel, table=True):
    """A browser that has shown a key, and has a cookie in its place."""

    __tablename__ = "sign_ins"

    digest: str = Field(primary_key=True)  # SHA-256 of the cookie
    key_digest: str  # of the key: when that one is revoked, this is worth nothing
    expires_at: datetime = Field(index=True)


class ModelChange(SQLModel, table=True):
    """One change of model. The newest done one says which space searches use; a pending one is being filled.

    The counts and the rate are as of the last heartbeat of the process that works on it.
    """

    __tablename__ = "model_changes"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, primary_key=True)
    model: str  # as RECOLLECT_MODEL would name it
    space: str | None = None  # known once the weights have been found
    origin: str  # the RECOLLECT_MODEL that led to it, or `request`
    state: ChangeState = Field(default=ChangeState.PENDING, sa_type=_stored_by_value(ChangeState))
    error: str | None = None
    total: int = 0  # photos
    done: int = 0  # photos with a vector in the new space
    skipped: int = 0  # photos that cannot have one: their original is lost or damaged
    photos_per_s: float = 0.0
    worker: str | None = None
    heartbeat: float = 0.0  # Unix time, s
    created_at: datetime = Field(default_factory=utc_now)


# Every id that JSON can ask for, up to 2^53, is a valid question; SQLite's INTEGER has 64 bits anyway.
for _table in SQLModel.metadata.tables.values():
    for _column in _table.columns:
        if isinstance(_column.type, Integer) and (_column.primary_key or _column.foreign_keys):
            _column.type = BigInteger().with_variant(Integer, "sqlite")
