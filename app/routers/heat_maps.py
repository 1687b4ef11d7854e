"""Why a photo matched."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse

from app.dependencies import ServicesDep
from app.flows import heat_maps
from app.problems import problem_responses
from app.routers.photos import IfNoneMatch, PhotoId, matches
from app.routers.search import Words, checked_words

router = APIRouter(tags=["search"])

KEPT = "private, max-age=3600"  # then a client asks again, for the model may have changed
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}},
    304: {"description": "The client has it already."},
    **problem_responses(400, 404, 422, 503),
}


@router.get("/photo/{photo_id}/heatmap", response_class=Response, responses=RESPONSES)
def get_heat_map(
    services: ServicesDep,
    photo_id: PhotoId,
    q: Words,
    size: Annotated[int, Query(ge=64, le=1280, description="px of the longer side, at most.")] = 512,
    overlay: Annotated[bool, Query(description="Only the colours, to lay over the photo.")] = False,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Where in a photo these words are seen: the photo in grey under colours, the hotter the surer."""
    asked = heat_maps.ask(services, photo_id, checked_words(services, q), size, only_colours=overlay)
    # Weak: in another batch the encoder's numbers differ in their last digits, and so may a few pixels.
    headers = Headers({"ETag": f'W/"{asked.name}"', "Cache-Control": KEPT})
    if matches(if_none_match, headers):
        return NotModifiedResponse(headers)
    return Response(heat_maps.draw(services, asked), media_type="image/png", headers=headers)
