"""What the flows work with, in one frozen bundle; app/dependencies.py makes it."""

from dataclasses import dataclass
from typing import Protocol

from app.database import Database
from app.flows.live_index import LiveIndex
from app.services.batching import BatchedEncoder, QueuedTranscriber
from app.services.decode import DecodedImage, ImageDecoder
from app.services.faiss_index import FaissIndex
from app.services.inference_thread import InferenceThreads
from app.services.interfaces import PhotoStore, Suggestion, Vectors
from app.services.keyed_lock import KeyedLock
from app.services.model_choice import ModelChoice
from app.services.thumbnails import Thumbnailer
from app.settings import Settings
from app.telemetry import Telemetry

# A JPEG of 12 megapixels decodes three times as fast when it may come smaller, and scaling it costs a tenth. At
# twice the encoder's size, cosine similarity to the vector of the whole picture is 0.9999 on average, 0.9986 at
# worst (38 photos, scaled up, sharpened, with and without noise; embedded/compact-1).
OVERSAMPLING = 2


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

    def decode(self, data: bytes) -> DecodedImage:
        """The picture, at least OVERSAMPLING times as large as the encoder takes it. Raises: see decode_image."""
        return self.decoder.decode(data, at_least=OVERSAMPLING * self.encoder.image_size)

    def close(self) -> None:
        """Let what waits be finished, and stop every thread."""
        self.live_index.close()
        self.encoder.close()
        if self.transcriber:
            self.transcriber.close()
        self.threads.close()
        self.database.dispose()
