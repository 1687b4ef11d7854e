"""A copy of the library while it is in use, and a library from such a copy.

Rows first, then the originals that the copied rows name: so none is missing from a copy. Rows of photos that are
deleted meanwhile are taken out of it again.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path

from sqlalchemy.exc import OperationalError
from sqlmodel import col, delete, func, select

from app import __version__
from app.database import Database
from app.errors import InvalidRequest, StorageFull
from app.flows.integrity import (
    THREADS,
    Original,
    check_database,
    has_row,
    named_among,
    named_originals,
    owners_of,
)
from app.services.photo_store import INCOMING, LocalPhotoStore, full_disk_told, sync_folder, write_whole
from app.services.staging import STAGED
from app.tables import ImportItem, Photo, original_path, utc_now

DATABASE = "recollect.db"
UPLOADS = "uploads"
MANIFEST = "manifest.json"
_BESIDE = ("", "-wal", "-shm")  # the files of one SQLite database


class Copied(StrEnum):
    """What became of one original."""

    COPIED = "copied"
    THERE = "there already"
    LINK = "links to files elsewhere"  # the files themselves are not in a backup
    DELETED = "deleted meanwhile"
    MISSING = "missing"
    ALTERED = "altered"


Report = Callable[[Original, Copied], None]


def require_sqlite(database_url: str) -> None:
    """Raises: InvalidRequest."""
    if not database_url.startswith("sqlite"):
        raise InvalidRequest(
            "Only libraries in SQLite can be copied here: take pg_dump, and copy the uploads folder."
        )


def back_up(
    database: Database, store: LocalPhotoStore, folder: Path, *, verify: bool, report: Report
) -> Counter[Copied]:
    """Copy rows and originals into `folder`; what an earlier backup left there is not copied again.

    The database of the earlier backup stays until this one is whole. verify reads back what lies there, and copies
    again what is damaged. Raises: InvalidRequest (a folder that will not do), StorageFull, StorageMissing,
    OSError, sqlalchemy.exc.SQLAlchemyError.
    """
    store.check_mounted()
    _check_target(database, store, folder)
    target, partial_copy = LocalPhotoStore(folder / UPLOADS), folder / f"{DATABASE}.partial"
    deleted: list[int] = []

    def noted(original: Original, outcome: Copied) -> None:
        if outcome is Copied.DELETED:
            deleted.append(original.photo_id)
        report(original, outcome)

    with _full_told("The disk of the backup is full; the backup that was there before is still whole."):
        target.set_up()
        with _scratch(partial_copy):
            with _opened(database, partial_copy) as rows:
                counts = _copy_originals(rows, store, target, verify=verify, report=noted, live=database)
                _forget(rows, deleted)
                _copy_staged(rows, store, target, live=database)
                manifest = _manifest(rows, counts)
            write_whole(folder / MANIFEST, manifest, target.folder / INCOMING)
            _sync(partial_copy)
            partial_copy.replace(folder / DATABASE)
            sync_folder(folder)
    return counts


def restore(folder: Path, database: Database, store: LocalPhotoStore, *, report: Report) -> Counter[Copied]:
    """Fill an empty library from a backup: originals first, their SHA-256 checked, and then all rows at once.

    Cut short, it can be done again. Raises: InvalidRequest (no backup, a damaged one, or a library that is not
    empty), StorageFull, StorageMissing, OSError, sqlalchemy.exc.SQLAlchemyError (NewerDatabase, too).
    """
    if not (folder / DATABASE).is_file() or not (folder / MANIFEST).is_file():
        raise InvalidRequest(f"There is no backup in {folder}.")
    scratch = store.folder / f".{DATABASE}.partial"
    with (
        _full_told("The disk is full; the library is still empty. Make room and restore again."),
        _scratch(scratch),
    ):
        shutil.copyfile(folder / DATABASE, scratch)
        copy = Database(f"sqlite:///{scratch}")
        try:
            _check_whole(copy)
            _check_empty(database, store, copy)
            backup = LocalPhotoStore(folder / UPLOADS)
            counts = _copy_originals(copy, backup, store, verify=False, report=report)
            _copy_staged(copy, backup, store)
            _copy_rows(copy, database)
        finally:
            copy.dispose()
    return counts


@contextmanager
def _opened(database: Database, path: Path) -> Iterator[Database]:
    """A whole copy of the database, made in one step of SQLite, beside which writes go on."""
    copy = Database(f"sqlite:///{path}")
    try:
        _copy_rows(database, copy)
        _check_whole(copy)
        yield copy
    finally:
        copy.dispose()


def _copy_rows(source: Database, target: Database) -> None:
    """All tables, in one transaction of the target."""
    reading, writing = source.engine.raw_connection(), target.engine.raw_connection()
    try:
        assert isinstance(reading.driver_connection, sqlite3.Connection), "see require_sqlite"
        reading.driver_connection.backup(writing.driver_connection)  # type: ignore[arg-type]
    finally:
        reading.close()
        writing.close()


def _copy_originals(
    rows: Database,
    source: LocalPhotoStore,
    target: LocalPhotoStore,
    *,
    verify: bool,
    report: Report,
    live: Database | None = None,
) -> Counter[Copied]:
    counts: Counter[Copied] = Counter()
    copy = partial(_copy, source, target, verify=verify, live=live)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="copy") as pool:
        for originals in named_originals(rows):
            for original, outcome in zip(originals, pool.map(copy, originals), strict=True):
                counts[outcome] += 1
                report(original, outcome)
    return counts


def _copy(
    source: LocalPhotoStore, target: LocalPhotoStore, original: Original, *, verify: bool, live: Database | None
) -> Copied:
    path, there = (store.folder / original_path(original.sha256) for store in (source, target))
    if _is_whole(there, original, read=verify):
        return Copied.THERE
    if path.is_symlink():
        _copy_link(path, there)
        return Copied.LINK
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Copied.MISSING if live is None or has_row(live, original) else Copied.DELETED
    if hashlib.sha256(data).hexdigest() != original.sha256:
        return Copied.ALTERED
    target.delete(original.sha256)  # a damaged copy
    target.save(original.sha256, data)
    return Copied.COPIED if _is_whole(there, original, read=verify) else Copied.ALTERED


def _forget(rows: Database, photo_ids: Iterable[int]) -> None:
    """Whoever deleted these does not want them back; and a restored library would miss their originals."""
    with rows.write() as session:
        for photo_id in photo_ids:
            session.exec(delete(Photo).where(col(Photo.id) == photo_id))


def _copy_staged(
    rows: Database, source: LocalPhotoStore, target: LocalPhotoStore, live: Database | None = None
) -> None:
    """The pictures of items that were accepted and are no photos yet, and nothing else."""
    with rows.read() as session:
        staged = select(col(ImportItem.id), col(ImportItem.staged)).where(col(ImportItem.staged).is_not(None))
        waiting = {str(name): item_id for item_id, name in session.exec(staged)}
    folder = target.folder / STAGED
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        if left.name not in waiting:
            left.unlink()
    for name, item_id in waiting.items():
        data = _staged_bytes(source, name, item_id, live)
        if data is not None:
            write_whole(folder / name, data, target.folder / INCOMING)
    sync_folder(folder)


def _staged_bytes(source: LocalPhotoStore, name: str, item_id: int | None, live: Database | None) -> bytes | None:
    """Of an item that has become a photo meanwhile, the photo's; None of one that has failed or is forgotten."""
    try:
        return (source.folder / STAGED / name).read_bytes()
    except FileNotFoundError:
        if live is None:
            return None
    became = select(Photo.sha256).join(ImportItem, col(ImportItem.photo_id) == Photo.id)
    with live.read() as session:
        sha256 = session.exec(became.where(ImportItem.id == item_id)).first()
    return None if sha256 is None else source.path(sha256).read_bytes()


def _is_whole(path: Path, original: Original, *, read: bool) -> bool:
    """By its size, or by all its bytes."""
    if path.is_symlink() or not path.is_file() or original.bytes not in (None, path.stat().st_size):
        return False
    if not read:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == original.sha256


def _copy_link(link: Path, there: Path) -> None:
    there.parent.mkdir(exist_ok=True)
    there.unlink(missing_ok=True)
    there.symlink_to(os.readlink(link))


def _manifest(rows: Database, counts: Counter[Copied]) -> bytes:
    with rows.read() as session:
        photos = session.exec(select(func.count()).select_from(Photo)).one()
    fields = {
        "version": __version__,
        "created_at": utc_now().isoformat(timespec="seconds"),
        "photos": photos,
        "originals": counts[Copied.COPIED] + counts[Copied.THERE],
        "links": counts[Copied.LINK],
        "missing": counts[Copied.MISSING] + counts[Copied.ALTERED],
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def _check_target(database: Database, store: LocalPhotoStore, folder: Path) -> None:
    """Raises InvalidRequest where a backup would overwrite, or be a part of, some library."""
    uploads, target = store.folder.resolve(), (folder / UPLOADS).resolve()
    live = Path(database.engine.url.database or "").resolve()
    if live == (folder / DATABASE).resolve() or target.is_relative_to(uploads) or uploads.is_relative_to(target):
        raise InvalidRequest(f"{folder} is the library itself; a backup needs a folder of its own.")
    if (folder / DATABASE).exists() and not (folder / MANIFEST).exists():
        raise InvalidRequest(f"{folder} holds a library, not a backup; it would be overwritten.")
    if any((folder / f"{DATABASE}{end}").exists() for end in _BESIDE[1:]):
        raise InvalidRequest(f"The backup in {folder} is in use as a library; it would be damaged.")


def _check_whole(copy: Database) -> None:
    """Raises: InvalidRequest."""
    for finding in check_database(copy):
        raise InvalidRequest(f"The database is damaged: {finding.detail}")


def _check_empty(database: Database, store: LocalPhotoStore, copy: Database) -> None:
    """Originals of the backup may be there, of an attempt that was cut short. Raises: InvalidRequest."""
    with database.read() as session:
        photos = session.exec(select(func.count()).select_from(Photo)).one()
    if photos:
        raise InvalidRequest(f"The library has {photos} photos already; restore into an empty one.")
    owners = owners_of(copy)
    for originals, others in store.listing():
        with copy.read() as session:
            foreign = set(originals) - named_among(session, owners, originals)
        if foreign or others:
            raise InvalidRequest(
                f"{store.folder} holds files that are not of this backup; restore into an empty one."
            )


@contextmanager
def _scratch(path: Path) -> Iterator[None]:
    """Nothing of this database lies there before the block, nor after it, unless it was renamed."""
    files = [path.with_name(path.name + end) for end in _BESIDE]
    try:
        for file in files:
            file.unlink(missing_ok=True)
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


@contextmanager
def _full_told(message: str) -> Iterator[None]:
    """Raises: StorageFull."""
    try:
        with full_disk_told():
            yield
    except StorageFull as error:
        raise StorageFull(message) from error
    except (sqlite3.OperationalError, OperationalError) as error:
        if "disk is full" in str(error):
            raise StorageFull(message) from error
        raise


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
