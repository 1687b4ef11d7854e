"""CSV and JSONL files that describe items, row by row; neither a file nor a long line is ever held as a whole."""

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from app.errors import InvalidRequest

COLUMNS = ("id", "image_filename", "caption", "title", "tags", "category", "taken_at", "latitude", "longitude")
MAX_LINE_CHARS = 2**20

Row = tuple[int, Mapping[str, object] | str]  # its line, and its fields, or in words why it cannot be read


def read_csv(source: Path) -> Iterator[Row]:
    """Columns as in COLUMNS, separated by commas, semicolons or tabs; others are passed over.

    Raises, at the call: InvalidRequest (a first line with none of them), OSError.
    """
    with _open_text(source) as file:
        header = file.readline(MAX_LINE_CHARS)
    delimiter = max(",;\t", key=header.count)
    try:
        columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error:
        columns = []
    if not set(columns) & set(COLUMNS):
        raise InvalidRequest(f"The first line of {source.name} names none of the columns {', '.join(COLUMNS)}.")
    return _csv_rows(source, columns, delimiter)


def _csv_rows(source: Path, columns: list[str], delimiter: str) -> Iterator[Row]:
    with _open_text(source) as file:
        rows = csv.DictReader(_lines(file), columns, delimiter=delimiter)
        next(rows.reader)  # the header
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield rows.reader.line_num, f"this line cannot be read: {error}"
            else:
                yield rows.reader.line_num, row


def read_jsonl(source: Path) -> Iterator[Row]:
    """One JSON object a line, with the names of COLUMNS; tags may be a list. Raises, at the call: OSError."""
    _open_text(source).close()
    return _jsonl_rows(source)


def _jsonl_rows(source: Path) -> Iterator[Row]:
    with _open_text(source) as file:
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield number, row if isinstance(row, dict) else "this line is not a JSON object"


def _open_text(source: Path) -> TextIO:
    """UTF-8 with or without a byte order mark, or UTF-16 with one. What fits neither is read as �."""
    with source.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return source.open(encoding="utf-16" if wide else "utf-8-sig", errors="replace", newline="")


def _lines(file: TextIO) -> Iterator[str]:
    """A line that is too long comes in pieces, of which none makes sense."""
    return iter(lambda: file.readline(MAX_LINE_CHARS), "")
