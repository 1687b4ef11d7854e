"""Files of accepted items, kept until a worker has brought them into the library."""

import os
import re
import secrets
from collections.abc import Collection
from pathlib import Path

from app.services.photo_store import full_disk_told, sync_folder, write_whole, writer_lives


class Staging:
    """Whole files in `folder`, under names that nobody can guess; each begins with its process's number.

    They are written in `incoming`, a folder on the same file system.
    """

    def __init__(self, folder: Path, incoming: Path) -> None:
        self._folder = folder
        self._incoming = incoming
        folder.mkdir(parents=True, exist_ok=True)

    def new_name(self) -> str:
        return f"{os.getpid()}-{secrets.token_hex(16)}"

    def path(self, name: str) -> Path:
        """Where a file of this name lies, or will lie."""
        if not re.fullmatch("[0-9]+-[0-9a-f]{32}", name):
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

    def abandoned(self, wanted: Collection[str]) -> list[str]:
        """What is neither wanted nor just being brought in by another process."""
        names = (path.name for path in self._folder.iterdir())
        return [name for name in names if name not in wanted and not writer_lives(name)]
