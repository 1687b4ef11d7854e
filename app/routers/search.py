"""The four searches: by words, by a picture, by a stored photo, by voice."""

from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile

from app.dependencies import ServicesDep
from app.errors import InvalidRequest
from app.flows import search
from app.flows.filters import PhotoFilter
from app.flows.ranking import Ranked
from app.flows.services import Services
from app.problems import problem_responses
from app.routers.photos import FilterDep, read_upload
from app.schemas import MAX_ID, CleanText, RankedResults, SearchHit, SearchResults, VoiceResults, photo_fields
from app.services.decode import ACCEPTED

router = APIRouter(tags=["search"])

Words = Annotated[CleanText, Query(min_length=1, description="What to look for.", examples=["a dog in the snow"])]
Count = Annotated[int, Query(ge=1, le=10_000, description="Most results to return.")]
Recency = Annotated[
    float | None, Query(ge=0, le=1, description="Share of the score that fades with age; default: the setting.")
]
PICTURE = File(description=f"{ACCEPTED}.")
SPEECH = File(description="WebM, Ogg, MP3, M4A, WAV or FLAC.")


@router.get("/search", responses=problem_responses(400, 422, 503))
def search_photos(
    services: ServicesDep, q: Words, wanted: FilterDep, top_k: Count = 10, recency: Recency = None
) -> SearchResults:
    """Find photos by words."""
    answer = search.search_text(services, checked_words(services, q), scope(services, top_k, wanted, recency))
    hits = as_hits(answer.results)
    return SearchResults(
        query=answer.query,
        query_id=answer.query_id,
        results=hits,
        total_results=len(hits),
        latency_ms=answer.latency_ms,
    )


@router.get("/search/text", responses=problem_responses(400, 422, 503))
def search_by_text(
    services: ServicesDep, q: Words, wanted: FilterDep, k: Count = 10, recency: Recency = None
) -> RankedResults:
    """Find photos by words, with times."""
    answer = search.search_text(services, checked_words(services, q), scope(services, k, wanted, recency))
    return RankedResults(**answer_fields(answer))


@router.post("/search/image", responses=problem_responses(400, 413, 415, 422, 503))
def search_by_image(
    services: ServicesDep,
    file: Annotated[UploadFile, PICTURE],
    wanted: FilterDep,
    k: Count = 10,
    recency: Recency = None,
) -> RankedResults:
    """Find photos that look like a picture. The picture is not kept."""
    answer = search.search_image(services, read_upload(file, services), scope(services, k, wanted, recency))
    return RankedResults(**answer_fields(answer))


@router.post("/search/image-to-image", responses=problem_responses(400, 404, 422, 503))
def search_by_photo(
    services: ServicesDep,
    reference_photo_id: Annotated[int, Query(ge=1, le=MAX_ID)],
    wanted: FilterDep,
    top_k: Count = 10,
    recency: Recency = None,
) -> RankedResults:
    """Find photos like one of the library; that one is left out."""
    answer = search.search_similar(services, reference_photo_id, scope(services, top_k, wanted, recency))
    return RankedResults(**answer_fields(answer))


@router.post("/search/voice", responses=problem_responses(400, 413, 415, 422, 503))
def search_by_voice(
    services: ServicesDep,
    file: Annotated[UploadFile, SPEECH],
    wanted: FilterDep,
    k: Count = 10,
    recency: Recency = None,
) -> VoiceResults:
    """Find photos by what is said. Silence, noise and music without words answer 422."""
    answer = search.search_voice(services, read_upload(file, services), scope(services, k, wanted, recency))
    assert answer.transcript is not None, "a voice answer has a transcript"
    return VoiceResults(
        **answer_fields(answer),
        transcription=answer.transcript.text,
        language=answer.transcript.language,
        whisper_ms=answer.transcript.ms,
    )


def scope(services: Services, k: int, wanted: PhotoFilter, recency: float | None) -> search.Scope:
    """Raises: InvalidRequest for more results than the setting allows."""
    if k > services.settings.max_results:
        raise InvalidRequest(f"At most {services.settings.max_results} results can be asked for.")
    return search.Scope(k=k, filter=wanted, recency_weight=recency)


def checked_words(services: Services, words: str) -> str:
    """Raises: InvalidRequest for words that are empty, or longer than the setting allows."""
    limit = services.settings.max_query_chars
    if len(words) > limit:
        raise InvalidRequest(f"A query may have {limit:,} characters.")
    if not words.strip():
        raise InvalidRequest("The query is empty.")
    return words.strip()


def answer_fields(answer: search.Answer) -> dict[str, object]:
    hits = as_hits(answer.results)
    return {
        "query": answer.query,
        "query_id": answer.query_id,
        "query_type": answer.kind,
        "results": hits,
        "total_found": len(hits),
        "latency_ms": answer.latency_ms,
        "encoder_latency_ms": answer.encoder_latency_ms,
    }


def as_hits(results: list[Ranked]) -> list[SearchHit]:
    return [_hit(item, rank) for rank, item in enumerate(results, 1)]


def _hit(item: Ranked, rank: int) -> SearchHit:
    photo, similarity = item.candidate.photo, item.candidate.similarity
    fields = photo_fields(photo)
    shown = {name: fields[name] for name in SearchHit.model_fields if name in fields}
    return SearchHit(
        **shown,
        photo_id=photo.id,
        rank=rank,
        score=item.score,
        similarity=similarity,
        distance=1 - similarity,
        vote=item.candidate.vote,
        feedback_id=item.candidate.feedback_id,
    )
