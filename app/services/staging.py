"""Files of accepted items, kept until a worker has brought them into the library."""

import fcntl
import re
import secrets
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

from app.services.photo_store import full_disk_told, sync_folder, write_whole

STAGED = ".staged"  # the folder below the uploads folder


class Staging:
    """Whole files in `folder`, under names that nobody can guess.

    They are written in `incoming`, a folder on the same file system.
    """

    def __init__(self, folder: Path, incoming: Path) -> None:
        self._folder = folder
        self._incoming = incoming
        self._lock_file = folder.with_name(f"{folder.name}.lock")  # held by every process that stages files
        self._held: IO[bytes] | None = None
        self._lock = threading.Lock()
        folder.mkdir(exist_ok=True)

    def new_name(self) -> str:
        """From now on this process may have files here that no row names yet."""
        with self._lock:
            if self._held is None:
                self._held = self._lock_file.open("ab")
                fcntl.flock(self._held, fcntl.LOCK_SH)
        return secrets.token_hex(16)

    def path(self, name: str) -> Path:
        """Where a file of this name lies, or will lie."""
        if not re.fullmatch("[0-9a-f]{32}", name):
            raise ValueError("A staged file is named by Staging.new_name.")
        return self._folder / name

    def save(self, data: bytes) -> str:
        """Its name; the file is whole and durable when this returns. Raises: StorageFull, OSError."""
        name = self.new_name()
        with full_disk_told():
            write_whole(self.path(name), data, self._incoming)
            sync_folder(self._folder)
        return name

    def delete(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def clean(self, wanted: Callable[[], Collection[str | None]]) -> int:
        """Delete what is not wanted, unless a process that stages files lives; returns how many files.

        `wanted` is asked once nobody can stage files: names that it does not know then are nobody's.
        """
        with self._lock_file.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            names = wanted()
            left = [path for path in self._folder.iterdir() if path.name not in names]
            for path in left:
                path.unlink()
            return len(left)

    def close(self) -> None:
        if self._held:
            self._held.close()
            self._held = None
