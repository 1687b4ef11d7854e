"""What the flows need from a service, and nothing more. Concrete classes are named in app/dependencies.py."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Vectors = NDArray[np.float32]  # (n, dim), unit rows
Ids = NDArray[np.int64]  # (n,) or (n, k)
Scores = NDArray[np.float32]  # cosine similarities, same shape as the ids
Samples16k = NDArray[np.float32]  # (n,) mono, 16 kHz, -1..1


class ImageTextEncoder(Protocol):
    """Puts pictures and words into one space, where cosine similarity is likeness of meaning."""

    space: str  # names model and weights, for instance "ViT-B-32/laion2b_s34b_b79k"
    dim: int
    device: str
    image_size: int  # px of the side to which pictures are scaled
    logit_scale: float  # the trained factor on cosines before a softmax (Radford et al. 2021, section 2.3)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Unit vectors, float32, (len(images), dim), for upright RGB pictures. Raises: EncoderFailed."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, (len(texts), dim). Raises: EncoderFailed."""
        ...


class VectorIndex(Protocol):
    """Unit vectors by id; safe for any number of threads."""

    def add(self, ids: Sequence[int] | Ids, vectors: Vectors) -> None:
        """Raises ValueError, and adds nothing, if a row is not unit, finite and new."""
        ...

    def remove(self, ids: Sequence[int] | Ids) -> None:
        """Ids that are not there are passed over."""
        ...

    def search(
        self, vectors: Vectors, k: int, allowed_ids: Sequence[int] | Ids | None = None
    ) -> tuple[Ids, Scores]:
        """Exact top k by cosine for each query, best first: two (n, min(k, available)) arrays, no padding."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, photo_id: int) -> bool: ...


class ImageTextMatcher(Protocol):
    """Looks at a picture and a text together; slow, and better than two vectors at telling whether they match."""

    name: str

    def probabilities(self, text: str, images: Sequence[Image.Image]) -> Scores:
        """(len(images),) float32, 0..1, for upright RGB pictures. Raises: EncoderFailed."""
        ...


class Reranker(Protocol):
    """An ImageTextMatcher that keeps to a time budget."""

    name: str

    def match(self, text: str, images: Sequence[Image.Image], deadline: float) -> Scores | None:
        """(len(images),) float32, 0..1; None if that takes longer than until `deadline` (s, time.monotonic()).

        Raises: EncoderFailed.
        """
        ...


@dataclass(frozen=True)
class Transcript:
    """What was heard. Probabilities are 0..1."""

    text: str
    language: str
    no_speech_prob: float
    ms: float


class Transcriber(Protocol):
    model: str

    def transcribe(self, samples: Samples16k) -> Transcript:
        """Raises: NoSpeech for silence, noise and music without words; EncoderFailed."""
        ...


class TextRecogniser(Protocol):
    def read_text(self, image: Image.Image) -> str:
        """What is written in an RGB picture, a line each, top to bottom; '' if nothing is."""
        ...


@dataclass(frozen=True)
class Suggestion:
    """What the machine saw: kept apart from what the owner wrote."""

    tags: tuple[str, ...]
    caption: str | None
    category: str | None


class PhotoStore(Protocol):
    """Originals by the SHA-256 of their bytes (64 lower-case hex digits)."""

    def save(self, sha256: str, data: bytes) -> None:
        """On disk, whole and durable when this returns; saving twice is the same as once.

        Raises: StorageFull, StorageMissing.
        """
        ...

    def link(self, sha256: str, original: Path) -> None:
        """Like save, for a file that stays where it is and is read from there. Raises: StorageFull, OSError."""
        ...

    def linked(self, sha256: str) -> Path | None:
        """The file outside that stands for the original; None if that is a copy."""
        ...

    def has(self, sha256: str) -> bool:
        """Whether the original can be read."""
        ...

    def has_copy(self, sha256: str) -> bool:
        """Whether the original lies in the store itself, safe from what happens to files outside."""
        ...

    def check_mounted(self) -> None:
        """Raises: StorageMissing."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """Raises: FileNotStored, StorageMissing."""
        ...

    def path(self, sha256: str) -> Path:
        """Where the original lies on this machine. Raises: FileNotStored, StorageMissing."""
        ...

    def delete(self, sha256: str) -> None:
        """Nothing happens if it is not there."""
        ...

    def noted(self, sha256: str, *, deleting: bool = False) -> AbstractContextManager[None]:
        """Alone with one original, among all processes, while its file and its rows may disagree.

        If the block raises, or the process dies in it, a note stays, unless the original was there before and not
        `deleting`. Raises: StorageFull, StorageMissing.
        """
        ...

    def is_noted(self, sha256: str) -> bool: ...

    def left_notes(self) -> list[str]:
        """The originals whose notes nobody holds any more: their rows say whether they are to stay."""
        ...
