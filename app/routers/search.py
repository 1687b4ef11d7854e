"""The four searches: by words, by a picture, by a stored photo, by voice."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, UploadFile
from pydantic import Json

from app.dependencies import ServicesDep
from app.errors import InvalidRequest
from app.flows import search
from app.flows.filters import PhotoFilter
from app.flows.ranking import Ranked
from app.flows.services import Services
from app.problems import problem_responses
from app.routers.photos import FilterDep, read_upload
from app.schemas import MAX_ID, CleanText, photo_fields
from app.search_schemas import (
    ChipOut,
    Crop,
    MixedTerm,
    RankedResults,
    SearchHit,
    SearchOptions,
    SearchResults,
    VoiceResults,
    Why,
)
from app.services.decode import ACCEPTED

router = APIRouter(tags=["search"])

Words = Annotated[CleanText, Query(min_length=1, description="What to look for.", examples=["a dog in the snow"])]
Count = Annotated[int, Query(ge=1, le=10_000, description="Most results to return.")]
PICTURE = File(description=f"{ACCEPTED}.")


async def search_options(params: Annotated[SearchOptions, Query()]) -> SearchOptions:
    """The parameters that searches share, beside the filters."""
    return params


async def crop_of(
    crop: Annotated[
        str | None,
        Query(
            max_length=100,
            description="Only this part: `x,y,width,height` in shares of the picture, from its left upper corner.",
            examples=["0,0.5,0.5,0.5"],
        ),
    ] = None,
) -> Crop | None:
    """Raises: InvalidRequest."""
    if crop is None:
        return None
    try:
        return Crop(**dict(zip(Crop.model_fields, crop.split(","), strict=True)))
    except ValueError:
        raise InvalidRequest("crop is x,y,width,height in shares of the picture, all of it inside.") from None


CropDep = Annotated[Crop | None, Depends(crop_of)]
OptionsDep = Annotated[SearchOptions, Depends(search_options)]
SPEECH = File(description="WebM, Ogg, MP3, M4A, WAV or FLAC.")


@router.get("/search", responses=problem_responses(400, 422, 503))
def search_photos(
    services: ServicesDep, q: Words, wanted: FilterDep, options: OptionsDep, top_k: Count = 10
) -> SearchResults:
    """Find photos by words."""
    answer = search.search_text(services, checked_words(services, q), scope(services, top_k, wanted, options))
    fields = answer_fields(answer)
    return SearchResults(**fields, total_results=fields["total_found"])


@router.get("/search/text", responses=problem_responses(400, 422, 503))
def search_by_text(
    services: ServicesDep, q: Words, wanted: FilterDep, options: OptionsDep, k: Count = 10
) -> RankedResults:
    """Find photos by words, with times."""
    answer = search.search_text(services, checked_words(services, q), scope(services, k, wanted, options))
    return RankedResults(**answer_fields(answer))


@router.get("/search/rehearsal", include_in_schema=False)
def rehearse_search(
    services: ServicesDep, q: Words, wanted: FilterDep, options: OptionsDep, k: Count = 10
) -> RankedResults:
    """As /search/text, and told to nobody: app/rehearsal.py asks for it."""
    answer = search.rehearse(services, checked_words(services, q), scope(services, k, wanted, options))
    return RankedResults(**answer_fields(answer))


@router.get("/search/page", responses=problem_responses(400, 410, 422))
def next_search_page(
    services: ServicesDep,
    cursor: Annotated[str, Query(max_length=200, description="`next_cursor` of the page before.")],
    k: Count = 10,
) -> RankedResults:
    """More results of any search, as they were ranked then: none twice, and none left out."""
    return RankedResults(**answer_fields(search.next_page(services, cursor, checked_count(services, k))))


@router.post("/search/image", responses=problem_responses(400, 413, 415, 422, 503))
def search_by_image(
    services: ServicesDep,
    file: Annotated[UploadFile, PICTURE],
    wanted: FilterDep,
    options: OptionsDep,
    crop: CropDep,
    k: Count = 10,
) -> RankedResults:
    """Find photos that look like a picture, or like a part of it. The picture is not kept."""
    data = read_upload(file, services)
    answer = search.search_image(services, data, scope(services, k, wanted, options), crop)
    return RankedResults(**answer_fields(answer))


@router.post("/search/image-to-image", responses=problem_responses(400, 404, 422, 503))
def search_by_photo(
    services: ServicesDep,
    reference_photo_id: Annotated[int, Query(ge=1, le=MAX_ID)],
    wanted: FilterDep,
    options: OptionsDep,
    crop: CropDep,
    top_k: Count = 10,
) -> RankedResults:
    """Find photos like one of the library, or like a part of it; that one is left out."""
    answer = search.search_similar(services, reference_photo_id, scope(services, top_k, wanted, options), crop)
    return RankedResults(**answer_fields(answer))


@router.post("/search/mixed", responses=problem_responses(400, 404, 413, 415, 422, 503))
def search_by_mixture(
    services: ServicesDep,
    terms: Annotated[
        Json[list[MixedTerm]],
        Form(
            min_length=1,
            max_length=20,
            description="JSON: a list of `text`, `photo_id` or `image` (the number of a file), each with `weight` "
            "and, for pictures, `crop`.",
            examples=['[{"photo_id": 7}, {"text": "at night"}, {"text": "people", "weight": -1}]'],
        ),
    ],
    wanted: FilterDep,
    options: OptionsDep,
    files: Annotated[list[UploadFile], File(description="Pictures that terms name by number.")] = [],  # noqa: B006 — FastAPI copies it
    k: Count = 10,
) -> RankedResults:
    """Find photos by several words, photos and pictures at once: more of these, less of those."""
    pictures = [read_upload(file, services) for file in files]
    answer = search.search_mixed(services, terms, pictures, scope(services, k, wanted, options))
    return RankedResults(**answer_fields(answer))


@router.post("/search/voice", responses=problem_responses(400, 413, 415, 422, 503))
def search_by_voice(
    services: ServicesDep,
    file: Annotated[UploadFile, SPEECH],
    wanted: FilterDep,
    options: OptionsDep,
    k: Count = 10,
) -> VoiceResults:
    """Find photos by what is said. Silence, noise and music without words answer 422."""
    answer = search.search_voice(services, read_upload(file, services), scope(services, k, wanted, options))
    assert answer.transcript is not None, "a voice answer has a transcript"
    return VoiceResults(
        **answer_fields(answer),
        transcription=answer.transcript.text,
        language=answer.transcript.language,
        whisper_ms=answer.transcript.ms,
    )


def scope(services: Services, k: int, wanted: PhotoFilter, options: SearchOptions) -> search.Scope:
    """Raises: InvalidRequest for more results than the setting allows."""
    return search.Scope(checked_count(services, k), wanted, options)


def checked_count(services: Services, k: int) -> int:
    """Raises: InvalidRequest for more results than the setting allows."""
    if k > services.settings.max_results:
        raise InvalidRequest(f"At most {services.settings.max_results} results can be asked for.")
    return k


def checked_words(services: Services, words: str) -> str:
    """Raises: InvalidRequest for words that are empty, or longer than the setting allows."""
    limit = services.settings.max_query_chars
    if len(words) > limit:
        raise InvalidRequest(f"A query may have {limit:,} characters.")
    if not words.strip():
        raise InvalidRequest("The query is empty.")
    return words.strip()


def answer_fields(answer: search.Answer) -> dict[str, Any]:
    hits = [_hit(hit, rank) for rank, hit in enumerate(answer.results, answer.first_rank)]
    return {
        "query": answer.about.query,
        "matched": answer.about.matched,
        "chips": [ChipOut(**asdict(chip)) for chip in answer.about.chips],
        "query_id": answer.about.query_id,
        "query_type": answer.about.kind,
        "results": hits,
        "total_found": len(hits),
        "latency_ms": answer.latency_ms,
        "encoder_latency_ms": answer.encoder_latency_ms,
        "next_cursor": answer.next_cursor,
    }


def _hit(hit: search.Hit, rank: int) -> SearchHit:
    candidate = hit.ranked.candidate
    fields = photo_fields(hit.photo)
    shown = {name: fields[name] for name in SearchHit.model_fields if name in fields}
    return SearchHit(
        **shown,
        photo_id=candidate.photo_id,
        rank=rank,
        score=hit.ranked.score,
        similarity=candidate.similarity,
        distance=1 - candidate.similarity,
        relevance=candidate.relevance,
        why=_why(hit.ranked),
        vote=candidate.vote,
        feedback_id=candidate.feedback_id,
        collapsed=list(hit.ranked.collapsed),
    )


def _why(ranked: Ranked) -> Why:
    parts = ranked.candidate._asdict() | ranked._asdict()
    return Why(**{name: parts[name] for name in Why.model_fields})
