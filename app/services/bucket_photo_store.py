"""Originals in an S3-compatible bucket, where any number of machines read and write them."""

import io
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from app.errors import CapabilityMissing, FileNotStored, StorageMissing
from app.services.bucket import Bucket
from app.services.bucket_notes import BucketNotes
from app.services.interfaces import RemoteFile
from app.services.photo_store import INCOMING, MARK, MARK_TEXT, checked_path


class BucketPhotoStore:
    """PhotoStore with the names of a LocalPhotoStore's files. All methods raise StorageUnreachable."""

    def __init__(self, bucket: Bucket, url_life_s: int = 0) -> None:
        """url_life_s: for how many seconds the addresses are good that `path` gives away; 0: it gives none."""
        self.where = f"The bucket {bucket.url}"
        self._bucket, self._url_life_s = bucket, url_life_s
        self._notes = BucketNotes(bucket, INCOMING)

    def set_up(self) -> None:
        """Mark the prefix as the library's. Raises: CapabilityMissing (the bucket lets two create one object)."""
        self._bucket.put(MARK, MARK_TEXT.encode())
        if self._bucket.create(MARK, b""):
            self._bucket.delete(MARK)
            raise CapabilityMissing(f"{self.where} overwrites what it is told to create only (If-None-Match: *).")

    def is_set_up(self) -> bool:
        return self._bucket.head(MARK) is not None

    def check_mounted(self) -> None:
        """Raises: StorageMissing."""
        if not self.is_set_up():
            raise StorageMissing(f"{self.where} has no mark {MARK} of a library. Nothing was changed.")

    def save(self, sha256: str, data: bytes) -> None:
        """One request, which the bucket answers when the object is durable."""
        self._bucket.put(checked_path(sha256), data)

    def link(self, sha256: str, original: Path) -> None:
        """Raises: CapabilityMissing, for other machines do not see the file."""
        raise CapabilityMissing(
            "A library whose originals are in a bucket copies them: import without --in-place."
        )

    def linked(self, sha256: str) -> Path | None:
        return None

    def has(self, sha256: str) -> bool:
        return self._bucket.head(checked_path(sha256)) is not None

    has_copy = holds = has

    def open(self, sha256: str) -> BinaryIO:
        """The whole of it is read at once. Raises: FileNotStored."""
        data = self._bucket.get(checked_path(sha256))
        if data is None:
            raise _missing()
        return io.BytesIO(data)

    def path(self, sha256: str) -> RemoteFile:
        """Raises: FileNotStored."""
        name = checked_path(sha256)
        found = self._bucket.head(name)
        if found is None:
            raise _missing()
        url = self._bucket.signed_url(name, self._url_life_s) if self._url_life_s else None
        return RemoteFile(found["size"], url, partial(self._bucket.read, name))

    def delete(self, sha256: str) -> None:
        self._bucket.delete(checked_path(sha256))

    def noted(self, sha256: str, *, deleting: bool = False) -> AbstractContextManager[None]:
        """As in PhotoStore, with the bounds told in bucket_notes."""
        checked_path(sha256)
        return self._notes.hold(sha256, lambda: not deleting and self.holds(sha256))

    def is_noted(self, sha256: str) -> bool:
        checked_path(sha256)
        return self._notes.is_noted(sha256)

    def left_notes(self) -> list[str]:
        return self._notes.left()

    def remove_leftovers(self) -> int:
        """Objects are whole or not there, so there is nothing but notes of what stays anyway."""
        return self._notes.remove_kept()


def _missing() -> FileNotStored:
    return FileNotStored("The original of this photo is missing from the bucket.")
