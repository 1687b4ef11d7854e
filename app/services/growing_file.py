"""A file that arrives piece by piece. Its size says how much of it is there, and nothing else does."""

import hashlib
import os
from pathlib import Path

from app.errors import OffsetConflict
from app.services.photo_store import full_disk_told, sync_folder


def start(path: Path) -> None:
    """An empty file, whose name is durable when this returns. Raises: StorageFull, OSError."""
    with full_disk_told():
        path.touch(exist_ok=False)
        sync_folder(path.parent)


def append(path: Path, offset: int, block: bytes) -> int:
    """The new size in bytes. To be called by one thread at a time for one path.

    Raises: OffsetConflict (the file does not end at `offset`), FileNotFoundError, StorageFull, OSError.
    """
    with full_disk_told(), path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size != offset:
            raise OffsetConflict(size)
        file.write(block)
    return offset + len(block)


def durable_size(path: Path) -> int:
    """Bytes that also a power cut leaves there. Raises: FileNotFoundError, StorageFull, OSError."""
    with full_disk_told(), path.open("rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def sha256_of(path: Path) -> str:
    """64 hex digits. Raises: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
