"""How a question becomes a ranked page: every kind of query shares everything after its vector."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import insert
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from app.errors import CapabilityMissing, InvalidRequest
from app.flows.filters import PhotoFilter
from app.flows.nearest import nearest, nearest_of, passing
from app.flows.photos import get_embedding, get_photo
from app.flows.ranking import Candidate, Ranked, RankingRules, rank
from app.flows.services import Services
from app.services.audio import decode_audio
from app.services.interfaces import Transcript, Vectors
from app.tables import Feedback, Photo, QueryKind, SearchQuery, utc_now
from app.telemetry import StepTimer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scope:
    """How many results, among which photos, and how much recency counts (None: as the settings say)."""

    k: int
    filter: PhotoFilter = field(default_factory=PhotoFilter)
    recency_weight: float | None = None
    without: int | None = None  # a photo left out: the one that similar ones are asked for


@dataclass(frozen=True)
class Answer:
    query: str
    kind: QueryKind
    query_id: int | None
    results: list[Ranked]
    latency_ms: float
    encoder_latency_ms: float
    transcript: Transcript | None = None


def search_text(services: Services, text: str, scope: Scope) -> Answer:
    """Photos by words. Raises: Overloaded, EncoderFailed."""
    timer = StepTimer(services.telemetry)
    with timer("encode"):
        vector = services.encoder.encode_texts([text])[0]
    return _answer(services, QueryKind.TEXT, text, vector, scope, timer)


def search_image(services: Services, data: bytes, scope: Scope) -> Answer:
    """Photos by another picture. Raises: what decoding a picture raises, Overloaded, EncoderFailed."""
    timer = StepTimer(services.telemetry)
    with timer("decode"):
        image = services.decode(data).image
    with timer("encode"):
        vector = services.encoder.encode_images([image])[0]
    name = f"image:{hashlib.sha256(data).hexdigest()}"
    return _answer(services, QueryKind.IMAGE, name, vector, scope, timer)


def search_similar(services: Services, photo_id: int, scope: Scope) -> Answer:
    """Photos like a stored one, itself left out. Raises: PhotoNotFound, InvalidRequest (no vector yet)."""
    timer = StepTimer(services.telemetry)
    with timer("database"), services.database.read() as session:
        get_photo(session, photo_id, scope.filter.owner)
        vector = get_embedding(session, photo_id, services.encoder.space)
    if vector is None:
        raise InvalidRequest(f"Photo {photo_id} has no vector of the present model yet; try again in a while.")
    return _answer(
        services, QueryKind.SIMILAR, f"photo:{photo_id}", vector, replace(scope, without=photo_id), timer
    )


def search_voice(services: Services, data: bytes, scope: Scope) -> Answer:
    """Photos by spoken words.

    Raises: CapabilityMissing, NoSpeech, what decoding audio raises, Overloaded, EncoderFailed.
    """
    if services.transcriber is None:
        raise CapabilityMissing("Voice search is switched off here, or Whisper's weights are missing.")
    timer = StepTimer(services.telemetry)
    with timer("decode"):
        samples = decode_audio(data, services.settings.max_audio_s)
    with timer("transcribe"):
        transcript = services.transcriber.transcribe(samples)
    with timer("encode"):
        vector = services.encoder.encode_texts([transcript.text])[0]
    answer = _answer(services, QueryKind.VOICE, transcript.text, vector, scope, timer)
    return replace(answer, transcript=transcript)


def _answer(
    services: Services, kind: QueryKind, text: str, vector: Vectors, scope: Scope, timer: StepTimer
) -> Answer:
    candidates = _candidates(services, text, vector, scope, timer)
    with timer("rank"):
        results = rank(candidates, _rules(services, scope), scope.k, utc_now())
    with timer("log"):
        query_id = _log(services, kind, text, len(results), timer.total_ms)
    logger.info("search %s results=%d %s", kind, len(results), timer)
    return Answer(text, kind, query_id, results, timer.total_ms, timer.ms.get("encode", 0.0))


def _rules(services: Services, scope: Scope) -> RankingRules:
    rules = RankingRules.of(services.settings)
    return rules if scope.recency_weight is None else replace(rules, recency_weight=scope.recency_weight)


def _candidates(services: Services, text: str, vector: Vectors, scope: Scope, timer: StepTimer) -> list[Candidate]:
    """More than k photos to rank, with those voted on for this query always among them."""
    while True:
        with timer("filter"), services.database.read() as session:
            votes = _votes(session, text, scope.filter.owner)
            voted = sorted(passing(session, list(votes), scope.filter))
        with timer("index"):
            similarity = _nearest(services, vector, scope, voted)
        with timer("database"), services.database.read() as session:
            photos = session.exec(select(Photo).where(col(Photo.id).in_(similarity))).all()
        found = {photo.id: photo for photo in photos if photo.id is not None}
        gone = [photo_id for photo_id in similarity if photo_id not in found]
        if not gone:
            return [_candidate(found[i], s, votes.get(i)) for i, s in similarity.items()]
        services.live_index.forget(gone)  # deleted by another process: search again without them


def _nearest(services: Services, vector: Vectors, scope: Scope, voted: Sequence[int]) -> dict[int, float]:
    """Cosine similarity by photo id."""
    wanted = scope.k * services.settings.ranking_overfetch + len(voted) + (scope.without is not None)
    found = nearest(services, vector, wanted, scope.filter)
    if voted:
        found |= nearest_of(services, vector, len(voted), voted)
    if scope.without is not None:
        found.pop(scope.without, None)
    return found


def _candidate(photo: Photo, similarity: float, vote: Feedback | None) -> Candidate:
    if vote is None:
        return Candidate(photo, similarity)
    return Candidate(photo, similarity, vote.vote, vote.id)


def _votes(session: Session, text: str, owner: str) -> dict[int, Feedback]:
    """The newest vote on each photo for the same query, case and spacing apart."""
    wanted = select(Feedback).where(Feedback.owner == owner, Feedback.query_text == normalized(text))
    return {row.photo_id: row for row in session.exec(wanted.order_by(col(Feedback.id)))}


def normalized(text: str) -> str:
    """The form under which votes on a query are kept."""
    return " ".join(text.casefold().split())


def _log(services: Services, kind: QueryKind, text: str, results: int, latency_ms: float) -> int | None:
    """The query's id; None if it cannot be written down, which is no reason to keep back its results."""
    row = insert(SearchQuery).values(kind=kind, text=text, result_count=results, latency_ms=latency_ms)
    try:
        with services.database.log() as session:
            key = session.connection().execute(row).inserted_primary_key
    except OperationalError as error:
        logger.warning("a query was not written down: %s", error)
        return None
    assert key is not None, "an inserted query has an id"
    return int(key[0])
