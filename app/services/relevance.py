"""How likely is it that a photo is what was asked for?

A fixed cosine does not say: it depends on the model, and some photos are near to any caption. So a query is
compared with what other captions reach on the same photo. Their cosines have a mean and a spread there, both of
which follow from the captions' mean and covariance; how many spreads the query lies above the mean is a number
without a scale, and a logistic function makes a probability of it (score normalisation: Auckenthaler et al. 2000;
against hubs in cross-modal search: Bogolin et al. 2022). Two pictures are compared by their cosine without what
pictures of nothing have in common with all pictures. benchmarks/bench_relevance.py found the constants, with the
embedded model; no other model's were measured.
"""

import hashlib
import json
import math
import threading
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.services.interfaces import ImageTextEncoder, Vectors
from app.services.tagger import FLAT_GREYS, NOISE_SIZES_PX, encoded_texts, nothing_pictures
from app.services.vector_cache import Tensors, kept

MATCH = 0.5  # from here on a photo is called a match

PROMPTS = ("a photo of {} with {}", "{} next to {}")
STEP = 2  # every second phrase gives a caption; twice as many captions measure the same
PARTNER = 100  # so many rows of the vocabulary on is a thing of another kind
RANK = 64  # directions kept of the captions' spread; all 512 measure 0.001 better and cost ten times as much
SMALLEST = 1e-6  # spread, so that nothing is divided by 0

Probabilities = NDArray[np.float32]


class QueryForm(StrEnum):
    WORDS = "words"
    PICTURE = "picture"  # also where a picture is only a part of the question


# Probability = logistic(slope · (evidence − middle))
SLOPE = {QueryForm.WORDS: 1.9, QueryForm.PICTURE: 9.3}
MIDDLE = {QueryForm.WORDS: 2.7, QueryForm.PICTURE: 0.55}


class Relevance:
    """Probabilities in one encoder's space; safe for any number of threads."""

    def __init__(self, encoder: ImageTextEncoder, phrases: Sequence[str], cache_dir: Path | None = None) -> None:
        """`phrases` name things ("a dog"), similar ones near to each other; captions are made of pairs of them."""
        self._encoder, self._cache_dir = encoder, cache_dir
        self._captions = background_captions(phrases)
        self._lock = threading.Lock()
        self._loaded: Tensors | None = None

    @property
    def background(self) -> Tensors:
        """`mean` (1, dim) and `spread` (RANK or less, dim) of captions, `blank` (1, dim) of pictures of nothing.

        Encoded once, or read from a file. Raises: EncoderFailed.
        """
        with self._lock:
            if self._loaded is None:
                name, check = background_file(self._encoder, self._captions), partial(_checked, self._encoder.dim)
                encode = partial(encode_background, self._encoder, self._captions)
                self._loaded = kept(name, self._cache_dir, check, encode)
            return self._loaded

    def of(self, query: Vectors, photos: Vectors, form: QueryForm = QueryForm.WORDS) -> Probabilities:
        """(n,) probabilities 0..1 that a photo is what was asked for, from (dim,) and (n, dim) unit vectors."""
        evidence = self.evidence(query, photos, form)
        found: Probabilities = 1 / (1 + np.exp(-SLOPE[form] * (evidence - MIDDLE[form]), dtype=np.float32))
        return found

    def kept_after(self, photos: Vectors, unwanted: Vectors, form: QueryForm = QueryForm.WORDS) -> Probabilities:
        """(n,) factors 0..1 for scores: how likely it is that a photo does not show the unwanted (dim,)."""
        return 1 - self.of(unwanted, photos, form)

    def evidence(self, query: Vectors, photos: Vectors, form: QueryForm) -> Vectors:
        """(n,) numbers that the probabilities follow from.

        For words by how many spreads the query lies above what captions reach on a photo on average; for a picture
        the cosine without what all pictures have in common.
        """
        background = self.background
        if form is QueryForm.PICTURE:
            return _cosines(query, photos, without=background["blank"])
        spread = np.linalg.norm(photos @ background["spread"].T, axis=1)
        above: Vectors = photos @ (query - background["mean"][0]) / np.maximum(spread, SMALLEST)
        return above

    def likeness_of_texts(self, query: Vectors, texts: Vectors) -> Vectors:
        """(n,) cosines of (dim,) words with (n, dim) other words, without what all captions have in common.

        So 0 means that they have nothing to do with each other, in any model.
        """
        return _cosines(query, texts, without=self.background["mean"])


def background_captions(phrases: Sequence[str]) -> list[str]:
    """Captions of two things that have nothing to do with each other."""
    rows = range(0, len(phrases), STEP)
    partners = [phrases[(row + PARTNER * (1 + i % 2)) % len(phrases)] for i, row in enumerate(rows)]
    return [PROMPTS[i % 2].format(phrases[row], partners[i]) for i, row in enumerate(rows)]


def encode_background(encoder: ImageTextEncoder, captions: Sequence[str]) -> Tensors:
    """See Relevance.background; `spread`'s transpose times itself is nearly the captions' covariance."""
    vectors = encoded_texts(encoder, captions)
    mean = vectors.mean(axis=0, keepdims=True)
    _, deviations, directions = np.linalg.svd((vectors - mean) / math.sqrt(len(vectors)), full_matrices=False)
    blank = encoder.encode_images(nothing_pictures()).mean(axis=0, keepdims=True)
    return {"mean": mean, "spread": deviations[:RANK, None] * directions[:RANK], "blank": blank}


def background_file(encoder: ImageTextEncoder, captions: Sequence[str]) -> str:
    """A name that changes with everything the background is made of."""
    made_of = [encoder.space, encoder.dim, RANK, list(captions), NOISE_SIZES_PX, FLAT_GREYS]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"background-{digest[:32]}.safetensors"


def _checked(dim: int, tensors: Tensors) -> Tensors:
    """The same tensors if they are what encode_background makes. Raises: ValueError."""
    rows = {name: len(vectors) for name, vectors in tensors.items()}
    if rows.keys() != {"mean", "spread", "blank"} or (rows["mean"], rows["blank"]) != (1, 1):
        raise ValueError("it holds other tensors than expected")
    for vectors in tensors.values():
        if vectors.dtype != np.float32 or vectors.shape[1:] != (dim,) or not np.isfinite(vectors).all():
            raise ValueError("its tensors are not finite, or of another type or width than expected")
    return tensors


def _cosines(query: Vectors, others: Vectors, without: Vectors) -> Vectors:
    """(n,) cosines of (dim,) and (n, dim) unit vectors once (1, dim) is taken from each, without making copies."""
    common = without[0]
    towards = query - common
    towards /= max(float(np.linalg.norm(towards)), SMALLEST)
    squares = 1 - 2 * (others @ common) + common @ common  # of the lengths that are left
    cosines: Vectors = (others @ towards - common @ towards) / np.sqrt(np.maximum(squares, SMALLEST))
    return cosines
