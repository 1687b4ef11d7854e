"""Upload, and the library."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Path, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse

from app.dependencies import ServicesDep
from app.errors import FileNotStored, TooLarge
from app.flows import facets, ingest, photos
from app.flows.filters import PhotoFilter
from app.flows.services import Services
from app.problems import problem_responses
from app.routers.remote_files import remote_answer
from app.schemas import (
    MAX_ID,
    Latitude,
    Longitude,
    LongText,
    PhotoDetail,
    PhotoOut,
    PhotoPage,
    PhotoPatch,
    ShortText,
    UploadOut,
    UtcTime,
    photo_fields,
    plain_filename,
    split_tags,
)
from app.search_schemas import FacetCount, Facets, FilterParams, PhotoOrder
from app.services.decode import ACCEPTED
from app.services.interfaces import RemoteFile
from app.tables import Photo

router = APIRouter(tags=["photos"])

PhotoId = Annotated[int, Path(ge=1, le=MAX_ID, examples=[1])]
IfNoneMatch = Annotated[str | None, Header(description="ETags of what the client has.", include_in_schema=False)]
FILE_RESPONSES = {
    206: {"description": "The part that was asked for by `Range`."},
    304: {"description": "The client has it already."},
    307: {"description": "The bucket has it; the address is good for a short while."},
    **problem_responses(404, 416, 422),
}


async def photo_filter(services: ServicesDep, params: Annotated[FilterParams, Query()]) -> PhotoFilter:
    """The filter parameters that listings and searches share."""
    return PhotoFilter.of(params, services.owner)


FilterDep = Annotated[PhotoFilter, Depends(photo_filter)]


def read_upload(file: UploadFile, services: Services) -> bytes:
    """The file's bytes. Raises: TooLarge."""
    limit = services.settings.max_upload_bytes
    data = file.file.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"The file has more than {limit:,} bytes.")
    return data


@router.post(
    "/upload",
    status_code=201,
    responses={
        200: {"model": UploadOut, "description": "These bytes are in the library already."},
        **problem_responses(400, 409, 413, 415, 422, 503, 507),
    },
)
def upload_photo(  # noqa: PLR0913, PLR0917 — each parameter is a field of the form
    services: ServicesDep,
    response: Response,
    file: Annotated[UploadFile, File(description=f"{ACCEPTED}.")],
    title: Annotated[ShortText | None, Form()] = None,
    caption: Annotated[LongText | None, Form()] = None,
    tags: Annotated[LongText | None, Form(description="Separated by commas.", examples=["dog, beach"])] = None,
    category: Annotated[ShortText | None, Form()] = None,
    item_id: Annotated[ShortText | None, Form(description="Your own name for this photo; unique.")] = None,
    taken_at: Annotated[UtcTime | None, Form(description="ISO 8601; goes before the file's EXIF.")] = None,
    latitude: Annotated[Latitude | None, Form()] = None,
    longitude: Annotated[Longitude | None, Form()] = None,
) -> UploadOut:
    """Add one photo. When this answers, it is stored for good and the next search finds it."""
    item = ingest.NewItem(
        data=read_upload(file, services),
        filename=plain_filename(file.filename),
        title=title,
        caption=caption,
        category=category,
        tags=split_tags(tags),
        item_id=item_id,
        taken_at=taken_at,
        latitude=latitude,
        longitude=longitude,
    )
    added = ingest.add_item(services, item)
    response.status_code = 201 if added.created else 200
    message = "Photo added." if added.created else "This photo is already in the library."
    return UploadOut(**photo_fields(added.photo), message=message)


@router.get("/photos", responses=problem_responses(400, 422))
def list_photos(
    services: ServicesDep,
    wanted: FilterDep,
    sort: Annotated[PhotoOrder, Query(description="By when they were added or taken, the latest first.")] = (
        PhotoOrder.ADDED
    ),
    skip: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> PhotoPage:
    """The library, or those of its photos that the filters leave."""
    page = photos.list_photos(services, wanted, sort, skip=skip, limit=limit, cursor=cursor)
    return PhotoPage(
        photos=[PhotoOut.of(photo) for photo in page.photos], total=page.total, next_cursor=page.next_cursor
    )


@router.get("/facets", responses=problem_responses(422))
def count_facets(
    services: ServicesDep,
    wanted: FilterDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most values of each.")] = 20,
) -> Facets:
    """What the photos that the filters leave have in common: by these values they can be narrowed further."""
    found = facets.count_facets(services.database, wanted, limit)
    counts = {
        name: [FacetCount(value=value, count=count) for value, count in values.items()]
        for name, values in found.items()
    }
    return Facets(total=photos.count_photos(services.database, wanted), **counts)


@router.get("/photo/{photo_id}", responses=problem_responses(404, 422))
def get_photo(services: ServicesDep, photo_id: PhotoId) -> PhotoDetail:
    """One photo, with its embedding."""
    with services.database.read() as session:
        photo = photos.get_photo(session, photo_id, services.owner)
        vector = photos.get_embedding(session, photo_id, services.encoder.space)
    embedding = [] if vector is None else vector.tolist()
    return PhotoDetail(**photo_fields(photo), embedding=embedding, space=services.encoder.space)


@router.patch("/photo/{photo_id}", responses=problem_responses(400, 404, 409, 422))
def update_photo(services: ServicesDep, photo_id: PhotoId, changes: PhotoPatch) -> PhotoOut:
    """Change your own words about a photo."""
    return PhotoOut.of(photos.update_photo(services, photo_id, changes.model_dump(exclude_unset=True)))


@router.delete("/photo/{photo_id}", status_code=204, responses=problem_responses(404, 422))
def delete_photo(services: ServicesDep, photo_id: PhotoId) -> None:
    """Remove a photo: its file, its rows and its vector are gone when this answers."""
    photos.delete_photo(services, photo_id)


@router.get("/photo/{photo_id}/file", response_class=FileResponse, responses=FILE_RESPONSES)
def get_photo_file(services: ServicesDep, photo_id: PhotoId, request: Request) -> Response:
    """The original, byte for byte."""
    photo, _ = _stored(services, photo_id)
    return original_answer(services, photo, request.headers)


@router.get("/photo/{photo_id}/thumbnail", response_class=FileResponse, responses=FILE_RESPONSES)
def get_photo_thumbnail(
    services: ServicesDep,
    photo_id: PhotoId,
    size: Annotated[Literal["160", "320", "640", "1280"], Query(description="px of the longer side.")] = "320",
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A small WebP of the photo, upright."""
    _, sha256 = _stored(services, photo_id)
    headers = lasting(f"{sha256}-{size}")
    if matches(if_none_match, headers):
        return NotModifiedResponse(headers)
    return FileResponse(services.thumbnails.path(sha256, int(size)), media_type="image/webp", headers=headers)


def original_answer(services: Services, photo: Photo, request: Headers) -> Response:
    """The original of a photo that has one. Raises: FileNotStored, StorageMissing, HTTPException (416)."""
    assert photo.sha256 is not None, "an item without a picture has no original"
    headers = lasting(photo.sha256)
    if matches(request.get("if-none-match"), headers):
        return NotModifiedResponse(headers)
    original = services.store.path(photo.sha256)
    if isinstance(original, RemoteFile):
        return remote_answer(original, request, headers, photo.mime)
    return FileResponse(
        original,
        media_type=photo.mime,
        filename=photo.filename or f"{photo.id}",
        content_disposition_type="inline",
        headers=headers,
    )


def lasting(content: str) -> Headers:
    """Of a file whose bytes `content` names: it never changes, and a client's copy is good for ever.

    Starlette's own ETag is of date and size, so the same thumbnail made again would be sent again.
    """
    return Headers({"ETag": f'"{content}"', "Cache-Control": "private, max-age=31536000, immutable"})


def matches(if_none_match: str | None, headers: Headers) -> bool:
    """Whether the client has what it asks for; proxies that compress mark an ETag as weak (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    return bool(tags & {"*", headers["ETag"].removeprefix("W/")})


def _stored(services: Services, photo_id: int) -> tuple[Photo, str]:
    with services.database.read() as session:
        photo = photos.get_photo(session, photo_id, services.owner)
    if photo.sha256 is None:
        raise FileNotStored(f"Photo {photo_id} is a text-only item.")
    return photo, photo.sha256
