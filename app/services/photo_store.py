"""Originals on the local disk, named by the SHA-256 of their bytes."""

import errno
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.errors import FileNotStored, StorageFull, StorageMissing
from app.tables import original_path

INCOMING = ".incoming"  # folder of notes and of files that are being written, beside those that are whole
MARK = ".recollect"  # in every uploads folder; a mount point whose disk is not there has none
MARK_TEXT = "The originals of a Recollect library lie here; without this file it takes the disk for not mounted.\n"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHA256 = re.compile("[0-9a-f]{64}")


class LocalPhotoStore:
    """PhotoStore in a folder: `<folder>/ab/ab12…`, whole or not there at all. The folder is made by set_up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = f"The folder {folder}"
        self._incoming = folder / INCOMING

    def set_up(self) -> None:
        """Make the folder, and mark it as the library's. Raises: OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARK).write_text(MARK_TEXT)

    def is_set_up(self) -> bool:
        return (self.folder / MARK).is_file()

    def check_mounted(self) -> None:
        """Raises: StorageMissing."""
        if not self.is_set_up():
            raise StorageMissing("The uploads folder is not there: is its disk mounted? Nothing was changed.")

    def save(self, sha256: str, data: bytes) -> None:
        """Temporary file, fsync, rename, fsync of the folder; a link to an original outside gives way.

        Raises: StorageFull, StorageMissing, OSError.
        """
        target = self._target(sha256)
        self.check_mounted()
        if self.has_copy(sha256):
            return
        with full_disk_told():
            _make_folder(target.parent)
            write_whole(target, data, self._incoming)
            sync_folder(target.parent)

    def link(self, sha256: str, original: Path) -> None:
        """The original stays where it is: a symbolic link stands for it. A copy in the library is kept.

        Raises: StorageFull, StorageMissing, OSError (a file system without symbolic links).
        """
        target = self._target(sha256)
        self.check_mounted()
        if self.has_copy(sha256):
            return
        with full_disk_told():
            _make_folder(target.parent)
            target.unlink(missing_ok=True)  # a link, whose file may have been moved or changed
            target.symlink_to(original.absolute())
            sync_folder(target.parent)

    def linked(self, sha256: str) -> Path | None:
        """The file outside that stands for the original; None if that is a copy."""
        target = self._target(sha256)
        return target.readlink() if target.is_symlink() else None

    def has(self, sha256: str) -> bool:
        """Whether the original can be read."""
        return self._target(sha256).is_file()

    def has_copy(self, sha256: str) -> bool:
        """Whether the original lies in the library itself, safe from what happens to files outside."""
        return self.linked(sha256) is None and self.has(sha256)

    def open(self, sha256: str) -> BinaryIO:
        """Raises: FileNotStored, StorageMissing."""
        return self.path(sha256).open("rb")

    def path(self, sha256: str) -> Path:
        """Raises: FileNotStored, StorageMissing."""
        target = self._target(sha256)
        if not target.is_file():
            self.check_mounted()
            raise FileNotStored("The original of this photo is missing from the uploads folder.")
        return target

    def holds(self, sha256: str) -> bool:
        """Also by a link whose target is gone."""
        return os.path.lexists(self._target(sha256))

    def delete(self, sha256: str) -> None:
        target = self._target(sha256)
        target.unlink(missing_ok=True)

    @contextmanager
    def noted(self, sha256: str, *, deleting: bool = False) -> Iterator[None]:
        """Alone with one original, among all processes, while its file and its rows may disagree.

        If the block raises, or the process dies in it, a note stays, unless the original was there before and not
        `deleting`. Raises: StorageFull, StorageMissing, OSError.
        """
        note = self._note(sha256)
        self.check_mounted()
        self._incoming.mkdir(exist_ok=True)
        # Not synced: a journal keeps the order, so the note is on disk when the original's name is.
        with full_disk_told(), _locked(note) as descriptor:
            try:
                os.ftruncate(descriptor, 0)
                keep = not deleting and self.holds(sha256)
                os.write(descriptor, b"keep" if keep else b"")
                yield
                keep = True
            finally:
                if keep:
                    note.unlink()

    def is_noted(self, sha256: str) -> bool:
        return self._note(sha256).exists()

    def left_notes(self) -> list[str]:
        """The originals whose notes nobody holds any more: their rows say whether they are to stay."""
        return [path.name for path in self._incoming.glob("*") if _is_note(path) and not is_held(path)]

    def remove_leftovers(self) -> int:
        """Delete what a killed process was writing; returns how many files. Notes of originals stay."""
        return remove_leftovers(self._incoming)

    def listing(self) -> Iterator[tuple[list[str], list[Path]]]:
        """Folder by folder: the originals, by SHA-256, and what else lies there; hidden files are left out."""
        for folder, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
            originals = [path.name for path in paths if self._is_original(path)]
            yield originals, [path for path in paths if not self._is_original(path)]

    def _is_original(self, path: Path) -> bool:
        return _SHA256.fullmatch(path.name) is not None and path == self._target(path.name)

    def _note(self, sha256: str) -> Path:
        return self._incoming / self._target(sha256).name

    def _target(self, sha256: str) -> Path:
        return self.folder / checked_path(sha256)


def checked_path(sha256: str) -> str:
    """Where an original lies below its folder or prefix. Raises: ValueError."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError("A stored file is named by the 64 hex digits of its SHA-256.")
    return original_path(sha256)


def write_whole(target: Path, data: bytes, incoming: Path) -> None:
    """The file is there with these bytes or it is not there at all, also after a power cut.

    It is written in the folder `incoming`, on the same file system, and then renamed. Raises: OSError.
    """
    incoming.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=incoming)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_leftovers(incoming: Path) -> int:
    """Delete what nobody writes any more; returns how many files."""
    left = [path for path in incoming.glob("*") if not _is_note(path) and not is_held(path)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def is_held(path: Path) -> bool:
    """Whether a living process works on this file of an incoming folder, or it is gone.

    A lock tells it, not a process number: those of two containers on one folder may be the same.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:  # a link, which is never opened
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _is_note(path: Path) -> bool:
    """Of an original that goes unless a row names it; those that are to stay have a word in their note."""
    try:
        return _SHA256.fullmatch(path.name) is not None and path.lstat().st_size == 0
    except FileNotFoundError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The descriptor of a new file at `path`, once nobody else holds one there."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # else whoever held it has removed it
                yield descriptor
                return
        finally:
            os.close(descriptor)


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Raises: StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The disk of the uploads folder is full; nothing was stored.") from error
        raise


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """A rename is durable once the folder that holds the name is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
