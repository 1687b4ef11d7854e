"""Albums: searches that are kept under a name."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.dependencies import ServicesDep
from app.flows import albums
from app.problems import problem_responses
from app.routers.search import Count, OptionsDep, answer_fields, checked_count
from app.schemas import MAX_ID
from app.search_schemas import AlbumIn, AlbumOut, AlbumPatch, AlbumResults

router = APIRouter(prefix="/albums", tags=["albums"])

AlbumId = Annotated[int, Path(ge=1, le=MAX_ID, examples=[1])]


@router.post("", status_code=201, responses=problem_responses(400, 422))
def add_album(services: ServicesDep, album: AlbumIn) -> AlbumOut:
    """Keep a search: the album holds what it finds, now and later."""
    return AlbumOut.of(albums.make_album(services, album.name, album.query, album.filter))


@router.get("")
def list_albums(services: ServicesDep) -> list[AlbumOut]:
    """All albums, by name."""
    return [AlbumOut.of(album) for album in albums.list_albums(services)]


@router.get("/{album_id}", responses=problem_responses(400, 404, 422, 503))
def get_album(services: ServicesDep, album_id: AlbumId, options: OptionsDep, k: Count = 50) -> AlbumResults:
    """An album and the photos that are in it now."""
    album = albums.get_album(services, album_id)
    answer = albums.album_photos(services, album, checked_count(services, k), options)
    return AlbumResults(album=AlbumOut.of(album), **answer_fields(answer))


@router.patch("/{album_id}", responses=problem_responses(400, 404, 422))
def update_album(services: ServicesDep, album_id: AlbumId, changes: AlbumPatch) -> AlbumOut:
    """Change its name, query or filter."""
    given = changes.model_dump(mode="json", exclude_none=True, exclude={"filter"})
    if changes.filter is not None:
        given["filter"] = changes.filter.model_dump(mode="json", exclude_defaults=True)
    return AlbumOut.of(albums.change_album(services, album_id, given))


@router.delete("/{album_id}", status_code=204, responses=problem_responses(404, 422))
def delete_album(services: ServicesDep, album_id: AlbumId) -> None:
    """Forget an album; its photos stay."""
    albums.delete_album(services, album_id)
