"""Uploads and deletions that die at one point after another: python dying_library.py FOLDER POINT…

Fault injection: the real flows on a real disk and database, one of whose functions is followed or preceded by
os._exit, which, like SIGKILL, runs no handler, closes nothing and flushes nothing. Each point has a process of
its own. The encoder is a small stand-in: it has no part in what is tested, and the real one would take most of the
time.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.dependencies import Models, assemble
from app.flows import ingest, photos
from app.flows.services import Services
from app.services.interfaces import Suggestion, Vectors
from app.services.model_choice import ModelChoice
from app.services.relevance import Relevance
from app.settings import Settings
from tests.conftest import picture_bytes
from tests.postgres import database_url

PHOTOS = 4  # uploaded at each point
DIED = 9

# Where the function lives, its name, and after how many calls to die; with a half, before the next one's work.
Point = tuple[Callable[[Services], Any], str, float]
POINTS: dict[str, Point] = {
    "noted": (lambda services: services.store, "save", 2.5),
    "written": (lambda _: os, "replace", 4.5),
    "renamed": (lambda services: services.store, "save", 3),
    "thumbnail written": (lambda _: os, "replace", 5.5),
    "thumbnail renamed": (lambda services: services.thumbnails, "make", 3),
    "committed": (lambda _: ingest, "_insert", 3),
    "indexed": (lambda services: services.live_index, "add", 3),
    "row deleted": (lambda _: photos, "remove_unused_file", 1.5),
    "file deleted": (lambda services: services.store, "delete", 2),
}


class StandIn:
    """Encoder and tagger: another vector for another picture, no tags."""

    space, dim, device, image_size, logit_scale = "stand-in", 16, "cpu", 32, 1.0

    def fitted(self, image: Image.Image) -> Image.Image:
        return image

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        return np.stack([self._vector(image.tobytes()) for image in images])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(text.encode()) for text in texts])

    def suggest(self, vectors: Vectors) -> list[Suggestion]:
        return [Suggestion((), None, None) for _ in vectors]

    def _vector(self, data: bytes) -> Vectors:
        seed = int.from_bytes(hashlib.sha256(data).digest()[:8])
        vector = np.random.default_rng(seed).normal(size=self.dim).astype(np.float32)
        return vector / np.linalg.norm(vector)


def open_library(folder: Path) -> Services:
    """As at a start, which mends what the process before left."""
    settings = Settings(database_url=database_url(folder), uploads_dir=folder / "uploads")
    model = StandIn()
    choice = ModelChoice(space=model.space, clip=None, reason="stand-in")
    return assemble(settings, Models(choice, model, model, Relevance(model, ["a dog", "a cat"]), transcriber=None))


def pictures(point: str) -> list[bytes]:
    colour = list(POINTS).index(point)
    return [picture_bytes(Image.new("RGB", (40, 40), (colour, number, 0)), "PNG") for number in range(PHOTOS)]


def dying(function: Callable[..., Any], calls: float) -> Callable[..., Any]:
    """The function, until the process ends before or after its work."""
    made = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal made
        made += 1
        if made > calls:
            os._exit(DIED)
        result = function(*args, **kwargs)
        if made == calls:
            os._exit(DIED)
        return result

    return call


def work_until_death(folder: Path, point: str) -> None:
    """Says `added SHA256` and `deleting SHA256` for each photo, as far as it comes."""
    services = open_library(folder)
    place, name, calls = POINTS[point]
    setattr(place(services), name, dying(getattr(place(services), name), calls))
    for data in pictures(point):
        photo = ingest.add_item(services, ingest.NewItem(data)).photo
        say("added", photo.sha256)
        if photo.id and photo.id % 2:
            say("deleting", photo.sha256)
            photos.delete_photo(services, photo.id)


def say(word: str, sha256: str | None) -> None:
    os.write(sys.stdout.fileno(), f"{word} {sha256}\n".encode())


def main() -> None:
    for point in sys.argv[2:]:
        child = os.fork()
        if child == 0:
            work_until_death(Path(sys.argv[1]), point)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED, point


if __name__ == "__main__":
    main()
