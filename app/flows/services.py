"""What the flows work with, in one frozen bundle; app/dependencies.py makes it."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from app.database import Database
from app.flows.access import AccessKeys
from app.flows.live_index import LiveIndex
from app.flows.voted_queries import VotedQueries
from app.services.batching import BatchedEncoder, QueuedTranscriber
from app.services.decode import DecodedImage, ImageDecoder
from app.services.inference_thread import InferenceThreads
from app.services.interfaces import PhotoStore, Reranker, Suggestion, TextRecogniser, VectorIndex, Vectors
from app.services.kept import Kept
from app.services.keyed_lock import KeyedLock
from app.services.model_choice import ModelChoice
from app.services.relevance import Relevance
from app.services.remote_encoder import RemoteEncoder
from app.services.staging import Staging
from app.services.thumbnails import Thumbnailer
from app.settings import Settings
from app.tables import DEFAULT_OWNER
from app.telemetry import Telemetry

# A JPEG of 12 megapixels decodes three times as fast when it may come smaller, and scaling it costs a tenth. At
# twice the encoder's size, cosine similarity to the vector of the whole picture is 0.9999 on average, 0.9986 at
# worst (38 photos, scaled up, sharpened, with and without noise; embedded/compact-1).
OVERSAMPLING = 2


class PhotoTagger(Protocol):
    def suggest(self, vectors: Vectors) -> list[Suggestion]:
        """One suggestion for each of (n, dim) picture vectors."""
        ...


class Importing(Protocol):
    """Who works on the queue of imports."""

    paused: str | None  # why nothing goes on at present

    @property
    def alive(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class Services:
    """Encoder, tagger and both indexes belong to one space, so whoever holds a bundle never mixes two."""

    settings: Settings
    telemetry: Telemetry
    database: Database
    threads: InferenceThreads
    transcriber: QueuedTranscriber | None  # None: voice search is switched off or its weights are missing
    ocr: TextRecogniser | None  # None: it is switched off or its models are missing
    reranker: Reranker | None  # None: switched off, or its weights are missing or refused
    decoder: ImageDecoder
    store: PhotoStore
    staging: Staging
    thumbnails: Thumbnailer
    photo_locks: KeyedLock
    heat_map_slots: threading.BoundedSemaphore
    search_turns: threading.BoundedSemaphore
    serving: "Serving"
    access: AccessKeys
    queue_changed: threading.Event  # set when there is something new in the queue of imports
    # Of one space:
    model_choice: ModelChoice
    encoder: BatchedEncoder
    remote_encoder: RemoteEncoder | None  # what is behind `encoder` where no model is loaded here
    tagger: PhotoTagger
    relevance: Relevance
    voted_queries: VotedQueries
    kept: Kept
    live_index: LiveIndex
    # For whom; what no request asks for is done for the default owner.
    owner: str = DEFAULT_OWNER

    def of(self, owner: str) -> "Services":
        """The same for this owner's library."""
        return self if owner == self.owner else replace(self, owner=owner)

    @property
    def index(self) -> VectorIndex:
        """Of the owner's photos."""
        return self.live_index.of(self.owner)

    def close_space(self) -> None:
        """Let what waits for this space's model be finished; what several spaces share goes on."""
        self.live_index.close()
        self.encoder.close()
        if self.remote_encoder:
            self.remote_encoder.close()

    def decode(self, data: bytes) -> DecodedImage:
        """The picture, at least OVERSAMPLING times as large as the encoder takes it. Raises: see decode_image."""
        return self.decoder.decode(data, at_least=OVERSAMPLING * self.encoder.image_size)

    def close(self) -> None:
        """Let what waits be finished, and stop every thread."""
        self.close_space()
        if self.transcriber:
            self.transcriber.close()
        self.threads.close()
        self.staging.close()
        self.database.dispose()


class Serving:
    """Which bundle answers requests, and which one is being prepared to follow it.

    A request takes the bundle once, at its start. `switch` is one assignment: requests before it end on the old
    bundle, requests after it begin on the new one.
    """

    def __init__(self) -> None:
        self.importing: Importing | None = None  # None in a process that only uses the library for a moment
        self.next: Services | None = None  # what is uploaded meanwhile gets a vector in its space, too
        self._current: Services | None = None
        self._users: Counter[Services] = Counter()
        self._changed = threading.Condition()

    @property
    def current(self) -> Services:
        assert self._current is not None, "create_app switches to the first bundle before it serves"
        return self._current

    @contextmanager
    def use(self) -> Iterator[Services]:
        """The present bundle, not closed before the block has ended."""
        with self._changed:
            services = self.current
            self._users[services] += 1
        try:
            yield services
        finally:
            with self._changed:
                self._users[services] -= 1
                if not self._users[services]:
                    del self._users[services]  # else the models of an old bundle stayed in memory
                self._changed.notify_all()

    def others(self, services: Services) -> list[Services]:
        """The bundles in charge beside this one: its successor, be it still being filled or serving already."""
        with self._changed:
            bundles = (self._current, self.next)
            return [other for other in bundles if other and other.live_index is not services.live_index]

    def switch(self, successor: Services) -> None:
        with self._changed:
            self._current, self.next = successor, None

    def wait_until_unused(self, services: Services, timeout_s: float) -> bool:
        """Whether the last request that began on this bundle has ended."""
        with self._changed:
            return self._changed.wait_for(lambda: services not in self._users, timeout_s)
