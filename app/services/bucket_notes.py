"""Who works on an original, among all processes that share a bucket, and what those who died left half done.

A note is an object `<sha256>/<number>` that only one process can create. Its holder writes it anew every RENEW_S;
a note that has not been written for LEASE_S is nobody's any more, and whoever creates the next number has taken it
over. A bucket knows no other lock: a process that stands still for longer than LEASE_S while it stores or deletes
is taken for dead, and is told so afterwards. All times are by the bucket's clock.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from app.errors import StorageUnreachable
from app.services.bucket import Bucket
from app.services.keyed_lock import KeyedLock

if TYPE_CHECKING:
    from obstore import ObjectMeta

logger = logging.getLogger(__name__)

LEASE_S = 30.0
RENEW_S = 10.0
POLL_S = 0.5
# What is in a note; a listing tells them apart by their lengths.
LEFT = b""  # its block has failed: the rows say whether the original is to stay
HELD = b"held"
KEPT = b"held, and the original was there before"


class BucketNotes:
    """Notes below `folder` of a bucket; all methods raise StorageUnreachable."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket, self._folder = bucket, folder
        self._locks = KeyedLock()  # among threads no bucket needs to be asked

    @contextmanager
    def hold(self, sha256: str, is_to_stay: Callable[[], bool]) -> Iterator[None]:
        """Waits for its turn. If the block raises, a note stays behind unless the original is to stay."""
        with self._locks(sha256):
            lease, keep = self._taken(sha256), False
            try:
                if keep := is_to_stay():
                    lease.write(KEPT)
                yield
                keep = True
            finally:
                lease.end(leave_note=not keep)

    def is_noted(self, sha256: str) -> bool:
        return bool(self._of(sha256))

    def left(self) -> list[str]:
        """The originals whose last note is nobody's, and does not say that they are to stay."""
        return [sha256 for sha256, note in self._last_ones() if note["size"] != len(KEPT) and self._is_free(note)]

    def remove_kept(self) -> int:
        """Delete notes of the dead about originals that are to stay; returns how many."""
        old = [note for _, note in self._last_ones() if note["size"] == len(KEPT) and self._is_free(note)]
        for note in old:
            self._bucket.delete(note["path"])
        return len(old)

    def _taken(self, sha256: str) -> "_Lease":
        while True:
            notes = self._of(sha256)
            if not notes or self._is_free(notes[-1]):
                number = int(notes[-1]["path"].rpartition("/")[2]) + 1 if notes else 0
                lease = _Lease(self._bucket, f"{self._folder}/{sha256}/{number:06}", [n["path"] for n in notes])
                if lease.begin():
                    return lease
            else:
                time.sleep(POLL_S)

    def _of(self, sha256: str) -> "list[ObjectMeta]":
        """In the order of their numbers."""
        notes = self._bucket.listing(f"{self._folder}/{sha256}")
        return sorted(notes, key=lambda note: note["path"])

    def _last_ones(self) -> "Iterator[tuple[str, ObjectMeta]]":
        notes = sorted(self._bucket.listing(self._folder), key=lambda note: note["path"])
        for sha256, same in groupby(notes, key=lambda note: note["path"].split("/")[-2]):
            yield sha256, list(same)[-1]

    def _is_free(self, note: "ObjectMeta") -> bool:
        if note["size"] == len(LEFT):
            return True
        clock = f"{self._folder}-clock"
        self._bucket.put(clock, b"")
        now = self._bucket.head(clock)
        return now is not None and (now["last_modified"] - note["last_modified"]).total_seconds() > LEASE_S


class _Lease:
    """One note, and a thread that writes it anew while it is held; `before` are the notes that it takes over."""

    def __init__(self, bucket: Bucket, name: str, before: list[str]) -> None:
        self._bucket, self._name, self._before = bucket, name, before
        self._content, self._written = HELD, 0.0  # monotonic s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="bucket-note", daemon=True)

    def begin(self) -> bool:
        """False: another process was faster."""
        self._written = time.monotonic()
        if not self._bucket.create(self._name, HELD):
            return False
        self._thread.start()
        return True

    def write(self, content: bytes) -> None:
        self._content, begun = content, time.monotonic()
        self._bucket.put(self._name, content)
        self._written = begun

    def end(self, *, leave_note: bool) -> None:
        """Raises: StorageUnreachable, also if another process may have taken over meanwhile."""
        self._ended.set()
        self._thread.join()
        if time.monotonic() - self._written > LEASE_S:
            raise StorageUnreachable("Storing took so long that it is not certain any more; try again.")
        if leave_note:
            self._bucket.put(self._name, LEFT)
            return
        for name in (*self._before, self._name):
            self._bucket.delete(name)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            try:
                self.write(self._content)
            except StorageUnreachable as error:
                logger.warning("a note could not be renewed: %s", error.detail)
