"""Works on the queue of imports: claims items, brings them in, and writes down what became of them."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from sqlalchemy.exc import OperationalError

from app.errors import AppError, EncoderUnreachable, Overloaded, StorageFull, StorageUnreachable, TooLarge
from app.flows import import_queue
from app.flows.import_queue import LEASE_S, MAX_ATTEMPTS, PERMANENT, SUSPECT, Outcome
from app.flows.in_place import add_in_place
from app.flows.ingest import add_item, new_item
from app.flows.services import Services, Serving
from app.flows.source_files import FileState
from app.tables import ImportItem, ItemStatus

logger = logging.getLogger(__name__)

POLL_S = 1.0  # how often to look for items that another process has accepted
PAUSE_S = 5.0  # after a full disk or a busy database, before anything is tried again
MAX_TRIES = 3  # of an item that fails for a reason that may pass
BUSY = {error.slug for error in (StorageFull, Overloaded, EncoderUnreachable, StorageUnreachable)}
UNREADABLE = "unreadable-file"
CRASHED = "crashed"

Report = Callable[[Outcome], None]


class ImportWorker:
    """A thread that keeps `concurrency` items in work at a time; `report` is told of each that is through.

    With import_id it works on that import only, else on all that no command has kept for itself.
    """

    def __init__(
        self,
        serving: Serving,
        concurrency: int,
        *,
        import_id: int | None = None,
        report: Report = lambda _: None,
    ) -> None:
        self._serving = serving
        self._concurrency = concurrency
        self._import_id = import_id
        self._report = report
        self._name = import_queue.worker_name()
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="import")
        self._running: dict[Future[Outcome], ImportItem] = {}
        self._renewed = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="import-worker", daemon=True)
        self.paused: str | None = None  # why nothing is worked on at present

    def start(self) -> None:
        import_queue.clean_staging(self._serving.current)
        import_queue.release(self._serving.current.database)
        self._thread.start()

    def close(self) -> None:
        """Items in work are finished, the others wait for the next start."""
        self._stop.set()
        self._serving.current.queue_changed.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.shutdown()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set() or self._running:
            try:
                self._step()
            except Exception as error:  # most likely the database; the thread must live, for nobody else does this
                if self._stop.is_set():
                    return  # what was in work has a lease that runs out
                logger.exception("Imports pause for %g s.", PAUSE_S)
                self.paused = f"{type(error).__name__}; the log has the details"
                self._stop.wait(PAUSE_S)

    def _step(self) -> None:
        """Claim what there is room for, wait for something to happen, write down what has happened."""
        self._keep_lease()
        with self._serving.use() as services:
            for item in [] if self._stop.is_set() else self._claim(services):
                self._running[self._pool.submit(self._work, item)] = item
            if not self._running:
                services.queue_changed.wait(POLL_S)
                services.queue_changed.clear()
                return
            done, _ = wait(self._running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            self._finish(services, [future.result() for future in done])
            for future in done:
                del self._running[future]

    def _claim(self, services: Services) -> list[ImportItem]:
        room = self._concurrency - len(self._running)
        if room < self._concurrency / 2 or any(item.attempts > SUSPECT for item in self._running.values()):
            return []  # a claim for each item would write twice as often
        return import_queue.claim(
            services.database, self._name, room, import_id=self._import_id, alone=not self._running
        )

    def _work(self, item: ImportItem) -> Outcome:
        with self._serving.use() as services:
            return bring_in(services.of(item.owner), item)

    def _finish(self, services: Services, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        import_queue.finish(services, outcomes)
        for outcome in outcomes:
            if outcome.status is not ItemStatus.PENDING:
                self._report(outcome)
        full = [outcome.error for outcome in outcomes if outcome.problem in BUSY]
        self.paused = full[0] if full else None
        if full:  # what is tried meanwhile would meet the same
            self._stop.wait(PAUSE_S)

    def _keep_lease(self) -> None:
        if time.monotonic() - self._renewed > LEASE_S / 4:
            self._renewed = time.monotonic()
            database = self._serving.current.database
            import_queue.renew(database, self._name)
            import_queue.release(database)


def bring_in(services: Services, item: ImportItem) -> Outcome:
    """One item into the library. It raises nothing: what went wrong is in the outcome."""
    if item.attempts > MAX_ATTEMPTS:
        return _failed(item, CRASHED, f"The process stopped {MAX_ATTEMPTS} times while it worked on this.")
    try:
        return _brought_in(services, item)
    except Exception as error:
        return _gone_wrong(item, error)


def _gone_wrong(item: ImportItem, error: Exception) -> Outcome:
    match error:
        case StorageFull() | Overloaded():
            return _later(item, error.slug, error.detail)
        case AppError():
            return _failed(item, error.slug, error.detail, again=error.slug not in PERMANENT)
        case OperationalError():
            return _later(item, Overloaded.slug, "The database did not answer in time.")
        case OSError():
            return _failed(item, UNREADABLE, error.strerror or "cannot be read")
    logger.error("Importing %s failed.", item.name, exc_info=error)
    return _failed(item, AppError.slug, f"Unexpected {type(error).__name__}; the log has the details.", again=True)


def _brought_in(services: Services, item: ImportItem) -> Outcome:
    data, file = _read(services, item)
    new = new_item(data, item.words)
    if item.in_place and item.path:
        added = add_in_place(services, new, Path(item.path))
    else:
        added = add_item(services, new)
    status = ItemStatus.READY if added.created else ItemStatus.KNOWN
    return Outcome(item, status, photo_id=added.photo.id, file=file)


def _read(services: Services, item: ImportItem) -> tuple[bytes | None, FileState | None]:
    """The picture's bytes, None for a text-only item. Raises: TooLarge, OSError."""
    source = services.staging.path(item.staged) if item.staged else item.path
    if source is None:
        return None, None
    limit = services.settings.max_upload_bytes
    with Path(source).open("rb") as file:
        state = FileState.of(os.fstat(file.fileno()))
        data = file.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"The file has more than {limit:,} bytes.")
    return data, state


def _later(item: ImportItem, problem: str, error: str) -> Outcome:
    """For want of room or time, which is not the item's fault."""
    item.attempts -= 1
    return Outcome(item, ItemStatus.PENDING, problem=problem, error=error, wait_s=2 * PAUSE_S)


def _failed(item: ImportItem, problem: str, error: str, *, again: bool = False) -> Outcome:
    if again and item.attempts < MAX_TRIES:
        return Outcome(item, ItemStatus.PENDING, problem=problem, error=error, wait_s=2.0**item.attempts)
    return Outcome(item, ItemStatus.FAILED, problem=problem, error=error)
