"""The one place that names concrete classes, and the typed aliases by which routes get them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from fastapi import Depends, Request

from app.database import Database
from app.flows.live_index import LiveIndex
from app.flows.services import PhotoTagger, Services
from app.services.allocator import keep_large_blocks
from app.services.batching import BatchedEncoder, QueuedTranscriber
from app.services.decode import ImageDecoder
from app.services.faiss_index import FaissIndex
from app.services.inference_thread import InferenceThreads, available_cores, leave_the_cores_to_inference
from app.services.interfaces import ImageTextEncoder, Transcriber
from app.services.keyed_lock import KeyedLock
from app.services.model_choice import ModelChoice, choose_model
from app.services.photo_store import LocalPhotoStore
from app.services.precision import image_dtype
from app.services.tagger import Tagger
from app.services.thumbnails import Thumbnailer
from app.settings import Settings
from app.telemetry import Telemetry

logger = logging.getLogger(__name__)

VOCABULARY = Path(__file__).parent / "weights" / "tag_vocabulary.csv"
THUMBNAILS = ".thumbnails"  # below the uploads folder, and safe to delete
CACHE = ".cache"  # likewise


@dataclass(frozen=True)
class Models:
    """What is heavy to load, and may be shared by several apps of one process."""

    choice: ModelChoice
    encoder: ImageTextEncoder
    tagger: PhotoTagger
    transcriber: Transcriber | None  # None: switched off, or its weights are missing


def build_services(settings: Settings, *, voice: bool = True) -> Services:
    """Everything loaded, and the index filled from the rows; `voice=False` leaves Whisper out.

    Raises: WeightsRefused, sqlalchemy.exc.SQLAlchemyError, OSError.
    """
    check_storage(settings)
    return assemble(settings, load_models(settings, voice=voice))


def check_storage(settings: Settings) -> None:
    """What cannot be written to is told in a moment, not after the models have loaded.

    Raises: sqlalchemy.exc.SQLAlchemyError, OSError.
    """
    Database(settings.database_url, settings.busy_timeout_s).dispose()
    LocalPhotoStore(settings.uploads_dir)


def load_models(settings: Settings, *, voice: bool = True) -> Models:
    """Raises: WeightsRefused, RuntimeError (weights that do not fit their architecture)."""
    keep_large_blocks()
    leave_the_cores_to_inference()
    device = pick_device(settings)
    choice = choose_model(settings.model, settings.model_sha256)
    logger.info("model %s on %s (%s)", choice.space, device, choice.reason)
    encoder = load_encoder(choice, device, settings.precision)
    transcriber = load_transcriber(settings.whisper_model, device) if voice else None
    return Models(choice, encoder, _tagger(encoder, settings), transcriber)


def assemble(settings: Settings, models: Models) -> Services:
    """The services round loaded models. Raises: sqlalchemy.exc.OperationalError, OSError."""
    threads = InferenceThreads.on(settings.torch_threads or available_cores())
    encoder = _batched(models.encoder, threads, settings)
    database = Database(settings.database_url, settings.busy_timeout_s)
    store = LocalPhotoStore(settings.uploads_dir)
    store.remove_leftovers()
    decoder = ImageDecoder(settings.max_pixels, settings.decode_concurrency)
    index = FaissIndex(encoder.dim, int8=settings.index == "flat8")
    live_index = LiveIndex(database, index, encoder.space, settings.index_poll_s)
    logger.info("index of %d photos", live_index.rebuild())
    return Services(
        settings=settings,
        telemetry=_telemetry(index, encoder),
        database=database,
        model_choice=models.choice,
        threads=threads,
        encoder=encoder,
        transcriber=_queued(models.transcriber, threads, settings),
        tagger=models.tagger,
        decoder=decoder,
        store=store,
        thumbnails=Thumbnailer(settings.uploads_dir / THUMBNAILS, store, decoder),
        index=index,
        live_index=live_index,
        photo_locks=KeyedLock(),
    )


def pick_device(settings: Settings) -> str:
    """The torch device to use."""
    if settings.device != "auto":
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_encoder(choice: ModelChoice, device: str, precision: str = "auto") -> ImageTextEncoder:
    """Raises: WeightsRefused, RuntimeError (weights that do not fit their architecture)."""
    if choice.clip is None:
        from app.services.embedded_encoder import EmbeddedEncoder

        return EmbeddedEncoder(device)
    from app.services.clip_encoder import OpenClipEncoder

    return OpenClipEncoder(
        choice.clip.architecture,
        choice.clip.path,
        space=choice.space,
        device=device,
        trained_with=choice.clip.trained_with,
        dtype=image_dtype(precision, device),
    )


def _batched(encoder: ImageTextEncoder, threads: InferenceThreads, settings: Settings) -> BatchedEncoder:
    return BatchedEncoder(
        encoder,
        threads,
        max_batch=settings.encode_batch_size,
        max_queue=settings.encode_queue_size,
        timeout_s=settings.inference_timeout_s,
        text_cache_size=settings.text_cache_size,
    )


def load_transcriber(model: str, device: str) -> Transcriber | None:
    """Without it the service still runs, and /health says that voice search is missing."""
    if model == "none":
        return None
    from app.services.transcriber import WhisperTranscriber

    try:
        return WhisperTranscriber(model, device)
    except Exception:  # whatever whisper, torch or the disk raise for weights that are missing or damaged
        logger.exception("Whisper %s could not be loaded; voice search is off.", model)
        return None


def _queued(
    transcriber: Transcriber | None, threads: InferenceThreads, settings: Settings
) -> QueuedTranscriber | None:
    if transcriber is None:
        return None
    return QueuedTranscriber(
        transcriber, threads, max_queue=settings.transcribe_queue_size, timeout_s=settings.inference_timeout_s
    )


def _tagger(encoder: ImageTextEncoder, settings: Settings) -> Tagger:
    return Tagger(
        encoder,
        VOCABULARY,
        min_probability=settings.tag_min_probability,
        max_count=settings.tag_max_count,
        cache_dir=settings.uploads_dir / CACHE,
    )


def _telemetry(index: FaissIndex, encoder: BatchedEncoder) -> Telemetry:
    telemetry = Telemetry()
    telemetry.gauge("photos", "Photos that a search can find.", lambda: float(len(index)))
    telemetry.gauge("image_queue", "Pictures that wait for the encoder.", lambda: float(encoder.images.depth))
    telemetry.gauge("text_queue", "Texts that wait for the encoder.", lambda: float(encoder.texts.depth))
    return telemetry


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]
