"""The one place that names concrete classes, and the typed aliases by which routes get them."""

import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from app.database import Database
from app.errors import CapabilityMissing, InvalidRequest, KeyNeeded
from app.flows import heat_maps, search
from app.flows.access import AccessKeys, Caller
from app.flows.live_index import LiveIndex, NewIndex
from app.flows.measurements import measured
from app.flows.model_changes import REQUEST, in_use
from app.flows.originals import mend, recognise
from app.flows.services import PhotoTagger, Services, Serving
from app.flows.voted_queries import VotedQueries
from app.postgres import is_postgres
from app.services.allocator import keep_large_blocks
from app.services.batching import BatchedEncoder, QueuedTranscriber
from app.services.decode import ImageDecoder
from app.services.faiss_index import FaissIndex
from app.services.inference_thread import InferenceThreads, available_cores, leave_the_cores_to_inference
from app.services.interfaces import (
    ImageTextEncoder,
    ImageTextMatcher,
    PhotoStore,
    TextRecogniser,
    TextVectors,
    Transcriber,
)
from app.services.kept import Kept
from app.services.keyed_lock import KeyedLock
from app.services.model_choice import AUTO, EMBEDDED, ModelChoice, choose_model, plain_name
from app.services.ocr import PpOcr
from app.services.photo_store import INCOMING, LocalPhotoStore
from app.services.relevance import Relevance
from app.services.remote_encoder import RemoteEncoder
from app.services.staging import STAGED, Staging
from app.services.tagger import Tagger, read_vocabulary
from app.services.thumbnails import THUMBNAILS, Thumbnailer
from app.services.timed_reranker import TimedReranker
from app.services.weight_files import WeightsRefused
from app.settings import Settings
from app.tables import ModelChange
from app.telemetry import Telemetry

if TYPE_CHECKING:
    from app.services.bucket import Bucket

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

    Raises: WeightsRefused, EncoderUnreachable, StorageMissing, sqlalchemy.exc.SQLAlchemyError, OSError.
    """
    # Storage first: what cannot be written to is told in a moment, not after the models have loaded.
    open_storage(settings)[0].dispose()
    if settings.encoder_url:
        return assemble(settings, remote_models(settings, voice=voice))
    choice = starting_choice(settings)
    return assemble(settings, load_models(settings, choice, voice=voice))


def open_storage(settings: Settings) -> tuple[Database, PhotoStore]:
    """The rows and the originals, which belong together.

    Raises: CapabilityMissing, StorageUnreachable, StorageMissing, SQLAlchemyError, OSError.
    """
    bucket = open_bucket(settings)
    if bucket is None:
        return open_folder(settings)
    from app.services.bucket_photo_store import BucketPhotoStore

    LocalPhotoStore(settings.uploads_dir).set_up()  # of what waits in queues
    database = Database(settings.database_url, settings.busy_timeout_s)
    store = BucketPhotoStore(bucket, settings.storage_redirect_s)
    recognise(database, store)
    return database, store


def open_folder(settings: Settings) -> tuple[Database, LocalPhotoStore]:
    """For what needs the originals to be files of this machine.

    Raises: CapabilityMissing (they are in a bucket), StorageMissing, SQLAlchemyError, OSError.
    """
    if settings.storage_url:
        raise CapabilityMissing(f"The originals are in {settings.storage_url}: its own tools check and copy them.")
    database = Database(settings.database_url, settings.busy_timeout_s)
    store = LocalPhotoStore(settings.uploads_dir)
    recognise(database, store)
    return database, store


def open_bucket(settings: Settings) -> "Bucket | None":
    """None: originals and thumbnails are in the uploads folder. Raises: CapabilityMissing."""
    if settings.storage_url is None:
        return None
    try:
        from app.services.bucket import Bucket
    except ImportError as error:
        raise CapabilityMissing('RECOLLECT_STORAGE_URL needs an extra: pip install "recollect[s3]"') from error
    return Bucket(settings.storage_url)


def starting_choice(settings: Settings) -> ModelChoice:
    """The model that the library's vectors are of; RECOLLECT_MODEL for a new library, or when that one is gone.

    Raises: WeightsRefused, sqlalchemy.exc.SQLAlchemyError.
    """
    database = Database(settings.database_url, settings.busy_timeout_s)
    change = in_use(database)
    database.dispose()
    if change is None:
        return choose_model(settings.model, settings.model_sha256)
    if settings.encoder_url and change.space:
        return ModelChoice(change.space, "RECOLLECT_ENCODER_URL")
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
    return _models(settings, choice, load_encoder(choice, device, settings.precision), device, voice=voice)


def remote_models(settings: Settings, *, voice: bool = True) -> Models:
    """The image-text model is on other servers; without Whisper and a reranker, torch is not even imported.

    Raises: EncoderUnreachable, EncoderFailed, WeightsRefused (it is not the model of the library's vectors).
    """
    encoder = connect_encoder(settings)
    choice = ModelChoice(encoder.space, "RECOLLECT_ENCODER_URL")
    database = Database(settings.database_url, settings.busy_timeout_s)
    change = in_use(database)
    database.dispose()
    if change and change.space != choice.space:
        encoder.close()
        raise WeightsRefused(
            f"The encoder has {choice.space}, and the library has vectors of {change.space}: change them first, "
            "with `recollect reindex --model …` where the model is."
        )
    logger.info("model %s at %s", choice.space, settings.encoder_url)
    here = (voice and settings.whisper_model != "none") or settings.reranker != "none"
    return _models(settings, choice, encoder, pick_device(settings) if here else "none", voice=voice)


def connect_encoder(settings: Settings, wait_s: float | None = None) -> RemoteEncoder:
    """Waits as long as the settings say, unless told otherwise. Raises: EncoderUnreachable, EncoderFailed."""
    assert settings.encoder_url is not None, "the caller asks for a remote encoder"
    return RemoteEncoder(
        settings.encoder_url.split(","),
        key=settings.encoder_key.get_secret_value() if settings.encoder_key else None,
        timeout_s=settings.inference_timeout_s,
        wait_s=settings.encoder_wait_s if wait_s is None else wait_s,
    )


def _models(
    settings: Settings, choice: ModelChoice, encoder: ImageTextEncoder, device: str, *, voice: bool
) -> Models:
    return Models(
        choice,
        encoder,
        _tagger(encoder, settings),
        _relevance(encoder, settings),
        load_transcriber(settings.whisper_model, device) if voice else None,
        load_matcher(settings, device),
    )


def assemble(settings: Settings, models: Models) -> Services:
    """The services round loaded models, and what a crash left half done finished.

    Raises: StorageMissing, sqlalchemy.exc.OperationalError, OSError.
    """
    database, store = open_storage(settings)
    threads = InferenceThreads.on(settings.torch_threads or available_cores())
    serving = Serving()
    telemetry = measured(serving)
    decoder = ImageDecoder(settings.max_pixels, settings.decode_concurrency)
    services = Services(
        settings=settings,
        telemetry=telemetry,
        database=database,
        threads=threads,
        transcriber=_queued(models.transcriber, threads, settings),
        ocr=load_ocr() if settings.ocr else None,
        reranker=TimedReranker(models.matcher, threads) if models.matcher else None,
        decoder=decoder,
        store=store,
        staging=Staging(settings.uploads_dir / STAGED, settings.uploads_dir / INCOMING),
        thumbnails=Thumbnailer(settings.uploads_dir / THUMBNAILS, store, decoder, open_bucket(settings)),
        photo_locks=KeyedLock(),
        heat_map_slots=threading.BoundedSemaphore(heat_maps.AT_ONCE),
        search_turns=threading.BoundedSemaphore(_searches_at_once(settings)),
        serving=serving,
        access=AccessKeys(database, settings.owner, settings.admin_key),
        queue_changed=threading.Event(),
        **_of_space(settings, telemetry, database, threads, models),
    )
    store.remove_leftovers()
    services.thumbnails.remove_leftovers()
    mend(services)
    return services


def _searches_at_once(settings: Settings) -> int:
    return search.AT_ONCE_ON_POSTGRES if is_postgres(settings.database_url) else search.AT_ONCE


def prepare_successor(services: Services, change: ModelChange) -> Services:
    """The bundle that a change of model leads to: its own model and index, everything else shared.

    Raises: WeightsRefused, RuntimeError (weights that do not fit their architecture).
    """
    settings = services.settings
    if settings.encoder_url:
        raise WeightsRefused(
            "The model is that of RECOLLECT_ENCODER_URL: give its servers the new one, and restart."
        )
    leave_the_cores_to_inference()
    choice = changed_choice(settings, change, fetch=change.origin != AUTO)
    encoder = load_encoder(choice, pick_device(settings), settings.precision)
    models = Models(choice, encoder, _tagger(encoder, settings), _relevance(encoder, settings), transcriber=None)
    parts = _of_space(settings, services.telemetry, services.database, services.threads, models)
    return replace(services, **parts)


def _of_space(
    settings: Settings, telemetry: Telemetry, database: Database, threads: InferenceThreads, models: Models
) -> dict[str, Any]:
    """The fields of Services that belong to one space, the index filled from the rows."""
    encoder = models.encoder
    batched = _batched(encoder, threads, settings, telemetry)

    new_index = _new_index(settings, database, encoder)
    live_index = LiveIndex(database, new_index, encoder.space, settings.index_poll_s)
    live_index.of(settings.owner)  # also of an empty library, so that its first search is a warm one
    logger.info("index of %d photos in %s", live_index.rebuild(), encoder.space)
    return {
        "model_choice": models.choice,
        "encoder": batched,
        "remote_encoder": encoder if isinstance(encoder, RemoteEncoder) else None,
        "tagger": models.tagger,
        "relevance": models.relevance,
        "voted_queries": VotedQueries(batched, models.relevance),
        "kept": Kept(),
        "live_index": live_index,
    }


def _new_index(settings: Settings, database: Database, encoder: ImageTextEncoder) -> NewIndex:
    """How the index of an owner is made. Raises: InvalidRequest, sqlalchemy.exc.DBAPIError (no pgvector there)."""
    if settings.index != "pgvector":
        return lambda _owner: FaissIndex(encoder.dim, int8=settings.index == "flat8")
    if not is_postgres(settings.database_url):
        raise InvalidRequest("RECOLLECT_INDEX=pgvector needs a database in PostgreSQL.")
    from app.flows.pgvector_index import PgvectorIndex, vector_table

    table = vector_table(database, encoder.space, encoder.dim)
    return lambda owner: PgvectorIndex(database, table, encoder.space, encoder.dim, owner, settings.hnsw_ef_search)


def pick_device(settings: Settings) -> str:
    """The torch device to use."""
    if settings.device != "auto":
        return settings.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_encoder(choice: ModelChoice, device: str, precision: str = "auto") -> ImageTextEncoder:
    """Raises: WeightsRefused, RuntimeError (weights that do not fit their architecture)."""
    from app.services.precision import image_dtype

    if choice.clip is None:
        from app.services.embedded_encoder import EmbeddedEncoder

        return EmbeddedEncoder(device, image_dtype(precision, device))
    from app.services.clip_encoder import OpenClipEncoder

    return OpenClipEncoder(
        choice.clip.architecture,
        choice.clip.path,
        space=choice.space,
        device=device,
        trained_with=choice.clip.trained_with,
        dtype=image_dtype(precision, device),
    )


def _batched(
    encoder: ImageTextEncoder, threads: InferenceThreads, settings: Settings, telemetry: Telemetry
) -> BatchedEncoder:
    batched = BatchedEncoder(
        encoder,
        threads,
        max_batch=settings.encode_batch_size,
        max_queue=settings.encode_queue_size,
        timeout_s=settings.inference_timeout_s,
        text_cache_size=settings.text_cache_size,
        batch_seen=lambda kind, size: telemetry.batch_size.labels(kind).observe(size),
    )
    batched.shared = _shared_vectors(encoder, settings)
    return batched


def _shared_vectors(encoder: ImageTextEncoder, settings: Settings) -> TextVectors | None:
    """Raises: CapabilityMissing."""
    if settings.redis_url is None:
        return None
    try:
        from app.services.shared_vectors import SharedVectors
    except ImportError as error:
        raise CapabilityMissing('RECOLLECT_REDIS_URL needs an extra: pip install "recollect[redis]"') from error
    return SharedVectors(settings.redis_url, encoder.space, encoder.dim)


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
    from app.services.precision import image_dtype

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


# Dependencies that never wait are coroutines: FastAPI sends any other function to a thread, and waits for that.
async def caller_of(request: Request) -> Caller | None:
    """Who asks; None only where nobody needs a key, and none was shown."""
    caller: Caller | None = request.scope["recollect_caller"]
    return caller


CallerDep = Annotated[Caller | None, Depends(caller_of)]


async def services_for_nobody(request: Request) -> AsyncIterator[Services]:
    """For what is public, and shows nothing of any library."""
    serving: Serving = request.app.state.serving
    with serving.use() as services:
        yield services


PublicServicesDep = Annotated[Services, Depends(services_for_nobody)]


def library_of(services: Services, caller: Caller | None) -> Services:
    """Those of the caller's own library. Raises: KeyNeeded."""
    if caller is None:
        raise KeyNeeded("Sign in, or send an access key.")
    return services.of(caller.owner)


async def services_of(services: PublicServicesDep, caller: CallerDep) -> Services:
    """One bundle for the whole request, whatever model comes into use meanwhile. Raises: KeyNeeded."""
    return library_of(services, caller)


ServicesDep = Annotated[Services, Depends(services_of)]
