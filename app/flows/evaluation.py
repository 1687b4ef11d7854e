"""How well photos are found by their captions: each caption asks for the one photo that it was written for."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from app.errors import AppError, InvalidRequest
from app.flows.ingest import NewItem, add_item
from app.flows.item_lists import read_csv
from app.flows.search import Scope, search_text
from app.flows.services import OVERSAMPLING, Services
from app.schemas import plain_text
from app.services.decode import ImageDecoder
from app.services.interfaces import Ids, ImageTextEncoder, Vectors
from app.services.retrieval_metrics import Estimate, Ranks, differences, estimates, ranks_by_score

ENCODED_AT_ONCE = 16
COMPARED_AT_ONCE = 1000  # captions, with all photos
WORKERS = 4  # photos taken in, and searches made, at the same time
JUDGED_BY = "ndcg@10"  # of the metrics the one that uses most of what a page of results shows

Tick = Callable[[], None]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Questions:
    """Captions, and for each of them the number of its photo among `photos`, which are names of files."""

    folder: Path
    photos: Sequence[str]
    captions: Sequence[str]
    right: Ids  # (captions,)

    @property
    def sha256(self) -> str:
        """The same for the same captions of photos of the same names, in the same order."""
        asked = [[self.photos[i], caption] for i, caption in zip(self.right, self.captions, strict=True)]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def read(self, photo: str) -> bytes:
        """Raises: OSError."""
        return (self.folder / photo).read_bytes()


@dataclass(frozen=True)
class Evaluation:
    """At which ranks a model found the right photos; `through` its vectors alone, or the whole search."""

    model: str
    through: str
    ranks: Ranks  # (captions,)


def read_questions(source: Path, folder: Path | None = None) -> Questions:
    """A CSV file with the columns image_filename and caption, whose photos lie in `folder`.

    Without `folder` they lie in a folder `images` beside the file, or beside the file itself.
    Raises: InvalidRequest (a row that is not whole, photos that are not there), OSError.
    """
    photos: dict[str, int] = {}
    captions, right = [], []
    for line, row in read_csv(source):
        fields = {} if isinstance(row, str) else row
        photo, caption = plain_text(fields.get("image_filename")), plain_text(fields.get("caption"))
        if not (photo and caption):
            raise InvalidRequest(f"{source.name} line {line} has no image_filename, or no caption.")
        captions.append(caption)
        right.append(photos.setdefault(photo, len(photos)))
    if not captions:
        raise InvalidRequest(f"{source.name} has no captions.")
    images = source.parent / "images"
    folder = folder or (images if images.is_dir() else source.parent)
    missing = [photo for photo in photos if not (folder / photo).is_file()]
    if missing:
        raise InvalidRequest(f"{len(missing)} of {len(photos)} photos are not in {folder}, one is {missing[0]}.")
    return Questions(folder, list(photos), captions, np.array(right))


def ask_vectors(encoder: ImageTextEncoder, decoder: ImageDecoder, questions: Questions, tick: Tick) -> Ranks:
    """By cosine alone. `tick` is called once for each photo and each caption.

    Raises: InvalidRequest (a photo that cannot be decoded), EncoderFailed, OSError.
    """

    def picture(photo: str) -> Image.Image:
        with _told_of(photo):
            return decoder.decode(questions.read(photo), at_least=OVERSAMPLING * encoder.image_size).image

    images = _encoded(
        lambda photos: encoder.encode_images([picture(photo) for photo in photos]), questions.photos, tick
    )
    texts = _encoded(encoder.encode_texts, questions.captions, tick)
    parts = range(0, len(texts), COMPARED_AT_ONCE)
    return np.concatenate(
        [
            ranks_by_score(texts[i : i + COMPARED_AT_ONCE] @ images.T, questions.right[i : i + COMPARED_AT_ONCE])
            for i in parts
        ]
    )


def _encoded(encode: Callable[[Sequence[Thing]], Vectors], things: Sequence[Thing], tick: Tick) -> Vectors:
    parts = []
    for i in range(0, len(things), ENCODED_AT_ONCE):
        parts.append(encode(things[i : i + ENCODED_AT_ONCE]))
        for _ in parts[-1]:
            tick()
    return np.concatenate(parts)


def ask_search(services: Services, questions: Questions, tick: Tick) -> Ranks:
    """By taking the photos into this library, which is empty, and searching it. See ask_vectors."""

    def take_in(photo: str) -> int | None:
        with _told_of(photo):
            added = add_item(services, NewItem(questions.read(photo), filename=Path(photo).name))
        tick()
        return added.photo.id

    def rank(caption: str, wanted: int | None) -> float:
        found = found_by(services, caption, most)
        tick()
        return found.index(wanted) + 1 if wanted in found else math.inf

    most = min(len(questions.photos), services.settings.max_results)
    with ThreadPoolExecutor(WORKERS) as pool:
        ids = list(pool.map(take_in, questions.photos))
        return np.array(list(pool.map(rank, questions.captions, [ids[i] for i in questions.right])))


def found_by(services: Services, caption: str, k: int) -> list[int | None]:
    """Ids of photos, best first, as the search gives them."""
    return [hit.photo.id for hit in search_text(services, caption, Scope(k=k)).results]


@contextmanager
def _told_of(photo: str) -> Iterator[None]:
    try:
        yield
    except AppError as error:
        raise InvalidRequest(f"{photo}: {error.detail}") from error


def report(evaluation: Evaluation, questions: Questions) -> dict[str, Any]:
    """An evaluation as JSON has it; a rank of null means that the photo was not among the results."""
    found = estimates(evaluation.ranks, questions.right)
    return {
        "model": evaluation.model,
        "through": evaluation.through,
        "photos": len(questions.photos),
        "captions": len(questions.captions),
        "questions_sha256": questions.sha256,
        "metrics": {name: _finite(asdict(estimate)) for name, estimate in found.items()},
        "ranks": [int(rank) if math.isfinite(rank) else None for rank in evaluation.ranks],
    }


def read_report(path: Path, questions: Questions) -> Evaluation:
    """What `report` gave for the same questions. Raises: InvalidRequest, OSError."""
    try:
        told = json.loads(path.read_text())
        same = told["questions_sha256"] == questions.sha256
        ranks = np.array([math.inf if rank is None else rank for rank in told["ranks"]], np.float64)
        evaluation = Evaluation(told["model"], told["through"], ranks)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{path.name} was not written by `recollect evaluate --json`.") from error
    if not same or len(ranks) != len(questions.captions):
        raise InvalidRequest(f"{path.name} is about other photos or captions; only the same ones can be compared.")
    return evaluation


def comparison(one: Evaluation, other: Evaluation, questions: Questions) -> dict[str, Any]:
    """`one` minus `other`, metric by metric, and which of them is better, as JSON has it."""
    found = differences(one.ranks, other.ranks, questions.right)
    return {
        "differences": {name: _finite(asdict(estimate)) for name, estimate in found.items()},
        "judged_by": JUDGED_BY,
        "better": better(found[JUDGED_BY]),
    }


def better(difference: Estimate) -> str | None:
    """`A` or `B`, when the interval of A − B, where more is better, lies on one side of zero; else None."""
    if difference.low > 0:
        return "A"
    return "B" if difference.high < 0 else None


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: a median rank of photos that were not found is null."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
