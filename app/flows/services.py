"""What the flows work with, in one frozen bundle; app/dependencies.py makes it."""

from dataclasses import dataclass
from typing import Protocol

from app.database import Database
from app.flows.live_index import LiveIndex
from app.services.batching import BatchedEncoder, QueuedTranscriber
from app.services.decode import ImageDecoder
from app.services.faiss_index import FaissIndex
from app.services.inference_thread import InferenceThreads
from app.services.interfaces import PhotoStore, Suggestion, Vectors
from app.services.keyed_lock import KeyedLock
from app.services.model_choice import ModelChoice
from app.services.thumbnails import Thumbnailer
from app.settings import Settings
from app.telemetry import Telemetry


class PhotoTagger(Protocol):
    def suggest(self, vectors: Vectors) -> list[Suggestion]:
        """One suggestion for each of (n, dim) picture vectors."""
        ...


@dataclass(frozen=True)
class Services:
    settings: Settings
    telemetry: Telemetry
    database: Database
    model_choice: ModelChoice
    threads: InferenceThreads
    encoder: BatchedEncoder
    transcriber: QueuedTranscriber | None  # None: voice search is switched off or its weights are missing
    tagger: PhotoTagger
    decoder: ImageDecoder
    store: PhotoStore
    thumbnails: Thumbnailer
    index: FaissIndex
    live_index: LiveIndex
    photo_locks: KeyedLock

    def close(self) -> None:
        """Let what waits be finished, and stop every thread."""
        self.live_index.close()
        self.encoder.close()
        if self.transcriber:
            self.transcriber.close()
        self.threads.close()
        self.database.dispose()
