"""Many photos at once: a folder, or a CSV or JSONL file that describes them. One bad file stops nothing."""

import csv
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.errors import AppError, InvalidRequest, TooLarge
from app.flows.ingest import NewItem, add_item
from app.flows.services import Services
from app.schemas import plain_filename
from app.services.decode import looks_like_a_picture

logger = logging.getLogger(__name__)

# Names under which pictures are found without looking inside; others are taken if their first bytes say picture.
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif", ".jxl"}
    | {".dng", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".cr2", ".cr3", ".orf", ".rw2", ".pef", ".raf", ".srw"}
)
HEADER_BYTES = 16
MAX_LINE_BYTES = 2**20


class Outcome(StrEnum):
    ADDED = "added"
    KNOWN = "known"
    FAILED = "failed"


@dataclass(frozen=True)
class Entry:
    """One thing to import: a picture's path, or None for a text-only item, with the caller's words."""

    name: str  # shown in the report
    path: Path | None
    words: Mapping[str, object]


@dataclass(frozen=True)
class Result:
    entry: Entry
    outcome: Outcome
    reason: str = ""


def read_source(source: Path) -> list[Entry | Result]:
    """What a folder, CSV or JSONL file asks for; a Result stands for a row that cannot be read.

    Raises: InvalidRequest (no such path, or a kind of file that is not understood), OSError.
    """
    if source.is_dir():
        return list(_folder(source))
    if not source.is_file():
        raise InvalidRequest(f"There is no file or folder {source}.")
    readers = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    reader = readers.get(source.suffix.lower())
    if reader:
        return list(reader(source))
    return [Entry(source.name, source, {})]


def import_entries(
    services: Services, entries: Iterable[Entry | Result], workers: int, report: Callable[[Result], None]
) -> None:
    """Decoding goes side by side, and what is decoded together is encoded together; `report` is called in turn."""
    with ThreadPoolExecutor(workers, thread_name_prefix="import") as pool:
        running: set[Future[Result]] = set()
        for entry in entries:
            if isinstance(entry, Result):
                report(entry)
                continue
            if len(running) >= 2 * workers:  # bounds what is held in memory
                running = _report_finished(running, report)
            running.add(pool.submit(_import_one, services, entry))
        while running:
            running = _report_finished(running, report)


def _report_finished(running: set[Future[Result]], report: Callable[[Result], None]) -> set[Future[Result]]:
    done, rest = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        report(future.result())
    return rest


def _import_one(services: Services, entry: Entry) -> Result:
    try:
        data = None if entry.path is None else _read(entry.path, services.settings.max_upload_bytes)
        added = add_item(services, NewItem(data=data, **entry.words))  # type: ignore[arg-type]  # checked by _words
    except AppError as error:
        return Result(entry, Outcome.FAILED, error.detail)
    except OSError as error:
        return Result(entry, Outcome.FAILED, error.strerror or "cannot be read")
    except Exception as error:
        logger.exception("Importing %s failed.", entry.name)
        return Result(entry, Outcome.FAILED, f"unexpected {type(error).__name__}; the log has the details")
    return Result(entry, Outcome.ADDED if added.created else Outcome.KNOWN)


def _read(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLarge(f"The file has more than {max_bytes:,} bytes.")
    return data


def _folder(folder: Path) -> Iterator[Entry | Result]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and _is_picture(path):
            yield Entry(str(path.relative_to(folder)), path, {"filename": plain_filename(path.name)})


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return looks_like_a_picture(file.read(HEADER_BYTES))
    except OSError:
        return False


def _csv(source: Path) -> Iterator[Entry | Result]:
    """Columns id, image_filename, caption, title, tags, category; any of them may be missing."""
    with source.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            yield _row(source, number, {key: value for key, value in row.items() if key})


def _jsonl(source: Path) -> Iterator[Entry | Result]:
    """One JSON object a line, with the same names as the CSV's columns; tags may be a list."""
    with source.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line) if len(line) <= MAX_LINE_BYTES else None
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield _row(source, number, row)
            else:
                yield Result(_unread(source, number), Outcome.FAILED, "this line is not a JSON object")


def _row(source: Path, number: int, row: Mapping[str, object]) -> Entry | Result:
    image = _text(row.get("image_filename"))
    words: dict[str, object] = {
        "item_id": _text(row.get("id")) or None,
        "caption": _text(row.get("caption")) or None,
        "title": _text(row.get("title")) or None,
        "category": _text(row.get("category")) or None,
        "tags": _tags(row.get("tags")),
        "filename": plain_filename(image),
    }
    if not image:
        return Entry(f"line {number}", None, words)
    path = _find(source.parent, image)
    if path is None:
        return Result(_unread(source, number), Outcome.FAILED, f"there is no file {image}")
    return Entry(f"line {number}: {image}", path, words)


def _find(folder: Path, image: str) -> Path | None:
    """Relative to the list's own folder, or to an `images` folder beside it."""
    try:
        return next((path for path in (folder / image, folder / "images" / image) if path.is_file()), None)
    except (OSError, ValueError):  # a name too long, or with NUL
        return None


def _unread(source: Path, number: int) -> Entry:
    return Entry(f"{source.name} line {number}", None, {})


def _text(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return text.replace("\x00", "").encode(errors="replace").decode()


def _tags(value: object) -> list[str]:
    parts = value if isinstance(value, list) else _text(value).replace(";", ",").split(",")
    return list(dict.fromkeys(text for part in parts if (text := _text(part))))
