"""Which files outside the library photos came from: a second look at a folder passes over what is known."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from app.database import Database
from app.tables import SourceFile

FILES_A_QUERY = 500  # databases limit the parameters of one query


@dataclass(frozen=True)
class FileState:
    """By which a changed file is told from an unchanged one."""

    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "FileState":
        return cls(stat.st_size, stat.st_mtime_ns)


def known(database: Database, paths: Sequence[str], owner: str) -> dict[str, SourceFile]:
    """The rows of those of these absolute paths that have one."""
    found: dict[str, SourceFile] = {}
    with database.read() as session:
        for i in range(0, len(paths), FILES_A_QUERY):
            part = col(SourceFile.path).in_(paths[i : i + FILES_A_QUERY])
            rows = session.exec(select(SourceFile).where(SourceFile.owner == owner, part))
            found.update((row.path, row) for row in rows)
    return found


def note(session: Session, files: Sequence[SourceFile]) -> None:
    """From now on these files, in these states, are these photos'."""
    paths = [file.path for file in files]
    there = session.exec(select(SourceFile).where(col(SourceFile.path).in_(paths)))
    rows = {(row.owner, row.path): row for row in there}
    for file in files:
        row = rows.setdefault((file.owner, file.path), file)
        row.bytes, row.mtime_ns = file.bytes, file.mtime_ns
        row.photo_id, row.in_place = file.photo_id, file.in_place
        session.add(row)


def gone(database: Database, folder: Path, owner: str) -> Iterator[SourceFile]:
    """Rows of files below this folder that are not there any more."""
    below = str(folder) + os.sep
    last = 0
    while True:
        with database.read() as session:
            after = select(SourceFile).where(SourceFile.owner == owner, col(SourceFile.id) > last)
            wanted = after.where(col(SourceFile.path).startswith(below, autoescape=True))
            rows = session.exec(wanted.order_by(col(SourceFile.id)).limit(FILES_A_QUERY)).all()
        if not rows:
            return
        yield from (row for row in rows if not os.path.lexists(row.path))
        last = rows[-1].id or 0


def forget(database: Database, row: SourceFile) -> None:
    """The file is no source any more; a photo that came from it stays."""
    with database.write() as session:
        session.delete(session.merge(row))
