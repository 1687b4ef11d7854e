"""Routes of services that this one replaces: their clients go on with another address."""

import time
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Request, UploadFile
from fastapi.responses import FileResponse, Response

from app.dependencies import ServicesDep
from app.drop_in_schemas import (
    IngestOut,
    ItemMetadata,
    PictureEmbedding,
    QueryIn,
    ScoredIds,
    TextHit,
    TextSearchIn,
    TextSearchOut,
)
from app.errors import InvalidRequest
from app.flows import embed, items, photos, search
from app.flows.ingest import NewItem
from app.flows.services import Services
from app.problems import problem_responses
from app.routers.photos import FILE_RESPONSES, original_answer, read_upload
from app.routers.search import checked_count, checked_words
from app.schemas import CleanText, LongText, ShortText, photo_fields, plain_filename, split_tags
from app.services.decode import ACCEPTED

router = APIRouter(tags=["drop-in"])


@router.post("/ingest_stream/", responses=problem_responses(400, 409, 413, 415, 422, 503, 507))
def ingest_item(
    services: ServicesDep,
    text_caption: Annotated[
        LongText | None, Form(description="Without a picture, what the item is found by.")
    ] = None,
    image_file: Annotated[UploadFile | None, File(description=f"{ACCEPTED}.")] = None,
    item_id: Annotated[ShortText | None, Form(description="Your own; sent again, it changes the item.")] = None,
    title: Annotated[ShortText | None, Form()] = None,
    tags_str: Annotated[LongText | None, Form(description="Separated by commas.")] = None,
    category: Annotated[ShortText | None, Form()] = None,
) -> IngestOut:
    """Add an item with a picture, a caption, or both; or change the words of one that is there."""
    started = time.perf_counter()
    if image_file is None and not text_caption:
        raise InvalidRequest("Send an image_file, a text_caption, or both.")
    item = NewItem(
        data=read_upload(image_file, services) if image_file else None,
        filename=plain_filename(image_file.filename) if image_file else "",
        title=title,
        caption=text_caption,
        category=category,
        tags=split_tags(tags_str),
        item_id=item_id,
    )
    added = items.put_item(services, item)
    return IngestOut(
        message="Item added." if added.created else "Item updated.",
        item_id=items.name_of(added.photo),
        processing_time=time.perf_counter() - started,
    )


@router.post("/search_text/", responses=problem_responses(400, 422, 503))
def search_items(services: ServicesDep, asked: TextSearchIn) -> TextSearchOut:
    """Find items by words."""
    answer = _found(services, asked.query_text, asked.top_n)
    return TextSearchOut(results=[_hit(hit) for hit in answer.results], query_time=answer.latency_ms / 1000)


@router.post("/search", responses=problem_responses(400, 422, 503))
def search_ids(services: ServicesDep, asked: QueryIn) -> ScoredIds:
    """Find photos by words, and learn no more than their ids."""
    answer = _found(services, asked.query, asked.top_k)
    return ScoredIds(results=[[hit.ranked.candidate.photo_id, hit.ranked.score] for hit in answer.results])


@router.post("/embed-image", responses=problem_responses(400, 413, 415, 422, 503))
def embed_image(
    services: ServicesDep, file: Annotated[UploadFile, File(description=f"{ACCEPTED}.")]
) -> PictureEmbedding:
    """The vector of a picture, which is not kept."""
    vector = embed.embed_picture(services, read_upload(file, services))
    return PictureEmbedding(
        embedding=vector.tolist(), model=services.encoder.space, device=services.encoder.device
    )


@router.get("/images/{path:path}", response_class=FileResponse, responses=FILE_RESPONSES)
def get_image(
    services: ServicesDep,
    path: Annotated[CleanText, Path(description="`image_path` of a result, or `path` of a photo.")],
    request: Request,
) -> Response:
    """The original, byte for byte."""
    with services.database.read() as session:
        photo = photos.photo_at(session, path, services.owner)
    return original_answer(services, photo, request.headers)


def _found(services: Services, words: str, k: int) -> search.Answer:
    return search.search_text(services, checked_words(services, words), search.Scope(checked_count(services, k)))


def _hit(hit: search.Hit) -> TextHit:
    fields = photo_fields(hit.photo)
    metadata = fields | {"original_filename": hit.photo.filename, "faiss_id": hit.photo.id}
    return TextHit(
        id=items.name_of(hit.photo),
        score=hit.ranked.score,
        text=fields["caption"],
        image_path=fields["path"],
        metadata=ItemMetadata.model_validate(metadata),
    )
