"""Small WebP pictures, made at upload or when first asked for, and kept on disk; never needed for good."""

import io
from pathlib import Path

from PIL import Image

from app.services.decode import ImageDecoder
from app.services.interfaces import PhotoStore, SharedFiles
from app.services.keyed_lock import KeyedLock
from app.services.photo_store import INCOMING, remove_leftovers, write_whole

THUMBNAILS = ".thumbnails"  # their folder below the uploads folder; safe to delete
SIZES = (160, 320, 640, 1280)  # px of the longer side
GRID_SIZE = 320  # what a page of results shows
WEBP_QUALITY = 80
WEBP_METHOD = 2  # half the time of the default 4, for files 3 % larger


class Thumbnailer:
    """Thumbnails of stored originals in `folder`, named by the original's SHA-256 and the size.

    With `shared` they lie there too, for other machines, and the folder only spares the way there.
    """

    def __init__(
        self, folder: Path, store: PhotoStore, decoder: ImageDecoder, shared: SharedFiles | None = None
    ) -> None:
        self._folder = folder
        self._shared = shared
        self._store = store
        self._decoder = decoder
        self._locks = KeyedLock()

    def path(self, sha256: str, size: int) -> Path:
        """The thumbnail's file, made if it is not there: once, however many ask for it at the same time.

        Raises: FileNotStored, BrokenMedia, OSError.
        """
        target = self._target(sha256, size)
        if target.is_file():
            return target
        with self._locks(target.name):
            if not target.is_file():
                if self._shared and (data := self._shared.get(self._shared_name(target))):
                    self._write(target, data)
                else:
                    with self._store.open(sha256) as original:
                        decoded = self._decoder.decode(original.read(), at_least=size)
                    self._save(target, decoded.image, size)
        return target

    def make(self, sha256: str, image: Image.Image, size: int = GRID_SIZE) -> None:
        """From pixels that are at hand, so that the original is not decoded once more. Raises: OSError."""
        self._save(self._target(sha256, size), image, size)

    def _save(self, target: Path, image: Image.Image, size: int) -> None:
        data = _webp(image, size)
        self._write(target, data)
        if self._shared:
            self._shared.put(self._shared_name(target), data)

    def _write(self, target: Path, data: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, data, self._folder / INCOMING)

    def delete(self, sha256: str) -> None:
        for size in SIZES:
            target = self._target(sha256, size)
            target.unlink(missing_ok=True)
            if self._shared:
                self._shared.delete(self._shared_name(target))

    def _shared_name(self, target: Path) -> str:
        return f"{THUMBNAILS}/{target.relative_to(self._folder).as_posix()}"

    def remove_leftovers(self) -> int:
        """Delete what a killed process was writing; returns how many files."""
        return remove_leftovers(self._folder / INCOMING)

    def _target(self, sha256: str, size: int) -> Path:
        return self._folder / sha256[:2] / f"{sha256}-{size}.webp"


def _webp(image: Image.Image, size: int) -> bytes:
    small = image.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=WEBP_QUALITY, method=WEBP_METHOD)
    return buffer.getvalue()
