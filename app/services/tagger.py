"""Zero-shot tags: which words of a vocabulary does a picture's vector lie near, and how sure is that?

The probability of a concept is the softmax over the whole vocabulary of the encoder's own trained scale times
the cosine (Radford et al. 2021, section 3.1), so no number here belongs to one space. A broader tag (animal)
has its own share and that of all narrower ones (dog, cat, …): where the picture does not tell which animal it
is, `animal` is still sure and `dog` is not given (Deng et al. 2012, "Hedging your bets").
"""

import csv
import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.services.interfaces import ImageTextEncoder, Scores, Suggestion, Vectors
from app.services.vector_cache import kept

PROMPTS = ("a photo of {}", "there is {} in the picture")  # the best pair of nine templates tried
TEXTS_PER_BATCH = 64
MAX_CAPTION_CONCEPTS = 3

# A picture this near to noise or to an empty picture shows nothing. Of 153 photos the nearest has a cosine of
# 0.67, the second 0.58; noise of other sizes that would get a tag has more than 0.75 (embedded/compact-1).
NOTHING_COSINE = 0.75
NOISE_SIZES_PX = (16, 128, 256)
FLAT_GREYS = (0, 128, 255)
UNIT_TOLERANCE = 1e-3

Flags = NDArray[np.bool_]


class VocabularyRefused(ValueError):
    """The vocabulary file is missing something, says something twice, or names what it does not define."""


@dataclass(frozen=True)
class Concept:
    """One row of the vocabulary; `phrase` is the tag as it stands in a sentence, `broader` names other tags."""

    tag: str
    phrase: str
    category: str
    broader: tuple[str, ...]


class Tagger:
    """Suggests tags, a caption and a category for vectors of one encoder; safe for any number of threads."""

    def __init__(
        self,
        encoder: ImageTextEncoder,
        vocabulary: Path,
        *,
        min_probability: float,
        max_count: int,
        cache_dir: Path | None = None,
    ) -> None:
        """Reads the vocabulary; its vectors come with the first picture. Raises: VocabularyRefused, OSError."""
        self.concepts = read_vocabulary(vocabulary)
        self._min_probability, self._max_count = min_probability, max_count
        self._within = closure(self.concepts)
        self._encoder, self._cache_dir = encoder, cache_dir
        self._lock = threading.Lock()
        self._loaded: dict[str, Vectors] | None = None

    @property
    def anchors(self) -> dict[str, Vectors]:
        """Vectors of the `concepts` and of `nothing`, encoded once (some 800 short texts) or read from a file.

        Raises: EncoderFailed.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = _anchors(self._encoder, self.concepts, self._cache_dir)
            return self._loaded

    def suggest(self, vectors: Vectors) -> list[Suggestion]:
        """One suggestion for each row of (n, dim) unit vectors; an empty one where nothing is sure enough."""
        return [self._suggestion(row) for row in self.probabilities(vectors)]

    def probabilities(self, vectors: Vectors) -> Scores:
        """(n, concepts) float32, 0..1: how sure it is that the picture shows this concept or a narrower one.

        All 0 for a picture that is as good as noise or empty.
        """
        anchors = self.anchors
        own = softmax(self._encoder.logit_scale * (vectors @ anchors["concepts"].T))
        shows_nothing = (vectors @ anchors["nothing"].T).max(axis=1) >= NOTHING_COSINE
        own[shows_nothing] = 0
        return np.minimum(own @ self._within.astype(np.float32), 1, dtype=np.float32)

    def _suggestion(self, probabilities: Scores) -> Suggestion:
        kept = self._kept(probabilities)
        if not kept:
            return Suggestion(tags=(), caption=None, category=None)
        narrowest = [i for i in kept if not self._is_broader(i, kept)]
        return Suggestion(
            tags=tuple(self.concepts[i].tag for i in kept),
            caption=caption([self.concepts[i].phrase for i in narrowest[:MAX_CAPTION_CONCEPTS]]),
            category=self.concepts[kept[0]].category,
        )

    def _kept(self, probabilities: Scores) -> list[int]:
        """Concepts that are sure enough: the narrowest by probability, then what is broader, widest last."""
        if self._min_probability >= 1:
            return []
        # A picture of nothing has probability 0 throughout: no tag, even where the limit is 0.
        sure = [int(i) for i in np.flatnonzero((probabilities >= self._min_probability) & (probabilities > 0))]
        widths = {i: int(self._within[:, i].sum()) if self._is_broader(i, sure) else 0 for i in sure}
        return sorted(sure, key=lambda i: (widths[i], -probabilities[i]))[: self._max_count]

    def _is_broader(self, concept: int, others: Sequence[int]) -> bool:
        return any(self._within[other, concept] for other in others if other != concept)


def read_vocabulary(path: Path) -> list[Concept]:
    """Rows of a CSV file with the columns tag, phrase, category, broader (tags, separated by |; may be empty).

    Raises: VocabularyRefused, OSError.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        concepts = [
            Concept(row["tag"], row["phrase"], row["category"], tuple(filter(None, row["broader"].split("|"))))
            for row in rows
        ]
    except (KeyError, AttributeError, TypeError) as error:
        raise VocabularyRefused(f"{path.name} needs tag, phrase, category and broader in each row.") from error
    _check(concepts, path.name)
    return concepts


def _check(concepts: Sequence[Concept], name: str) -> None:
    tags = [concept.tag for concept in concepts]
    twice = {tag for tag in tags if tags.count(tag) > 1}
    unknown = {tag for concept in concepts for tag in concept.broader} - set(tags)
    empty = [c.tag for c in concepts if not (c.tag.strip() and c.phrase.strip() and c.category.strip())]
    if not tags or twice or unknown or empty:
        raise VocabularyRefused(
            f"{name}: {len(tags)} tags, twice {sorted(twice)}, broader but not defined {sorted(unknown)}, "
            f"without tag, phrase or category {empty}."
        )


def closure(concepts: Sequence[Concept]) -> Flags:
    """(n, n): [i, j] says that j is i, or broader than i at any distance.

    Raises: VocabularyRefused when a tag is broader than itself.
    """
    row = {concept.tag: i for i, concept in enumerate(concepts)}
    direct = np.zeros((len(concepts), len(concepts)), bool)
    for i, concept in enumerate(concepts):
        direct[i, [row[tag] for tag in concept.broader]] = True
    reach = direct
    while (further := reach | (reach @ direct)).sum() > reach.sum():
        reach = further
    if reach.diagonal().any():
        raise VocabularyRefused(f"Broader than itself: {concepts[int(reach.diagonal().argmax())].tag}.")
    return reach | np.eye(len(concepts), dtype=bool)


def caption(phrases: Sequence[str]) -> str:
    """The phrases as one sentence: "A photo of a dog, a ball and snow."."""
    *head, last = phrases
    return f"A photo of {', '.join(head)} and {last}." if head else f"A photo of {last}."


def softmax(logits: Scores) -> Scores:
    """Over each row of (n, m)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: Scores = powers / powers.sum(axis=1, keepdims=True)
    return normalised


def concept_vectors(encoder: ImageTextEncoder, phrases: Sequence[str]) -> Vectors:
    """(n, dim) unit vectors: for each phrase the normalised mean over PROMPTS (Radford et al. 2021, 3.1.4)."""
    texts = [prompt.format(phrase) for phrase in phrases for prompt in PROMPTS]
    mean = encoded_texts(encoder, texts).reshape(len(phrases), len(PROMPTS), -1).mean(axis=1)
    unit: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return unit


def encoded_texts(encoder: ImageTextEncoder, texts: Sequence[str]) -> Vectors:
    """(n, dim) unit vectors, some texts at a time."""
    batches = (texts[i : i + TEXTS_PER_BATCH] for i in range(0, len(texts), TEXTS_PER_BATCH))
    return np.concatenate([encoder.encode_texts(batch) for batch in batches])


def nothing_pictures() -> list[Image.Image]:
    """Examples of pictures that show nothing: noise, grey or in colour, from coarse to fine; faint noise; flat."""
    random = np.random.default_rng(0)
    grey = [random.integers(0, 256, (size, size), np.uint8) for size in NOISE_SIZES_PX]
    colour = [random.integers(0, 256, (size, size, 3), np.uint8) for size in NOISE_SIZES_PX]
    faint = [random.integers(112, 144, (size, size), np.uint8) for size in NOISE_SIZES_PX]
    flat = [np.full((256, 256), level, np.uint8) for level in FLAT_GREYS]
    return [Image.fromarray(pixels).convert("RGB") for pixels in [*grey, *colour, *faint, *flat]]


def _anchors(encoder: ImageTextEncoder, concepts: Sequence[Concept], folder: Path | None) -> dict[str, Vectors]:
    """`concepts` and `nothing`, both unit rows: shipped with the service, else from the cache, else encoded."""
    phrases = [concept.phrase for concept in concepts]
    shape = (len(phrases), encoder.dim)
    name, check = anchors_file(encoder, phrases), partial(_checked, concepts_shape=shape)
    return kept(name, folder, check, partial(encode_anchors, encoder, phrases))


def anchors_file(encoder: ImageTextEncoder, phrases: Sequence[str]) -> str:
    """A name that changes with everything the anchors are made of."""
    made_of = [encoder.space, encoder.dim, PROMPTS, phrases, NOISE_SIZES_PX, FLAT_GREYS]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"tags-{digest[:32]}.safetensors"


def encode_anchors(encoder: ImageTextEncoder, phrases: Sequence[str]) -> dict[str, Vectors]:
    return {"concepts": concept_vectors(encoder, phrases), "nothing": encoder.encode_images(nothing_pictures())}


def _checked(tensors: dict[str, Vectors], concepts_shape: tuple[int, int]) -> dict[str, Vectors]:
    """The same tensors if they are what _anchors makes. Raises: ValueError."""
    if set(tensors) != {"concepts", "nothing"} or tensors["concepts"].shape != concepts_shape:
        raise ValueError("it holds other tensors than expected")
    for vectors in tensors.values():
        if vectors.dtype != np.float32 or vectors.ndim != 2 or vectors.shape[1] != concepts_shape[1]:
            raise ValueError("its tensors have another type or width than expected")
        norms = np.linalg.norm(vectors, axis=1)
        if not (np.abs(norms - 1) < UNIT_TOLERANCE).all():  # NaN and infinity fail here too
            raise ValueError("its rows are not unit vectors")
    return tensors
