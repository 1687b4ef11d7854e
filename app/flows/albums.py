"""Searches that are kept: an album's photos are those that its query and filters find now."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import col, select

from app.errors import AlbumNotFound, InvalidRequest
from app.flows.filters import PhotoFilter
from app.flows.search import Answer, Scope, search_text
from app.flows.services import Services
from app.search_schemas import FilterParams, SearchOptions
from app.tables import Album, utc_now


def make_album(services: Services, name: str, query: str, params: FilterParams) -> Album:
    """Raises: InvalidRequest for an album of everything."""
    album = Album(
        owner=services.owner, name=name, query=query, filter=params.model_dump(mode="json", exclude_defaults=True)
    )
    _check(album)
    with services.database.write() as session:
        session.add(album)
    return album


def list_albums(services: Services) -> Sequence[Album]:
    """By name."""
    with services.database.read() as session:
        return session.exec(
            select(Album).where(Album.owner == services.owner).order_by(col(Album.name), col(Album.id))
        ).all()


def get_album(services: Services, album_id: int) -> Album:
    """Raises: AlbumNotFound."""
    with services.database.read() as session:
        album = session.get(Album, album_id)
    if album is None or album.owner != services.owner:
        raise AlbumNotFound(f"There is no album {album_id}.")
    return album


def change_album(services: Services, album_id: int, changes: dict[str, Any]) -> Album:
    """Raises: AlbumNotFound, InvalidRequest (nothing left to search for)."""
    album = get_album(services, album_id)
    with services.database.write() as session:
        album = session.merge(album)
        for name, value in changes.items():
            setattr(album, name, value)
        _check(album)
        album.updated_at = utc_now()
    return album


def delete_album(services: Services, album_id: int) -> None:
    """Its photos stay. Raises: AlbumNotFound."""
    album = get_album(services, album_id)
    with services.database.write() as session:
        session.delete(session.merge(album))


def album_photos(services: Services, album: Album, k: int, options: SearchOptions) -> Answer:
    """What its search finds now. Raises: what search_text raises."""
    wanted = PhotoFilter.of(FilterParams(**album.filter), services.owner)
    return search_text(services, album.query, Scope(k, wanted, options))


def _check(album: Album) -> None:
    if not album.query and not album.filter:
        raise InvalidRequest("An album needs a query or a filter.")
