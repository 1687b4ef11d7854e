"""Photos with five captions each, as vectors, and what the captions say that they show.

Concepts are those of the tag vocabulary; one is said by its tag, its plural or a word of bench_tags.SYNONYMS, and
with a narrower concept the broader ones are said, too. Captions leave things out, so a photo shows more than is
said of it: all numbers that rest on this judgement are a little too low.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.dependencies import VOCABULARY
from app.services.interfaces import ImageTextEncoder, Vectors
from app.services.relevance import Relevance
from app.services.tagger import Concept, closure, encoded_texts, read_vocabulary
from benchmarks.bench_tags import Flags, encode, plain_words, right_tags
from benchmarks.photo_folder import FOLDER

CAPTIONS = 5  # of each photo

Grades = NDArray[np.float32]


@dataclass(frozen=True)
class CaptionedPhotos:
    """n photos, each with its CAPTIONS captions in order: caption i is one of photo i // CAPTIONS."""

    paths: list[Path]
    captions: list[str]
    vectors: Vectors  # (n, dim)
    texts: Vectors  # (n · CAPTIONS, dim)
    concepts: list[Concept]
    said: Flags  # (n · CAPTIONS, concepts)

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def shows(self) -> Flags:
        """(n, concepts): one of its captions says so."""
        return np.asarray(self.said.reshape(len(self), CAPTIONS, -1).any(axis=1))

    @cached_property
    def grades(self) -> Grades:
        """(n · CAPTIONS, n): the share of a caption's narrowest concepts that a photo shows; its own: 1."""
        within = closure(self.concepts)
        found = np.zeros((len(self.said), len(self)), np.float32)
        for row, said in enumerate(self.said):
            mentioned = np.flatnonzero(said)
            narrowest = [i for i in mentioned if within[mentioned, i].sum() == 1]
            found[row] = self.shows[:, narrowest].mean(axis=1) if narrowest else 0
            found[row, row // CAPTIONS] = 1
        return found

    def concept(self, tag: str) -> int:
        return [concept.tag for concept in self.concepts].index(tag)


def load(encoder: ImageTextEncoder, folder: Path = FOLDER) -> CaptionedPhotos:
    """Needs images/ and captions.csv in the folder. Raises: OSError, EncoderFailed."""
    captions: dict[str, list[str]] = defaultdict(list)
    with (folder / "captions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            captions[row["image_filename"]].append(" ".join(row["caption"].split()))
    paths = [folder / "images" / name for name in sorted(captions)]
    texts = [caption for path in paths for caption in captions[path.name]]
    concepts = read_vocabulary(VOCABULARY)
    return CaptionedPhotos(
        paths=paths,
        captions=texts,
        vectors=encode(encoder, paths),
        texts=encoded_texts(encoder, texts),
        concepts=concepts,
        said=right_tags(concepts, [plain_words(text) for text in texts]),
    )


def relevance_of(encoder: ImageTextEncoder, concepts: Sequence[Concept]) -> Relevance:
    return Relevance(encoder, [concept.phrase for concept in concepts])


def interval(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Mean, and the 95 % interval of the mean over 2000 bootstrap samples."""
    kept = np.asarray(values, float)
    random = np.random.default_rng(0)
    means = kept[random.integers(0, len(kept), (2000, len(kept)))].mean(axis=1)
    return [round(float(x), 3) for x in (kept.mean(), *np.percentile(means, [2.5, 97.5]))]
