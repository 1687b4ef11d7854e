"""The one place that names concrete classes, and the typed aliases by which routes get them."""

import logging
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from app.database import Database
from app.errors import AdminOnly
from app.flows import heat_maps, imports
from app.flows.live_index import LiveIndex
from app.flows.model_changes import REQUEST, in_use
from app.flows.originals import mend, recognise
from app.flows.services import PhotoTagger, Services, Serving
from app.flows.text_reader import count_unread
from app.flows.voted_queries import VotedQueries
from app.services.allocator import keep_large_blocks
from app.services.batching import BatchedEncoder, QueuedTranscriber
from app.services.decode import ImageDecoder
from app.services.faiss_index import FaissIndex
from app.services.inference_thread import InferenceThreads, available_cores, leave_the_cores_to_inference
from app.services.interfaces import ImageTextEncoder, ImageTextMatcher, TextRecogniser, Transcriber
from app.services.keyed_lock import KeyedLock
from app.services.model_choice import AUTO, EMBEDDED, ModelChoice, choose_model, plain_name
from app.services.ocr import PpOcr
from app.services.photo_store import INCOMING, LocalPhotoStore
from app.services.precision import image_dtype
from app.services.relevance import Relevance
from app.services.staging import STAGED, Staging
from app.services.tagger import Tagger, read_vocabulary
from app.services.thumbnails import THUMBNAILS, Thumbnailer
from app.services.timed_reranker import TimedReranker
from app.services.weight_files import WeightsRefused
from app.settings import Settings
from app.tables import ModelChange
from app.telemetry import Telemetry

logger = logging.getLogger(__name__)

VOCABULARY = Path(__file__).parent / "weights" / "tag_vocabulary.csv"
CACHE = ".cache"  # below the uploads folder, and safe to delete


@dataclass(frozen=True)
class Models:
    """What is heavy to load, and may be shared by several apps of one process."""

    choice: ModelChoice
    encoder: ImageTextEncoder
    tagger: PhotoTagger
    relevance: Relevance
    transcriber: Transcriber | None  # None: switched off, or its weights are missing
    matcher: ImageTextMatcher | None = None  # likewise; what reranks


def build_services(settings: Settings, *, voice: bool = True) -> Services:
    """Everything loaded, and the index filled from the rows; `voice=False` leaves Whisper out.

    Raises: WeightsRefused, StorageMissing, sqlalchemy.exc.SQLAlchemyError, OSError.
    """
    # Storage first: what cannot be written to is told in a moment, not after the models have loaded.
    open_storage(settings)[0].dispose()
    choice = starting_choice(settings)
    return assemble(settings, load_models(settings, choice, voice=voice))


def open_storage(settings: Settings) -> tuple[Database, LocalPhotoStore]:
    """The rows and the originals, which belong together. Raises: StorageMissing, SQLAlchemyError, OSError."""
    database = Database(settings.database_url, settings.busy_timeout_s)
    store = LocalPhotoStore(settings.uploads_dir)
    recognise(database, store)
    return database, store


def starting_choice(settings: Settings) -> ModelChoice:
    """The model that the library's vectors are of; RECOLLECT_MODEL for a new library, or when that one is gone.

    Raises: WeightsRefused, sqlalchemy.exc.SQLAlchemyError.
    """
    database = Database(settings.database_url, settings.busy_timeout_s)
    change = in_use(database)
    database.dispose()
    if change is None:
        return choose_model(settings.model, settings.model_sha256)
    try:
        return changed_choice(settings, change, fetch=change.model == settings.model)
    except WeightsRefused as error:
        choice = choose_model(settings.model, settings.model_sha256)
        if choice.space == change.space:
            return choice  # a checkpoint of one's own that only the setting knows the way to
        reason = f"{choice.reason}; {change.space}, in use until now, cannot be loaded: {error}"
        return replace(choice, reason=reason)  # load_models logs it


def changed_choice(settings: Settings, change: ModelChange, *, fetch: bool) -> ModelChoice:
    """The model that a change leads to; `fetch` allows the internet.

    Raises: WeightsRefused, also when a checkpoint is not the file any more that the vectors were made with.
    """
    by_setting = change.model == plain_name(settings.model)
    if by_setting and change.model == EMBEDDED:
        return choose_model(settings.model)  # its reason says why it is not CLIP
    choice = choose_model(change.model, settings.model_sha256 if by_setting else None, fetch=fetch)
    if change.space not in (None, choice.space):
        raise WeightsRefused(
            f"The weights of {change.model} are not those any more that its vectors were made with."
        )
    if change.origin == REQUEST:
        return replace(choice, reason="asked for by `recollect reindex` or over HTTP")
    told = f"RECOLLECT_MODEL={settings.model}"
    return replace(choice, reason=told if by_setting else f"in use until the change to {told} is made")


def load_models(settings: Settings, choice: ModelChoice, *, voice: bool = True) -> Models:
    """Raises: WeightsRefused, RuntimeError (weights that do not fit their architecture)."""
    keep_large_blocks()
    leave_the_cores_to_inference()
    device = pick_device(settings)
    logger.info("model %s on %s (%s)", choice.space, device, choice.reason)
    encoder = load_encoder(choice, device, settings.precision)
    transcriber = load_transcriber(settings.whisper_model, device) if voice else None
    return Models(
        choice,
        encoder,
        _tagger(encoder, settings),
        _relevance(encoder, settings),
        transcriber,
        load_matcher(settings, device),
    )


def assemble(settings: Settings, models: Models) -> Services:
    """The services round loaded models, and what a crash left half done finished.

    Raises: StorageMissing, sqlalchemy.exc.OperationalError, OSError.
    """
    database, store = open_storage(settings)
    threads = InferenceThreads.on(settings.torch_threads or available_cores())
    serving = Serving()
    decoder = ImageDecoder(settings.max_pixels, settings.decode_concurrency)
    services = Services(
        settings=settings,
        telemetry=_telemetry(serving),
        database=database,
        threads=threads,
        transcriber=_queued(models.transcriber, threads, settings),
        ocr=load_ocr() if settings.ocr else None,
        reranker=TimedReranker(models.matcher, threads) if models.matcher else None,
        decoder=decoder,
        store=store,
        staging=Staging(settings.uploads_dir / STAGED, settings.uploads_dir / INCOMING),
        thumbnails=Thumbnailer(settings.uploads_dir / THUMBNAILS, store, decoder),
        photo_locks=KeyedLock(),
        heat_map_slots=threading.BoundedSemaphore(heat_maps.AT_ONCE),
        serving=serving,
        queue_changed=threading.Event(),
        **_of_space(settings, database, threads, models.choice, models.encoder, models.tagger, models.relevance),
    )
    store.remove_leftovers()
    services.thumbnails.remove_leftovers()
    mend(services)
    return services


def prepare_successor(services: Services, change: ModelChange) -> Services:
    """The bundle that a change of model leads to: its own model and index, everything else shared.

    Raises: WeightsRefused, RuntimeError (weights that do not fit their architecture).
    """
    settings = services.settings
    leave_the_cores_to_inference()
    choice = changed_choice(settings, change, fetch=change.origin != AUTO)
    encoder = load_encoder(choice, pick_device(settings), settings.precision)
    parts = (choice, encoder, _tagger(encoder, settings), _relevance(encoder, settings))
    return replace(services, **_of_space(settings, services.database, services.threads, *parts))


def _of_space(
    settings: Settings,
    database: Database,
    threads: InferenceThreads,
    choice: ModelChoice,
    encoder: ImageTextEncoder,
    tagger: PhotoTagger,
    relevance: Relevance,
) -> dict[str, Any]:
    """The fields of Services that belong to one space, the index filled from the rows."""
    batched = _batched(encoder, threads, settings)
    index = FaissIndex(encoder.dim, int8=settings.index == "flat8")
    live_index = LiveIndex(database, index, encoder.space, settings.index_poll_s)
    logger.info("index of %d photos in %s", live_index.rebuild(), encoder.space)
    return {
        "model_choice": choice,
        "encoder": batched,
        "tagger": tagger,
        "relevance": relevance,
        "voted_queries": VotedQueries(batched, relevance),
        "index": index,
        "live_index": live_index,
    }


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


def load_ocr() -> TextRecogniser | None:
    """Without it the service still runs, and /health says that text in pictures is not read."""
    try:
        return PpOcr()
    except WeightsRefused as error:
        logger.warning("Text in pictures is not read: %s", error)
        return None


def load_matcher(settings: Settings, device: str) -> ImageTextMatcher | None:
    """Without it the service still runs, results keep the order of their scores, and /health says so."""
    if settings.reranker == "none":
        return None
    from app.services.blip_reranker import BlipMatcher, weights_folder

    try:
        folder = weights_folder(settings.reranker, settings.reranker_sha256)
        dtype = image_dtype(settings.precision, device)
        return BlipMatcher(folder, name=settings.reranker, device=device, dtype=dtype)
    except WeightsRefused as error:
        logger.error("no reranking: %s", error)  # noqa: TRY400 — the reason says it all
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


def _relevance(encoder: ImageTextEncoder, settings: Settings) -> Relevance:
    phrases = [concept.phrase for concept in read_vocabulary(VOCABULARY)]
    return Relevance(encoder, phrases, cache_dir=settings.uploads_dir / CACHE)


def _telemetry(serving: Serving) -> Telemetry:
    """Gauges read the bundle that serves at that moment."""
    telemetry = Telemetry()

    def gauge(name: str, help_text: str, read: Callable[[Services], int]) -> None:
        telemetry.gauge(name, help_text, lambda: float(read(serving.current)))

    gauge("photos", "Photos that a search can find.", lambda now: len(now.index))
    gauge("image_queue", "Pictures that wait for the encoder.", lambda now: now.encoder.images.depth)
    gauge("import_queue", "Items of imports that wait or are in work.", imports.depth)
    gauge("ocr_queue", "Photos whose text is not read yet.", count_unread)
    gauge("text_queue", "Texts that wait for the encoder.", lambda now: now.encoder.texts.depth)
    return telemetry


async def services_of(request: Request) -> AsyncIterator[Services]:
    """One bundle for the whole request, whatever model comes into use meanwhile."""
    serving: Serving = request.app.state.serving
    with serving.use() as services:
        yield services


ServicesDep = Annotated[Services, Depends(services_of)]

_admin_key = APIKeyHeader(name="X-Admin-Key", auto_error=False, description="RECOLLECT_ADMIN_KEY")


def require_admin(services: ServicesDep, key: Annotated[str | None, Security(_admin_key)]) -> None:
    """Raises: AdminOnly."""
    expected = services.settings.admin_key
    if expected is None:
        raise AdminOnly("This is switched off here; RECOLLECT_ADMIN_KEY switches it on.")
    if not secrets.compare_digest((key or "").encode(), expected.get_secret_value().encode()):
        raise AdminOnly("The header X-Admin-Key is missing or wrong.")
