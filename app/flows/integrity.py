"""Whether files, rows and vectors are what they should be, looked at beside a live server; and mending them."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, delete, func, select
from sqlmodel.sql.expression import SelectOfScalar

from app.database import Database
from app.errors import BrokenMedia, FileNotStored, TooLarge, UnsupportedMedia
from app.flows.ingest import NewItem, add_item
from app.flows.originals import is_named, settle
from app.flows.services import Services
from app.migrations import full_text
from app.services.photo_store import INCOMING, LocalPhotoStore, is_held
from app.services.staging import STAGED
from app.services.thumbnails import THUMBNAILS
from app.tables import Embedding, ImportItem, PartialUpload, Photo, PhotoStatus, original_path

PAGE = 1000  # rows, or names of files, that are looked at together: memory stays the same for any library
THREADS = 4  # SHA-256 runs beside reading, and a disk likes several readers
HELD_AFTER_S = 60.0  # by then whoever writes a file holds its lock
STAGED_AFTER_S = 3600.0  # a request that brings many files names them together, at its end

Item = TypeVar("Item")


class Kind(StrEnum):
    MISSING = "missing"
    ALTERED = "altered"
    STRAY = "stray"
    NO_VECTOR = "no-vector"
    ORPHAN_VECTOR = "orphan-vector"
    ORPHAN_THUMBNAIL = "orphan-thumbnail"
    LEFTOVER = "leftover"
    DATABASE = "database"
    TEXT_INDEX = "text-index"


@dataclass(frozen=True)
class Finding:
    """`path` is below the uploads folder."""

    kind: Kind
    path: str = ""
    sha256: str | None = None
    photo_id: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Library:
    """What is checked; no model is needed for it. `space` names the vectors that searches use."""

    database: Database
    store: LocalPhotoStore
    space: str


@dataclass(frozen=True)
class Original:
    """What a row says of its original; `bytes` is its size."""

    photo_id: int
    sha256: str
    bytes: int | None


def nothing() -> None:
    """The progress of who does not want to know it."""


def count_originals(database: Database) -> int:
    """Rows that name one."""
    with database.read() as session:
        return session.exec(select(func.count()).where(col(Photo.sha256).is_not(None))).one()


def check(library: Library, *, fast: bool = False, tick: Callable[[], None] = nothing) -> Iterator[Finding]:
    """Everything that is wrong, as it is found; `tick` is called after each original. Nothing is changed.

    fast compares the sizes of originals only. Uploads and deletions may go on: what looks wrong because one was
    under way is looked at again. Raises: StorageMissing, sqlalchemy.exc.SQLAlchemyError, OSError.
    """
    yield from check_database(library.database)
    yield from check_text_index(library.database)
    yield from check_originals(library.database, library.store, fast=fast, tick=tick)
    yield from check_files(library.database, library.store)
    yield from check_thumbnails(library.database, library.store)
    yield from check_leftovers(library.database, library.store)
    yield from check_vectors(library.database, library.space)


def check_database(database: Database) -> Iterator[Finding]:
    """What SQLite finds in its own file."""
    if database.engine.dialect.name != "sqlite":
        return
    with database.read() as session:
        for (line,) in session.connection().execute(text("PRAGMA integrity_check")):
            if line != "ok":
                yield Finding(Kind.DATABASE, detail=line)


def check_text_index(database: Database) -> Iterator[Finding]:
    """Full-text tables that are damaged, or lack a photo or hold one too many; some 0.6 s for 100,000 photos."""
    for table in full_text.tables(database.engine.dialect.name):
        try:
            with database.log() as session:  # FTS5 takes its check for a write
                if not full_text.is_whole(session.connection(), table):
                    yield Finding(Kind.TEXT_INDEX, detail=f"{table} does not hold the same photos as the library")
        except OperationalError:
            raise
        except DatabaseError:
            yield Finding(Kind.TEXT_INDEX, detail=f"{table} is damaged")


def check_originals(
    database: Database, store: LocalPhotoStore, *, fast: bool, tick: Callable[[], None] = nothing
) -> Iterator[Finding]:
    """Rows whose original is missing, or is not what it was. Raises: StorageMissing."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="check") as pool:
        for originals in named_originals(database):
            for original, finding in zip(
                originals, pool.map(partial(_examine, store, fast=fast), originals), strict=True
            ):
                tick()
                if finding and has_row(database, original):  # else it was deleted meanwhile
                    store.check_mounted()
                    yield finding


def named_originals(database: Database) -> Iterator[list[Original]]:
    """A page of rows at a time, in the order of their ids."""
    last = 0
    columns = select(col(Photo.id), col(Photo.sha256), col(Photo.bytes)).where(col(Photo.sha256).is_not(None))
    while True:
        with database.read() as session:
            page = columns.where(col(Photo.id) > last).order_by(col(Photo.id)).limit(PAGE)
            found = [Original(*row) for row in session.exec(page)]  # type: ignore[arg-type]  # not null, see above
        if not found:
            return
        yield found
        last = found[-1].photo_id


def _examine(store: LocalPhotoStore, original: Original, *, fast: bool) -> Finding | None:
    path, kind = f"{store.folder}/{original_path(original.sha256)}", Kind.ALTERED
    try:
        problem = _problem(path, original, fast=fast)
    except (FileNotFoundError, NotADirectoryError):
        kind, problem = Kind.MISSING, ""
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem is None:
        return None
    if os.path.islink(path):
        problem = f"{problem} link to {os.readlink(path)}".strip()
    return Finding(kind, original_path(original.sha256), original.sha256, original.photo_id, problem)


def _problem(path: str, original: Original, *, fast: bool) -> str | None:
    """Raises: OSError."""
    size = os.stat(path).st_size
    if original.bytes not in (None, size):
        return f"{size:,} bytes instead of {original.bytes:,}"
    if fast:
        return None
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != original.sha256:
            return "other bytes of the same number"
    return None


def has_row(database: Database, original: Original) -> bool:
    """Whether it has not been deleted since it was read."""
    with database.read() as session:
        return session.get(Photo, original.photo_id) is not None


def check_files(database: Database, store: LocalPhotoStore) -> Iterator[Finding]:
    """Files that no row names."""
    owners = owners_of(database)
    for originals, others in store.listing():
        for page in _pages(originals):
            with database.read() as session:
                named = named_among(session, owners, page)
            for sha256 in page:
                if sha256 not in named and _unnamed(database, store, sha256) and store.holds(sha256):
                    yield Finding(Kind.STRAY, original_path(sha256), sha256)
        for path in others:
            yield Finding(Kind.STRAY, _below(store, path), detail="not named like an original")


def owners_of(database: Database) -> Sequence[str]:
    """Everybody who has a photo."""
    with database.read() as session:
        return session.exec(select(Photo.owner).distinct()).all()


def named_among(session: Session, owners: Sequence[str], names: Sequence[str]) -> set[str | None]:
    """Those of the names that a row has. With the owners, the index of (owner, sha256) can be used."""
    rows = select(Photo.sha256).where(col(Photo.owner).in_(owners), col(Photo.sha256).in_(names))
    return set(session.exec(rows))


def _unnamed(database: Database, store: LocalPhotoStore, sha256: str) -> bool:
    """No row names it and none is about to: whoever writes or deletes an original has a note meanwhile.

    The caller looks last of all whether the file is still there: it may have been deleted between two looks here.
    """
    return not store.is_noted(sha256) and not is_named(database, sha256) and not store.is_noted(sha256)


def check_thumbnails(database: Database, store: LocalPhotoStore) -> Iterator[Finding]:
    """Thumbnails of photos that are gone."""
    owners = owners_of(database)
    for folder in sorted((store.folder / THUMBNAILS).glob("[0-9a-f][0-9a-f]")):
        for paths in _pages(sorted(folder.glob("*.webp"))):
            with database.read() as session:
                named = named_among(session, owners, [_sha256_of(path) for path in paths])
            for path in paths:
                sha256 = _sha256_of(path)
                if sha256 not in named and _unnamed(database, store, sha256) and path.exists():
                    yield Finding(Kind.ORPHAN_THUMBNAIL, _below(store, path))


def _sha256_of(thumbnail: Path) -> str:
    return thumbnail.name.partition("-")[0]


def check_leftovers(database: Database, store: LocalPhotoStore) -> Iterator[Finding]:
    """Half-written files of the dead, which the next start removes, and staged files that no import has."""
    for folder in (store.folder / INCOMING, store.folder / THUMBNAILS / INCOMING):
        for path in folder.glob("*"):
            if _older_than(path, HELD_AFTER_S) and not is_held(path):
                yield Finding(Kind.LEFTOVER, _below(store, path))
    for paths in _pages(sorted((store.folder / STAGED).glob("*"))):
        names = [path.name for path in paths]
        with database.read() as session:
            items = select(ImportItem.staged).where(col(ImportItem.staged).in_(names))
            uploads = select(PartialUpload.id).where(col(PartialUpload.id).in_(names))
            wanted = {*session.exec(items), *session.exec(uploads)}
        for path in paths:
            if path.name not in wanted and _older_than(path, STAGED_AFTER_S):
                yield Finding(Kind.LEFTOVER, _below(store, path))


def check_vectors(database: Database, space: str) -> Iterator[Finding]:
    """Photos that no search finds, and vectors of photos that are gone."""
    in_space = select(Embedding.id).where(Embedding.photo_id == Photo.id, Embedding.space == space)
    without = select(col(Photo.id)).where(Photo.status == PhotoStatus.READY, ~in_space.exists())
    for photo_id in _streamed(database, without, col(Photo.id)):
        yield Finding(Kind.NO_VECTOR, photo_id=photo_id, detail=f"in {space}")
    has_photo = select(Photo.id).where(Photo.id == Embedding.photo_id)
    orphans = select(col(Embedding.photo_id)).where(~has_photo.exists()).distinct()
    for photo_id in _streamed(database, orphans, col(Embedding.photo_id)):
        yield Finding(Kind.ORPHAN_VECTOR, photo_id=photo_id)


def _streamed(database: Database, ids: SelectOfScalar[Any], column: Mapped[Any]) -> Iterator[int]:
    """All of them, a page at a time."""
    last = 0
    while True:
        with database.read() as session:
            page = session.exec(ids.where(column > last).order_by(column).limit(PAGE)).all()
        if not page:
            return
        yield from page
        last = page[-1]


def repair(services: Services, finding: Finding, *, delete_strays: bool = False) -> str | None:
    """What was done about it, in words; None: it is left to a person, as what is missing or altered always is.

    A stray original becomes a photo if it is a whole picture; else delete_strays deletes it. Missing vectors are
    made by reindex.fill_missing. Raises: what ingest.add_item raises of an installation in trouble.
    """
    if finding.kind is Kind.STRAY and finding.sha256:
        return _adopt(services, finding.sha256, or_delete=delete_strays)
    if finding.kind is Kind.ORPHAN_THUMBNAIL:
        (services.settings.uploads_dir / finding.path).unlink(missing_ok=True)
        return "deleted"
    if finding.kind is Kind.TEXT_INDEX:
        with services.database.write() as session:
            full_text.refill(session.connection())
        return "filled anew"
    if finding.kind is Kind.ORPHAN_VECTOR:
        with services.database.write() as session:
            session.exec(delete(Embedding).where(col(Embedding.photo_id) == finding.photo_id))
        return "deleted"
    return None


def _adopt(services: Services, sha256: str, *, or_delete: bool) -> str | None:
    limit = services.settings.max_upload_bytes
    try:
        with services.store.open(sha256) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            return None
        if hashlib.sha256(data).hexdigest() == sha256:
            return f"is photo {add_item(services, NewItem(data)).photo.id} now"
    except (FileNotStored, TooLarge):
        return None
    except (BrokenMedia, UnsupportedMedia):
        pass
    if not or_delete:
        return None
    settle(services, sha256)  # looks once more whether a row names it, with nobody else at it
    return "deleted"


def _pages(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), PAGE):
        yield items[start : start + PAGE]


def _older_than(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > seconds
    except FileNotFoundError:
        return False


def _below(store: LocalPhotoStore, path: Path) -> str:
    return path.relative_to(store.folder).as_posix()
