"""How a question becomes a ranked page: every kind of query shares everything after its vector."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

from pydantic import TypeAdapter
from sqlalchemy import bindparam, insert
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from app.errors import CapabilityMissing
from app.flows.arrange import arrange
from app.flows.candidates import find_candidates
from app.flows.filters import PhotoFilter
from app.flows.fusion import text_weight
from app.flows.library_names import library_names
from app.flows.mixed import name_of, photo_vector, picture_vector, term_parts
from app.flows.paging import freeze, thaw
from app.flows.query_language import Chip, plain, understand
from app.flows.questions import Part, Question, ask
from app.flows.ranking import Candidate, Ranked, RankingRules, best_first, rank
from app.flows.rerank import rerank
from app.flows.services import Services
from app.id_lists import among
from app.search_schemas import Crop, MixedTerm, SearchOptions
from app.services.audio import decode_audio
from app.services.interfaces import Transcript
from app.services.relevance import MATCH, QueryForm
from app.tables import Photo, QueryKind, SearchQuery, utc_now
from app.telemetry import StepTimer

logger = logging.getLogger(__name__)

# Searches in work at the same time. Each asks for Python's lock again after every statement, and beside many
# others waits for it every time: with eight at once, a search took twice the processor time.
AT_ONCE = 2
AT_ONCE_ON_POSTGRES = 8  # its statements take longer, and let go of the lock meanwhile

# Made once: to put a statement together takes as long as to execute it.
_PHOTOS = select(Photo).where(Photo.owner == bindparam("owner"), among(col(Photo.id)))
_QUERY = insert(SearchQuery)


@dataclass(frozen=True)
class Scope:
    """How many results, among which photos, and how they are arranged."""

    k: int
    filter: PhotoFilter = field(default_factory=PhotoFilter)
    options: SearchOptions = field(default_factory=SearchOptions)


@dataclass(frozen=True)
class About:
    """What an answer and its later pages have in common."""

    query: str  # the words, or what names the picture; votes on the results are kept under it
    kind: QueryKind
    query_id: int | None
    matched: bool = True  # whether anything in the library is what was asked for
    chips: tuple[Chip, ...] = ()  # what was read as a filter


@dataclass(frozen=True)
class Hit:
    photo: Photo
    ranked: Ranked


@dataclass(frozen=True)
class Answer:
    about: About
    results: list[Hit]
    latency_ms: float
    encoder_latency_ms: float = 0.0
    first_rank: int = 1
    next_cursor: str | None = None
    transcript: Transcript | None = None


def search_text(services: Services, text: str, scope: Scope) -> Answer:
    """Photos by words; what of them can be read as a filter is one. Raises: Overloaded, EncoderFailed."""
    timer = StepTimer(services.telemetry)
    question = _understood(services, text, scope, timer)
    return _answer(services, QueryKind.TEXT, question, scope, timer)


def _understood(services: Services, text: str, scope: Scope, timer: StepTimer, *, cached: bool = True) -> Question:
    with _turn(services, timer), timer("understand"), services.database.read() as session:
        names = None if scope.options.plain else library_names(session, services.owner)
        read = plain(text) if names is None else understand(text, utc_now(), names)
    with timer("encode"):
        vectors = services.encoder.encode_texts([term.text for term in read.terms], cached=cached)
    parts = [Part(vector, term.weight) for vector, term in zip(vectors, read.terms, strict=True)]
    return ask(text, parts, scope.filter.and_also(read.filter), read.words, read.chips)


def search_image(services: Services, data: bytes, scope: Scope, crop: Crop | None = None) -> Answer:
    """Photos by another picture, or a part of it. Raises: see mixed.picture_vector."""
    timer = StepTimer(services.telemetry)
    parts = [Part(picture_vector(services, data, timer, crop), form=QueryForm.PICTURE)]
    question = ask(name_of([MixedTerm(image=0, crop=crop)], [data]), parts, scope.filter)
    return _answer(services, QueryKind.IMAGE, question, scope, timer)


def search_similar(services: Services, photo_id: int, scope: Scope, crop: Crop | None = None) -> Answer:
    """Photos like a stored one, or a part of it; itself left out. Raises: see mixed.photo_vector."""
    timer = StepTimer(services.telemetry)
    vector = photo_vector(services, photo_id, timer, crop)
    name = name_of([MixedTerm(photo_id=photo_id, crop=crop)], [])
    question = replace(ask(name, [Part(vector, form=QueryForm.PICTURE)], scope.filter), without=photo_id)
    return _answer(services, QueryKind.SIMILAR, question, scope, timer)


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
    question = _understood(services, transcript.text, scope, timer)
    answer = _answer(services, QueryKind.VOICE, question, scope, timer)
    return replace(answer, transcript=transcript)


def search_mixed(
    services: Services, terms: Sequence[MixedTerm], pictures: Sequence[bytes], scope: Scope
) -> Answer:
    """Photos by words, photos and pictures together, each with its weight. Raises: see mixed.term_parts."""
    timer = StepTimer(services.telemetry)
    parts = term_parts(services, terms, pictures, timer)
    question = ask(name_of(terms, pictures), parts, scope.filter)
    return _answer(services, QueryKind.MIXED, question, scope, timer)


def rehearse(services: Services, text: str, scope: Scope) -> Answer:
    """As search_text, but nothing of it stays, and it is not reranked: for the next one to be a warm one."""
    services, timer = replace(services, reranker=None, database=services.database.on_trial()), StepTimer(None)
    question = _understood(services, text, scope, timer, cached=False)
    with _turn(services, timer):
        ranked, results = _found(services, question, scope, timer)
    about = About(text, QueryKind.TEXT, None)
    _log(services, about.kind, text, len(results), timer.total_ms)
    freeze(services, asdict(about), ranked, scope.k)
    return Answer(about, results, timer.total_ms)


@contextmanager
def _turn(services: Services, timer: StepTimer) -> Iterator[None]:
    """For all of a search but what models do: others wait meanwhile, or have their queries encoded together."""
    with timer("wait"):
        services.search_turns.acquire()
    try:
        yield
    finally:
        services.search_turns.release()


@contextmanager
def _turn_given_back(services: Services) -> Iterator[None]:
    services.search_turns.release()
    try:
        yield
    finally:
        services.search_turns.acquire()


def _found(
    services: Services, question: Question, scope: Scope, timer: StepTimer
) -> tuple[list[Ranked], list[Hit]]:
    """All that may be paged through, and the first page."""
    question = replace(question, filter=replace(question.filter, owner=services.owner))
    depth = max(scope.k, services.settings.max_results if scope.options.paged else 0)
    candidates = find_candidates(services, question, depth * services.settings.ranking_overfetch, timer)
    ranked = _ranked(services, question, candidates, scope.options, timer)
    with timer("arrange"):
        ranked = arrange(services, ranked, scope.options)[:depth]
    with timer("database"):
        return ranked, with_photos(services, ranked[: scope.k])


def _answer(services: Services, kind: QueryKind, question: Question, scope: Scope, timer: StepTimer) -> Answer:
    with _turn(services, timer):
        ranked, results = _found(services, question, scope, timer)
        with timer("log"):
            query_id = _log(services, kind, question.text, len(results), timer.total_ms)
            matched = any(item.candidate.relevance >= MATCH for item in ranked)
            about = About(question.text, kind, query_id, matched, question.chips)
            cursor = freeze(services, asdict(about), ranked, scope.k) if scope.options.paged else None
    logger.info("search %s results=%d %s", kind, len(results), timer, extra=timer.fields)
    return Answer(about, results, timer.total_ms, timer.ms.get("encode", 0.0), next_cursor=cursor)


def next_page(services: Services, cursor: str, k: int) -> Answer:
    """The results after those of an earlier page. Raises: InvalidRequest, CursorExpired."""
    timer = StepTimer(services.telemetry)
    with timer("database"):
        page = thaw(services, cursor, k)
        results = with_photos(services, page.results)
    return Answer(
        TypeAdapter(About).validate_python(page.answer),
        results,
        timer.total_ms,
        first_rank=page.start + 1,
        next_cursor=page.next_cursor,
    )


def with_photos(services: Services, ranked: Sequence[Ranked]) -> list[Hit]:
    """The photos of these results; one that was deleted meanwhile is left out."""
    ids = [item.candidate.photo_id for item in ranked]
    with services.database.read() as session:
        mine = session.exec(_PHOTOS, params={"owner": services.owner, "ids": ids})
        photos = {photo.id: photo for photo in mine}
    return [Hit(photos[item.candidate.photo_id], item) for item in ranked if item.candidate.photo_id in photos]


def _ranked(
    services: Services,
    question: Question,
    candidates: Sequence[Candidate],
    options: SearchOptions,
    timer: StepTimer,
) -> list[Ranked]:
    if question.vector is None:
        return best_first([Ranked(candidate, score=_kept(candidate.unwanted_factor)) for candidate in candidates])
    rules = replace(RankingRules.of(services.settings), text_weight=text_weight(services.encoder.logit_scale))
    if options.recency is not None:
        rules = replace(rules, recency_weight=options.recency)
    with timer("rank"):
        ranked = rank(candidates, rules, utc_now())
    if services.reranker is None:
        return ranked
    with _turn_given_back(services), timer("rerank"):
        return rerank(services, question.words, ranked)


def _kept(unwanted_factor: float) -> float:
    """Where nothing is asked for but that something is not shown, photos that do not show it are equal."""
    return 1.0 if unwanted_factor >= MATCH else unwanted_factor


def _log(services: Services, kind: QueryKind, text: str, results: int, latency_ms: float) -> int | None:
    """The query's id; None if it cannot be written down, which is no reason to keep back its results."""
    values = {"owner": services.owner, "kind": kind, "text": text, "result_count": results}
    try:
        with services.database.log() as session:
            key = session.connection().execute(_QUERY, values | {"latency_ms": latency_ms}).inserted_primary_key
    except OperationalError as error:
        logger.warning("a query was not written down: %s", error)
        return None
    assert key is not None, "an inserted query has an id"
    return int(key[0])
