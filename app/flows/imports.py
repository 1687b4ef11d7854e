"""How imports are doing, for those who follow them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, func, select

from app.database import Database
from app.flows.import_queue import UNFINISHED, get_import
from app.flows.services import Services
from app.tables import Import, ImportItem, ItemStatus, Photo

KEYS_A_QUERY = 500  # databases limit the parameters of one query


@dataclass(frozen=True)
class Progress:
    """An import, how many items it has in each state, and when the last of them changed."""

    found: Import
    counts: dict[ItemStatus, int]
    changed_at: datetime

    @property
    def seconds_left(self) -> float | None:
        """At the average rate so far; None while it is not known."""
        left = sum(self.counts.get(status, 0) for status in UNFINISHED)
        done = sum(self.counts.values()) - left
        return left * (self.changed_at - self.found.created_at).total_seconds() / done if done else None


@dataclass(frozen=True)
class ItemPage:
    items: Sequence[ImportItem]
    more: bool


def progress(services: Services, import_id: int) -> Progress:
    """Raises: ImportNotFound."""
    with services.database.read() as session:
        return _progress(session, get_import(session, import_id, services.owner))


def recent(services: Services, limit: int) -> list[Progress]:
    """The newest imports first."""
    newest = select(Import).where(Import.owner == services.owner).order_by(col(Import.id).desc()).limit(limit)
    with services.database.read() as session:
        return [_progress(session, found) for found in session.exec(newest)]


def items(
    services: Services,
    import_id: int,
    *,
    status: ItemStatus | None = None,
    after: int = 0,
    limit: int,
) -> ItemPage:
    """In the order in which they were accepted, those after the item `after`. Raises: ImportNotFound."""
    wanted = select(ImportItem).where(ImportItem.import_id == import_id, col(ImportItem.id) > after)
    if status is not None:
        wanted = wanted.where(ImportItem.status == status)
    with services.database.read() as session:
        get_import(session, import_id, services.owner)
        found = session.exec(wanted.order_by(col(ImportItem.id)).limit(limit + 1)).all()
    return ItemPage(found[:limit], len(found) > limit)


def depth(services: Services, owner: str | None = None) -> int:
    """Items that wait or are in work, of all imports of one owner, or of all."""
    waiting = select(func.count()).where(col(ImportItem.status).in_(UNFINISHED))
    with services.database.read() as session:
        return session.exec(waiting if owner is None else waiting.where(ImportItem.owner == owner)).one()


def waits(services: Services, import_id: int) -> int:
    """How many items of an import are not through yet."""
    unfinished = col(ImportItem.status).in_(UNFINISHED)
    with services.database.read() as session:
        return session.exec(select(func.count()).where(ImportItem.import_id == import_id, unfinished)).one()


def waiting_paths(services: Services, import_id: int | None, paths: Sequence[str]) -> set[str]:
    """Those of these files that wait in this import already."""
    found: set[str] = set()
    waiting = select(ImportItem.path).where(
        ImportItem.import_id == import_id, col(ImportItem.status).in_(UNFINISHED)
    )
    with services.database.read() as session:
        for i in range(0, len(paths) if import_id else 0, KEYS_A_QUERY):
            part = col(ImportItem.path).in_(paths[i : i + KEYS_A_QUERY])
            found.update(path for path in session.exec(waiting.where(part)) if path)
    return found


def known_photos(database: Database, sha256s: Sequence[str], owner: str) -> dict[str, int]:
    """Ids of the photos that are in the library already, by the SHA-256 of their bytes."""
    found: dict[str, int] = {}
    with database.read() as session:
        for i in range(0, len(sha256s), KEYS_A_QUERY):
            part = col(Photo.sha256).in_(sha256s[i : i + KEYS_A_QUERY])
            rows = session.exec(select(Photo.sha256, Photo.id).where(Photo.owner == owner, part))
            found.update((sha256, photo_id) for sha256, photo_id in rows if sha256 and photo_id)
    return found


def _progress(session: Session, found: Import) -> Progress:
    grouped = (
        select(ImportItem.status, func.count(), func.max(ImportItem.updated_at))
        .where(ImportItem.import_id == found.id)
        .group_by(col(ImportItem.status))
    )
    rows = session.exec(grouped).all()
    changed_at = max((changed for _, _, changed in rows), default=found.created_at)
    return Progress(found, {ItemStatus(status): count for status, count, _ in rows}, changed_at)
