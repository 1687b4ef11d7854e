"""Originals on the local disk, named by the SHA-256 of their bytes."""

import errno
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import psutil

from app.errors import FileNotStored, StorageFull
from app.tables import original_path

INCOMING = ".incoming"  # folder of files that are being written, beside those that are whole
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LocalPhotoStore:
    """PhotoStore in a folder: `<folder>/ab/ab12…`, whole or not there at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, sha256: str, data: bytes) -> None:
        """Temporary file, fsync, rename, fsync of the folder. Raises: StorageFull, OSError."""
        target = self._target(sha256)
        if target.exists():
            return
        with full_disk_told():
            _make_folder(target.parent)
            write_whole(target, data, self.folder / INCOMING)
            sync_folder(target.parent)

    def link(self, sha256: str, original: Path) -> None:
        """The original stays where it is: a symbolic link stands for it. A copy that is here already is kept.

        Raises: StorageFull, OSError (a file system without symbolic links).
        """
        target = self._target(sha256)
        if target.exists():
            return
        with full_disk_told():
            _make_folder(target.parent)
            link = self.folder / INCOMING / f"{os.getpid()}-{secrets.token_hex(8)}"
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(original.absolute())
            os.replace(link, target)
            sync_folder(target.parent)

    def has(self, sha256: str) -> bool:
        return self._target(sha256).is_file()

    def open(self, sha256: str) -> BinaryIO:
        """Raises: FileNotStored."""
        return self.path(sha256).open("rb")

    def path(self, sha256: str) -> Path:
        """Raises: FileNotStored."""
        target = self._target(sha256)
        if not target.is_file():
            raise FileNotStored("The original of this photo is missing from the uploads folder.")
        return target

    def delete(self, sha256: str) -> None:
        target = self._target(sha256)
        target.unlink(missing_ok=True)

    def remove_leftovers(self) -> int:
        """Delete what a killed process was writing; returns how many files. To be called before any save."""
        left = [path for path in (self.folder / INCOMING).glob("*") if not writer_lives(path.name)]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _target(self, sha256: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError("A stored file is named by the 64 hex digits of its SHA-256.")
        return self.folder / original_path(sha256)


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Raises StorageFull for the errors of a disk without room, or a quota that is used up."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The disk of the uploads folder is full; nothing was stored.") from error
        raise


def write_whole(target: Path, data: bytes, incoming: Path) -> None:
    """The file is there with these bytes or it is not there at all, also after a power cut.

    It is written in the folder `incoming`, on the same file system, and then renamed. Raises: OSError.
    """
    incoming.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=incoming, prefix=f"{os.getpid()}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def writer_lives(name: str) -> bool:
    """Whether another process may still be writing; this one's own number belonged to an earlier process."""
    number = name.partition("-")[0]
    return number.isdecimal() and int(number) != os.getpid() and psutil.pid_exists(int(number))


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """A rename is durable once the folder that holds the name is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
