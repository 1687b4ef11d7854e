"""What `recollect import SOURCE` is given, as a stream: a folder, a picture, or a CSV or JSONL file of items."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import InvalidRequest
from app.flows.folder_walk import IgnoreRules, Listing, walk
from app.flows.item_lists import Row, read_csv, read_jsonl
from app.flows.sidecars import Notes, XmpFolder
from app.flows.takeout import TakeoutFolder
from app.schemas import plain_filename, plain_text, printable
from app.services.decode import looks_like_a_picture

# Names under which pictures are found without looking inside; others are taken if their first bytes say picture.
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif", ".jxl"}
    | {".dng", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".cr2", ".cr3", ".orf", ".rw2", ".pef", ".raf", ".srw"}
)
HEADER_BYTES = 16


@dataclass(frozen=True)
class Entry:
    """One thing to import: a picture's absolute path, or None for a text-only item, with the caller's words."""

    name: str  # shown in reports, and valid Unicode whatever the file is called
    path: Path | None
    words: Mapping[str, Any]  # fit for JSON, and for ingest.new_item


@dataclass(frozen=True)
class Unreadable:
    """A row, folder or file that gives no entry, and why."""

    name: str
    reason: str
    failed: bool = True  # False: nothing is missing, as with what its owner had thrown away


def read_source(source: Path, ignore: Sequence[str] = ()) -> Iterator[Entry | Unreadable]:
    """What a folder, picture, CSV or JSONL file asks for; `ignore` are patterns as in .gitignore, for a folder.

    Raises, at the call: InvalidRequest (no such path, a kind of file that is not understood, a pattern that is
    none), OSError.
    """
    source = source.absolute()
    if source.is_dir():
        return _folder(source, ignore)
    if not source.is_file():
        raise InvalidRequest(f"There is no file or folder {printable(str(source))}.")
    if source.suffix.lower() == ".csv":
        return _items(source, read_csv(source))
    if source.suffix.lower() in {".jsonl", ".ndjson"}:
        return _items(source, read_jsonl(source))
    if not _is_picture(source):
        raise InvalidRequest(f"{printable(source.name)} is neither a picture nor a CSV or JSONL file.")
    return _picture(Listing(source.parent, "", []), source.name, ())


def _folder(top: Path, ignore: Sequence[str]) -> Iterator[Entry | Unreadable]:
    os.scandir(top).close()  # if it cannot be listed, this says so now
    try:
        rules = IgnoreRules().and_below("", ignore)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    return _pictures(top, rules)


def _pictures(top: Path, rules: IgnoreRules) -> Iterator[Entry | Unreadable]:
    for listing in walk(top, rules):
        if listing.problem:
            yield Unreadable(printable(listing.name or top.name), listing.problem)
        beside = (XmpFolder(listing.path, listing.files), TakeoutFolder(listing.path, listing.files))
        for name in listing.files:
            if _is_picture(listing.path / name):
                yield from _picture(listing, name, [sidecars.notes_on(name) for sidecars in beside])


def _picture(listing: Listing, name: str, notes: Iterable[Notes]) -> Iterator[Entry | Unreadable]:
    shown, trashed = printable(listing.name + name), False
    words: dict[str, Any] = {"filename": plain_filename(printable(name))}
    for note in notes:
        words |= note.words
        trashed |= note.trashed
        if note.damaged:
            damaged = printable(listing.name + note.damaged)
            yield Unreadable(damaged, "cannot be read; its picture is taken without it", failed=False)
    if trashed:
        yield Unreadable(shown, "lies in the trash of Google Photos", failed=False)
    else:
        yield Entry(shown, listing.path / name, words)


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return looks_like_a_picture(file.read(HEADER_BYTES))
    except OSError:
        return False


def _items(source: Path, rows: Iterable[Row]) -> Iterator[Entry | Unreadable]:
    for number, row in rows:
        line = f"{printable(source.name)} line {number}"
        yield Unreadable(line, row) if isinstance(row, str) else _item(source.parent, line, row)


def _item(folder: Path, line: str, row: Mapping[str, object]) -> Entry | Unreadable:
    image = plain_text(row.get("image_filename"))
    names = ("caption", "title", "category", "taken_at", "latitude", "longitude")
    words: dict[str, Any] = {name: text for name in names if (text := plain_text(row.get(name)))}
    words |= {"tags": _tags(row.get("tags")), "filename": plain_filename(image)}
    if item_id := plain_text(row.get("id")):
        words["item_id"] = item_id
    path = _find(folder, image) if image else None
    if image and path is None:
        return Unreadable(line, f"there is no file {printable(image)}")
    return Entry(f"{line}: {printable(image)}" if image else line, path, words)


def _find(folder: Path, image: str) -> Path | None:
    """An absolute path, or one relative to the list's own folder, or to an `images` folder beside it."""
    try:
        return next((path for path in (folder / image, folder / "images" / image) if path.is_file()), None)
    except (OSError, ValueError):  # a name too long, or with NUL
        return None


def _tags(value: object) -> list[str]:
    parts = value if isinstance(value, list) else plain_text(value).replace(";", ",").split(",")
    return list(dict.fromkeys(text for part in parts if (text := plain_text(part))))
