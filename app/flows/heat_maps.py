"""Why a photo matched the words: a picture of where they are seen in it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from app.errors import FileNotStored, Overloaded
from app.flows.photos import get_photo
from app.flows.services import Services
from app.services.heat_map import as_png, heat_of, overlay, painted, windows
from app.services.interfaces import Scores
from app.services.thumbnails import SIZES
from app.telemetry import StepTimer

LOOKED_AT = 640  # px of the thumbnail that is cut into windows
AT_ONCE = 2  # heat maps in work; each is 36 pictures for the encoder
WAIT_S = 5.0  # for one's turn


@dataclass(frozen=True)
class HeatMapRequest:
    """All that a heat map depends on; size is the longest that its longer side may be, in px."""

    sha256: str  # of the photo's original
    space: str
    text: str
    size: int
    only_colours: bool

    @property
    def name(self) -> str:
        """Another one for every other heat map."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def ask(services: Services, photo_id: int, text: str, size: int, *, only_colours: bool) -> HeatMapRequest:
    """Raises: PhotoNotFound, FileNotStored (a text-only item)."""
    with services.database.read() as session:
        sha256 = get_photo(session, photo_id, services.owner).sha256
    if sha256 is None:
        raise FileNotStored(f"Photo {photo_id} is a text-only item: there is nothing to see in it.")
    return HeatMapRequest(sha256, services.encoder.space, text, size, only_colours)


def draw(services: Services, request: HeatMapRequest) -> bytes:
    """A PNG: the photo in grey under the colours, or the colours alone, clear where it is cold.

    Raises: FileNotStored, BrokenMedia, StorageMissing, Overloaded, EncoderFailed.
    """
    timer = StepTimer(services.telemetry)
    with timer("thumbnail"):
        photo = _thumbnail(services, request.sha256, next(size for size in SIZES if size >= request.size))
        photo.thumbnail((request.size, request.size))
        looked_at = _thumbnail(services, request.sha256, LOOKED_AT)
    parts = [looked_at.crop(box) for box in windows(*looked_at.size)]
    with _turn(services), timer("encode"):
        cosines = _cosines(services, parts, request.text)
    with timer("draw"):
        heat = heat_of(cosines)
        return as_png(overlay(heat, *photo.size) if request.only_colours else painted(photo, heat))


def _thumbnail(services: Services, sha256: str, size: int) -> Image.Image:
    with Image.open(services.thumbnails.path(sha256, size)) as file:
        return file.convert("RGB")


@contextmanager
def _turn(services: Services) -> Iterator[None]:
    """Raises: Overloaded."""
    if not services.heat_map_slots.acquire(timeout=WAIT_S):
        raise Overloaded("Too many heat maps are asked for; try again in a second.")
    try:
        yield
    finally:
        services.heat_map_slots.release()


def _cosines(services: Services, pictures: Sequence[Image.Image], text: str) -> Scores:
    """One batch after the other, so that a photo that comes meanwhile need not wait for all of them."""
    words = services.encoder.encode_texts([text])[0]
    size = services.settings.encode_batch_size
    parts = [services.encoder.encode_images(pictures[i : i + size]) @ words for i in range(0, len(pictures), size)]
    return np.concatenate(parts)
