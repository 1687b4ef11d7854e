"""Photos whose originals stay where they are: indexed, never copied, never touched."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlmodel import Session, col, select, update

from app.errors import InvalidRequest
from app.flows import source_files
from app.flows.ingest import Added, NewItem, add_item
from app.flows.originals import remove_unused_file, settled
from app.flows.photos import delete_photo
from app.flows.services import Services
from app.tables import Feedback, Photo, SourceFile

AT_ONCE = timedelta(seconds=1)  # between the two times of a row that nobody has edited
OWN_WORDS = ("item_id", "title", "caption", "category", "tags")


def add_in_place(services: Services, item: NewItem, path: Path) -> Added:
    """Like add_item; if this file was another picture before, the new one takes over its words and votes.

    Raises: what add_item raises.
    """
    before = source_files.known(services.database, [str(path)], services.owner).get(str(path))
    added = add_item(services, replace(item, original=path))
    old_id = before.photo_id if before and before.in_place else None
    if old_id not in (None, added.photo.id) and _is_lost(services, old_id, path):
        _supersede(services, old_id, added.photo)
    return added


def lost(services: Services, folder: Path) -> Iterator[SourceFile]:
    """Files below this folder that are not there any more, and with them the only original of a photo."""
    for row in source_files.gone(services.database, folder, services.owner):
        if row.photo_id and _is_lost(services, row.photo_id, Path(row.path)):
            yield row


def prune(services: Services, folder: Path) -> int:
    """Take photos out of the library whose files are gone. Returns how many.

    Raises: InvalidRequest if the folder is missing or empty: a disk that is not mounted deletes nothing.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise InvalidRequest(f"{folder} is empty or not there; nothing is taken out of the library.")
    pruned = 0
    for row in lost(services, folder):
        if row.photo_id:
            delete_photo(services, row.photo_id)
            pruned += 1
    for row in source_files.gone(services.database, folder, services.owner):
        if row.in_place:
            source_files.forget(services.database, row)
    return pruned


def _is_lost(services: Services, photo_id: int, path: Path) -> bool:
    """Whether this file, which does not hold the photo any more, was all there was of it.

    If it was the original and another file has the same bytes, that one is the original from now on.
    """
    with services.database.read() as session:
        photo = session.get(Photo, photo_id)
        others = session.exec(select(SourceFile.path).where(SourceFile.photo_id == photo_id)).all()
    if not (photo and photo.sha256 and services.store.linked(photo.sha256) == path):
        return False
    other = next((Path(file) for file in others if _has_bytes(Path(file), photo.sha256)), None)
    if other is None:
        return True
    with services.photo_locks(photo.sha256), settled(services, photo.sha256):
        services.store.link(photo.sha256, other)
    return False


def _has_bytes(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _supersede(services: Services, old_id: int, new: Photo) -> None:
    """The old version's bytes are gone, for its file holds the new one."""
    with services.database.read() as session:
        old = session.get(Photo, old_id)
    if old is None:
        return
    with services.photo_locks(old.sha256 or ""), settled(services, old.sha256, deleting=True):
        with services.database.write() as session:
            _hand_over(session, session.get_one(Photo, old_id), session.get_one(Photo, new.id))
        services.live_index.forget([old_id])
        remove_unused_file(services, old.sha256)


def _hand_over(session: Session, old: Photo, new: Photo) -> None:
    """The old photo's votes and item_id, and its words if they were edited here; then it is deleted."""
    votes = update(Feedback).where(col(Feedback.photo_id) == old.id)
    session.exec(votes.values(photo_id=new.id))
    edited = old.updated_at - old.created_at > AT_ONCE
    words = {name: getattr(old, name) for name in (OWN_WORDS if edited else ("item_id",))}
    session.delete(old)
    session.flush()  # an item_id is unique
    for name, value in words.items():
        setattr(new, name, value or getattr(new, name))
