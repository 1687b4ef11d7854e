"""The durable queue of imports: an accepted item is a row, until it is ready, known, or failed with a reason."""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
from sqlmodel import Session, and_, col, or_, select, update

from app.database import Database
from app.errors import BrokenMedia, ImportNotFound, InvalidRequest, ItemIdTaken, TooLarge, UnsupportedMedia
from app.flows import source_files
from app.flows.services import Services
from app.flows.source_files import FileState
from app.tables import Import, ImportItem, ItemStatus, PartialUpload, SourceFile, utc_now

LEASE_S = 60.0  # a worker that has been silent for so long is taken for dead
SUSPECT = 2  # attempts after which an item is worked on alone: it may have brought the process down
MAX_ATTEMPTS = 10  # then it most likely did; fewer, and somebody who kills the process often would be believed
PERMANENT = {error.slug for error in (InvalidRequest, ItemIdTaken, TooLarge, UnsupportedMedia, BrokenMedia)}
UNFINISHED = (ItemStatus.PENDING, ItemStatus.WORKING)


@dataclass(frozen=True)
class Incoming:
    """An item to accept. `words` fit ingest.new_item; at most one of staged and path says where its picture is.

    With `status` it is finished already: known, or refused with a problem.
    """

    name: str
    words: dict[str, Any] = field(default_factory=dict)
    staged: str | None = None  # in Staging, durable
    path: str | None = None  # absolute, outside the library
    in_place: bool = False
    local: bool = False  # only the command that accepts it works on it
    status: ItemStatus = ItemStatus.PENDING
    photo_id: int | None = None
    problem: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of an item. With status pending it is to be tried again after `wait_s` seconds."""

    item: ImportItem
    status: ItemStatus
    photo_id: int | None = None
    problem: str | None = None
    error: str | None = None
    wait_s: float = 0.0
    file: FileState | None = None  # of item.path, when it was read


def open_import(services: Services, source: str) -> int:
    """The id of a new import, without items yet."""
    with services.database.write() as session:
        opened = Import(owner=services.owner, source=source)
        session.add(opened)
    return import_key(opened)


def unfinished(services: Services, source: str) -> int | None:
    """The newest import from this source that is not through: what a stop or a crash has left."""
    waiting = select(ImportItem.id).where(
        ImportItem.import_id == Import.id, col(ImportItem.status).in_(UNFINISHED)
    )
    wanted = select(Import.id).where(Import.owner == services.owner, Import.source == source, waiting.exists())
    with services.database.read() as session:
        return session.exec(wanted.order_by(col(Import.id).desc())).first()


def get_import(session: Session, import_id: int, owner: str) -> Import:
    """Raises: ImportNotFound."""
    found = session.get(Import, import_id)
    if found is None or found.owner != owner:
        raise ImportNotFound(f"There is no import {import_id}.")
    return found


def import_key(found: Import) -> int:
    """Of one that is stored."""
    assert found.id is not None, "a stored import has an id"
    return found.id


def accept(services: Services, import_id: int, items: Sequence[Incoming]) -> list[ImportItem]:
    """Rows in the queue, durable when this returns. Raises: ImportNotFound."""
    with services.database.write() as session:
        rows = enqueue(session, get_import(session, import_id, services.owner), items)
    services.queue_changed.set()
    return rows


def enqueue(session: Session, found: Import, items: Sequence[Incoming]) -> list[ImportItem]:
    """Like accept, as a part of the caller's transaction."""
    rows = [ImportItem(import_id=import_key(found), owner=found.owner, **vars(item)) for item in items]
    session.add_all(rows)
    session.flush()
    return rows


def claim(
    database: Database, worker: str, limit: int, *, import_id: int | None = None, alone: bool = True
) -> list[ImportItem]:
    """Items for this worker, oldest first: of one import, or else of all that are not a command's own.

    An item during whose work the process has died before comes by itself, and only to a worker that has nothing
    else in hand (`alone`).
    """
    free = and_(
        col(ImportItem.status) == ItemStatus.PENDING,
        col(ImportItem.leased_until) <= time.time(),
        col(ImportItem.local).is_(False) if import_id is None else col(ImportItem.import_id) == import_id,
    )
    wanted = select(ImportItem).where(free).order_by(col(ImportItem.id)).with_for_update(skip_locked=True)
    with database.log() as session:
        items = session.exec(wanted.where(col(ImportItem.attempts) < SUSPECT).limit(limit)).all()
        if alone and not items:
            items = session.exec(wanted.limit(1)).all()
        for item in items:
            item.status, item.worker = ItemStatus.WORKING, worker
            item.attempts += 1
            item.leased_until = time.time() + LEASE_S
    return [*items]


def finish(services: Services, outcomes: Sequence[Outcome]) -> None:
    """Write down what became of items; what was staged of those that are through with is deleted.

    Only before a file is deleted must it be durable: what a power cut takes back is done again, and found to be
    known.
    """
    staged = any(outcome.item.staged for outcome in outcomes)
    with services.database.write() if staged else services.database.log() as session:
        ids = [outcome.item.id for outcome in outcomes]
        there = session.exec(select(ImportItem).where(col(ImportItem.id).in_(ids)))
        rows = {row.id: row for row in there}  # without those whose import has been removed meanwhile
        written = [(rows[outcome.item.id], outcome) for outcome in outcomes if outcome.item.id in rows]
        source_files.note(session, [file for row, outcome in written if (file := _source_file(row, outcome))])
        for row, outcome in written:
            _write(row, outcome)
    for outcome in outcomes:
        if outcome.item.staged and not _may_be_tried_again(outcome):
            services.staging.delete(outcome.item.staged)


def _write(row: ImportItem, outcome: Outcome) -> None:
    row.status, row.photo_id = outcome.status, outcome.photo_id
    row.problem, row.error = outcome.problem, outcome.error
    row.worker, row.leased_until, row.updated_at = None, time.time() + outcome.wait_s, utc_now()
    row.attempts = outcome.item.attempts
    if not _may_be_tried_again(outcome):
        row.staged = None


def _source_file(row: ImportItem, outcome: Outcome) -> SourceFile | None:
    if not (row.path and outcome.file and outcome.photo_id):
        return None
    state = vars(outcome.file)
    return SourceFile(owner=row.owner, path=row.path, **state, photo_id=outcome.photo_id, in_place=row.in_place)


def _may_be_tried_again(outcome: Outcome) -> bool:
    """A picture that is bad stays bad; one that failed for another reason keeps its bytes for a retry."""
    failed = outcome.status is ItemStatus.FAILED
    return outcome.status in UNFINISHED or (failed and outcome.problem not in PERMANENT)


def renew(database: Database, worker: str) -> None:
    """Tell that this worker lives."""
    mine = and_(col(ImportItem.worker) == worker, col(ImportItem.status) == ItemStatus.WORKING)
    with database.log() as session:
        session.exec(update(ImportItem).where(mine).values(leased_until=time.time() + LEASE_S))


def release(database: Database, worker: str | None = None) -> int:
    """What this worker, or any that is dead, had in hand waits again. Returns how many items."""
    working = select(ImportItem).where(ImportItem.status == ItemStatus.WORKING).with_for_update(skip_locked=True)
    with database.log() as session:
        left = [row for row in session.exec(working) if row.worker == worker or _is_dead(row)]
        for row in left:
            row.attempts -= worker is not None and row.worker == worker  # given back, not died with
            row.status, row.worker, row.leased_until = ItemStatus.PENDING, None, 0.0
    return len(left)


def worker_name() -> str:
    """Names this process among all that ever were: its host, number, and time of start."""
    process = psutil.Process()
    return f"{socket.gethostname()} {process.pid} {process.create_time():.2f}"


def _is_dead(row: ImportItem) -> bool:
    if row.leased_until < time.time() or not row.worker:
        return True
    host, number, started = row.worker.rsplit(" ", 2)
    if host != socket.gethostname():
        return False
    try:
        return f"{psutil.Process(int(number)).create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True


def retry(services: Services, import_id: int) -> int:
    """What failed, and might do better now, waits again. Returns how many items. Raises: ImportNotFound."""
    again = and_(
        col(ImportItem.import_id) == import_id,
        col(ImportItem.status) == ItemStatus.FAILED,
        or_(col(ImportItem.path).is_not(None), col(ImportItem.problem).not_in(PERMANENT)),
    )
    fresh = {"status": ItemStatus.PENDING, "attempts": 0, "leased_until": 0.0, "problem": None, "error": None}
    with services.database.write() as session:
        get_import(session, import_id, services.owner)
        count = session.exec(update(ImportItem).where(again).values(**fresh)).rowcount
    services.queue_changed.set()
    return count


def remove(services: Services, import_id: int) -> None:
    """Forget an import: what waits is given up, photos that it brought in stay. Raises: ImportNotFound."""
    with services.database.write() as session:
        found = get_import(session, import_id, services.owner)
        staged = session.exec(_staged().where(ImportItem.import_id == import_id)).all()
        session.delete(found)
    for name in staged:
        services.staging.delete(str(name))


def clean_staging(services: Services) -> int:
    """Delete what a crash has left between the staging of a file and the commit of its row."""

    def wanted() -> set[str | None]:
        with services.database.read() as session:
            return {*session.exec(_staged()), *session.exec(select(PartialUpload.id))}

    return services.staging.clean(wanted)


def _staged() -> Any:
    return select(ImportItem.staged).where(col(ImportItem.staged).is_not(None))
