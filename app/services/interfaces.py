"""What the flows need from a service, and nothing more. Concrete classes are named in app/dependencies.py."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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

    def fitted(self, image: Image.Image) -> Image.Image:
        """Scaled and cut as encode_images does it first, for whoever wants that done in another thread.

        Its vector is that of the whole picture.
        """
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Unit vectors, float32, (len(images), dim), for upright RGB pictures. Raises: EncoderFailed."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, (len(texts), dim). Raises: EncoderFailed."""
        ...


class TextVectors(Protocol):
    """(dim,) vectors of texts that other processes may have encoded already. Nothing raises."""

    def get(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Those that are known."""
        ...

    def put(self, vectors: Mapping[str, Vectors]) -> None: ...

    def close(self) -> None: ...


class VectorIndex(Protocol):
    """Unit vectors by id; safe for any number of threads."""

    dim: int
    kind: str
    durable: bool  # whether what it holds is kept when the process ends

    def add(self, ids: Sequence[int] | Ids, vectors: Vectors) -> None:
        """Raises ValueError, and adds nothing, if a row is not unit, finite and new."""
        ...

    def remove(self, ids: Sequence[int] | Ids) -> None:
        """Ids that are not there are passed over."""
        ...

    def search(
        self, vectors: Vectors, k: int, allowed_ids: Sequence[int] | Ids | None = None
    ) -> tuple[Ids, Scores]:
        """Top k by cosine for each query, best first: two (n, min(k, available)) arrays, no padding."""
        ...

    def ids(self) -> Ids:
        """All ids, in no order."""
        ...

    def some_ids(self, count: int) -> Ids:
        """As many ids as asked for, or as there are, from all over the index."""
        ...

    def vector(self, photo_id: int) -> Vectors | None:
        """One (dim,) vector, or None if the id is not there."""
        ...

    def vectors(self, ids: Sequence[int] | Ids) -> tuple[Ids, Vectors]:
        """(n,) those of the ids that are there, in order, and their (n, dim) vectors."""
        ...

    def holds(self, ids: Ids, vectors: Vectors) -> NDArray[np.bool_]:
        """(n,) bool: whether the index has this id with this vector, for (n,) ids and (n, dim) vectors."""
        ...

    def reserve(self, size: int) -> None:
        """Room for so many vectors in all."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Of the vectors and what is searched beside them."""
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


class SharedFiles(Protocol):
    """Small files that several machines have in common. All methods raise StorageUnreachable."""

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, data: bytes) -> None: ...

    def delete(self, name: str) -> None: ...


@dataclass(frozen=True)
class RemoteFile:
    """What lies on no disk of this machine; `url` is where its bytes can be had directly, for a short while."""

    size: int  # bytes
    url: str | None
    read: Callable[[int, int], Iterator[bytes]]  # from one byte up to, and without, another


class PhotoStore(Protocol):
    """Originals by the SHA-256 of their bytes (64 lower-case hex digits)."""

    where: str  # in words, for people

    def set_up(self) -> None:
        """Mark the place as the library's."""
        ...

    def is_set_up(self) -> bool: ...

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

    def path(self, sha256: str) -> Path | RemoteFile:
        """Where the original lies: on this machine, or elsewhere. Raises: FileNotStored, StorageMissing."""
        ...

    def holds(self, sha256: str) -> bool:
        """Also by a link whose target is gone."""
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

    def remove_leftovers(self) -> int:
        """Delete what a killed process was writing; returns how many files. Notes of originals stay."""
        ...
