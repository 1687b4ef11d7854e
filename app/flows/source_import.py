"""`recollect import`: what a source holds goes into the queue, while a worker is busy with it already."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from app.database import Database
from app.errors import AppError, InvalidRequest, TooLarge, UnsupportedMedia
from app.flows import import_queue, imports, source_files
from app.flows.import_queue import Incoming, Outcome
from app.flows.import_sources import HEADER_BYTES, Entry, Unreadable, read_source
from app.flows.import_worker import UNREADABLE, ImportWorker
from app.flows.services import Services
from app.flows.source_files import FileState
from app.services.decode import looks_like_a_picture
from app.settings import Settings
from app.tables import ItemStatus, SourceFile

CHUNK = 500  # entries looked up and put into the queue together
POLL_S = 0.2
IGNORED = "ignored"
NEW = "new"


@dataclass(frozen=True)
class Options:
    ignore: Sequence[str] = ()  # patterns as in .gitignore
    in_place: bool = False  # index the files where they are, copy nothing
    concurrency: int = 32  # photos in work at the same time
    bring_back: bool = True  # import again what has been deleted from the library since


@dataclass(frozen=True)
class Ended:
    """What became of an entry: ready, known, failed or ignored; new where nothing was to be done."""

    name: str
    status: str
    photo_id: int | None = None
    problem: str | None = None
    error: str | None = None


class Listener(Protocol):
    """Told by several threads, one at a time for each method."""

    def found(self, count: int) -> None:
        """So many more entries have been found."""
        ...

    def ended(self, entry: Ended) -> None: ...


class SourceImport:
    """One pass over a source. Interrupted, the next one goes on where it was."""

    def __init__(self, services: Services, source: Path, options: Options, listener: Listener) -> None:
        self._services = services
        self._source = source.absolute()
        self._options = options
        self._listener = listener
        self._label = f"{self._source} (in place)" if options.in_place else str(self._source)
        self._import_id = import_queue.unfinished(services, self._label)
        self._worker: ImportWorker | None = None

    def run(self, stop: threading.Event) -> None:
        """Until everything has ended, or `stop` is set. Raises: InvalidRequest, OSError (of the source itself)."""
        entries = read_source(self._source, self._options.ignore)
        try:
            if not stop.is_set():
                self._go_on()
            while not stop.is_set() and (chunk := list(islice(entries, CHUNK))):
                self._listener.found(len(chunk))
                self._take(chunk)
            while self._import_id and not stop.is_set() and imports.waits(self._services, self._import_id):
                stop.wait(POLL_S)
        finally:
            if self._worker:
                self._worker.close()

    @property
    def paused(self) -> str | None:
        """Why nothing goes on at present, for instance a full disk."""
        return self._worker.paused if self._worker else None

    def _go_on(self) -> None:
        """With what an earlier pass has left."""
        if self._import_id is not None:
            self._listener.found(imports.waits(self._services, self._import_id))
            self._start_worker(self._import_id)

    def _take(self, chunk: Sequence[Entry | Unreadable]) -> None:
        incoming = list(self._incoming(chunk))
        if not incoming:
            return
        if self._import_id is None:
            self._import_id = import_queue.open_import(self._services, self._label)
            self._start_worker(self._import_id)
        import_queue.accept(self._services, self._import_id, incoming)

    def _incoming(self, chunk: Sequence[Entry | Unreadable]) -> Iterator[Incoming]:
        """Those that are neither unchanged, nor in the queue already, nor to be ignored."""
        paths = [str(entry.path) for entry in chunk if isinstance(entry, Entry) and entry.path]
        known = source_files.known(self._services.database, paths, self._services.owner)
        waiting = imports.waiting_paths(self._services, self._import_id, paths)
        for entry in chunk:
            if isinstance(entry, Unreadable):
                yield from self._unreadable(entry)
            elif entry.path is None:
                yield Incoming(entry.name, dict(entry.words), local=True)
            elif (path := str(entry.path)) in waiting:
                self._listener.found(-1)  # counted with what an earlier pass has left
            elif unchanged(known.get(path), self._options):
                self._listener.ended(Ended(entry.name, ItemStatus.KNOWN, known[path].photo_id))
            else:
                yield Incoming(
                    entry.name, dict(entry.words), path=path, local=True, in_place=self._options.in_place
                )

    def _unreadable(self, entry: Unreadable) -> Iterator[Incoming]:
        ended = told(entry)
        self._listener.ended(ended)
        if entry.failed:
            yield Incoming(entry.name, status=ItemStatus.FAILED, problem=InvalidRequest.slug, error=entry.reason)

    def _start_worker(self, import_id: int) -> None:
        self._worker = ImportWorker(
            self._services.serving, self._options.concurrency, import_id=import_id, report=self._report
        )
        self._worker.start()

    def _report(self, outcome: Outcome) -> None:
        self._listener.ended(
            Ended(outcome.item.name, outcome.status, outcome.photo_id, outcome.problem, outcome.error)
        )


def unchanged(row: SourceFile | None, options: Options) -> bool:
    """Whether this file is as it was when it was imported; one whose photo was deleted counts as changed if such
    photos are to be brought back."""
    if row is None or (row.photo_id is None and options.bring_back):
        return False
    try:
        return FileState.of(Path(row.path).stat()) == FileState(row.bytes, row.mtime_ns)
    except OSError:
        return False


def told(entry: Unreadable) -> Ended:
    """A row or file without an entry is failed or ignored, with its reason."""
    if entry.failed:
        return Ended(entry.name, ItemStatus.FAILED, problem=InvalidRequest.slug, error=entry.reason)
    return Ended(entry.name, IGNORED, error=entry.reason)


def dry_run(database: Database, settings: Settings, source: Path, options: Options) -> Iterator[Ended]:
    """What an import would do, as far as that can be told without decoding. Raises: as SourceImport.run."""
    entries = read_source(source.absolute(), options.ignore)
    while chunk := list(islice(entries, CHUNK)):
        paths = [str(entry.path) for entry in chunk if isinstance(entry, Entry) and entry.path]
        known = source_files.known(database, paths, settings.owner)
        for entry in chunk:
            if isinstance(entry, Unreadable):
                yield told(entry)
            elif unchanged(known.get(str(entry.path)), options):
                yield Ended(entry.name, ItemStatus.KNOWN, known[str(entry.path)].photo_id)
            else:
                yield _foreseen(database, settings, entry)


def _foreseen(database: Database, settings: Settings, entry: Entry) -> Ended:
    if entry.path is None:
        return Ended(entry.name, NEW)
    try:
        sha256 = _sha256(entry.path, settings.max_upload_bytes)
    except AppError as error:
        return Ended(entry.name, ItemStatus.FAILED, problem=error.slug, error=error.detail)
    except OSError as error:
        return Ended(entry.name, ItemStatus.FAILED, problem=UNREADABLE, error=error.strerror)
    photo_id = imports.known_photos(database, [sha256], settings.owner).get(sha256)
    return Ended(entry.name, ItemStatus.KNOWN if photo_id else NEW, photo_id)


def _sha256(path: Path, max_bytes: int) -> str:
    """Raises: OSError, TooLarge, UnsupportedMedia."""
    with path.open("rb") as file:
        if not looks_like_a_picture(file.read(HEADER_BYTES)):
            raise UnsupportedMedia("This is not a picture of a known kind.")
        if path.stat().st_size > max_bytes:
            raise TooLarge(f"The file has more than {max_bytes:,} bytes.")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
