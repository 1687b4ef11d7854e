"""Which photos a listing or a search may show."""

import json
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, String, and_, case, cast, false, func, or_
from sqlmodel import col

from app.id_lists import among
from app.search_schemas import FilterParams
from app.tables import DEFAULT_OWNER, Orientation, Photo, PhotoStatus

EARTH_RADIUS_KM = 6371.0088  # mean, IUGG
KM_PER_DEGREE = math.pi * EARTH_RADIUS_KM / 180  # of latitude


@dataclass(frozen=True)
class Box:
    """Degrees; with west > east it crosses the 180th meridian."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True)
class Circle:
    """Around a place, in degrees and km."""

    latitude: float
    longitude: float
    radius_km: float


# How two filters that both say something of one thing become one.
JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "taken_from": max,
    "taken_before": min,
    "added_from": max,
    "added_before": min,
    "tags_all": operator.add,
    "tags_none": operator.add,
}


@dataclass(frozen=True)
class PhotoFilter:
    """Every condition that is given must hold. The owner's category and tags win over the suggested ones.

    Moments are in UTC, `_from` inclusive, `_before` exclusive. Names (camera, place, file name) may be parts, in
    any case; tags and categories are whole, as written.
    """

    owner: str = DEFAULT_OWNER
    taken_from: datetime | None = None
    taken_before: datetime | None = None
    added_from: datetime | None = None
    added_before: datetime | None = None
    tags_any: tuple[str, ...] = ()
    tags_all: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    category: str | None = None
    camera: str | None = None  # of its lens, too
    place: str | None = None  # city, region or country
    filename: str | None = None
    text: str | None = None  # in the picture
    orientation: Orientation | None = None
    has_location: bool | None = None
    box: Box | None = None
    near: Circle | None = None
    ids: tuple[int, ...] | None = None
    status: PhotoStatus = PhotoStatus.READY

    @classmethod
    def of(cls, params: FilterParams, owner: str) -> Self:
        """As a client asks for it."""
        given = params.model_dump(exclude={"tag", "box", "near", "id", "tags_any", "tags_all", "tags_none"})
        return cls(
            owner=owner,
            **given,
            tags_any=tuple(params.tags_any),
            tags_all=(*params.tags_all, *([params.tag] if params.tag else [])),
            tags_none=tuple(params.tags_none),
            box=Box(*params.box) if params.box else None,
            near=Circle(*params.near) if params.near else None,
            ids=tuple(params.id) if params.id else None,
        )

    @property
    def narrows(self) -> bool:
        """Whether it leaves out any of the owner's photos that a search could find."""
        return replace(self, owner=DEFAULT_OWNER) != PhotoFilter()

    def and_also(self, other: Self) -> Self:
        """Both: the later beginning, the earlier end, all the tags; of other things that both name, this one's."""
        changes: dict[str, Any] = {}
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            if item.name in JOIN and mine and theirs:
                changes[item.name] = JOIN[item.name](mine, theirs)
            elif mine == item.default:
                changes[item.name] = theirs
        return replace(self, **changes)

    def conditions(self) -> list[ColumnElement[bool]]:
        """For WHERE, on the photos table."""
        found = [col(Photo.owner) == self.owner, col(Photo.status) == self.status]
        found += self._times() + self._words() + self._places()
        if self.orientation is not None:
            found.append(_turned(self.orientation))
        if self.ids is not None:
            found.append(among(col(Photo.id), self.ids))
        return found

    def _times(self) -> list[ColumnElement[bool]]:
        bounds = (
            (self.taken_from, col(Photo.taken_at).__ge__),
            (self.taken_before, col(Photo.taken_at).__lt__),
            (self.added_from, col(Photo.created_at).__ge__),
            (self.added_before, col(Photo.created_at).__lt__),
        )
        return [compare(moment) for moment, compare in bounds if moment is not None]

    def _words(self) -> list[ColumnElement[bool]]:
        found = [_tagged(tag) for tag in self.tags_all]
        if self.tags_any:
            found.append(or_(*map(_tagged, self.tags_any)))
        found += [~_tagged(tag) for tag in self.tags_none]
        if self.category is not None:
            found.append(shown_category() == self.category)
        named = (
            (self.camera, (Photo.camera, Photo.lens)),
            (self.place, (Photo.city, Photo.region, Photo.country)),
            (self.filename, (Photo.filename,)),
            (self.text, (Photo.ocr_text,)),
        )
        found += [or_(*(_holds(column, part) for column in columns)) for part, columns in named if part]
        return found

    def _places(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.has_location is not None:
            there = col(Photo.latitude).is_not(None)
            found.append(there if self.has_location else ~there)
        if self.box is not None:
            found.append(_inside(self.box))
        if self.near is not None:
            found += [_inside(_box_round(self.near)), _distance_km(self.near) <= self.near.radius_km]
        return found


def shown_category() -> ColumnElement[str | None]:
    """The owner's category, else the suggested one."""
    return func.coalesce(col(Photo.category), col(Photo.suggested_category))


def shown_tags() -> ColumnElement[Any]:
    """The owner's tags as JSON text, else the suggested ones."""
    own = cast(col(Photo.tags), String)
    return func.coalesce(func.nullif(own, "[]"), cast(col(Photo.suggested_tags), String))


def _tagged(tag: str) -> ColumnElement[bool]:
    """Whether the JSON list of tags holds this one, on any database: as text it holds the text's JSON form."""
    return shown_tags().like(f"%{_literal(json.dumps(tag))}%", escape="\\")


def _holds(column: object, part: str) -> ColumnElement[bool]:
    return func.coalesce(cast(col(column), String), "").icontains(part, autoescape=True)


def _literal(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return text


def _turned(orientation: Orientation) -> ColumnElement[bool]:
    width, height = col(Photo.width), col(Photo.height)
    match orientation:
        case Orientation.LANDSCAPE:
            return width > height
        case Orientation.PORTRAIT:
            return width < height
    return width == height


def _inside(box: Box) -> ColumnElement[bool]:
    if box.south > box.north:
        return false()
    longitude = col(Photo.longitude)
    east_of, west_of = longitude >= box.west, longitude <= box.east
    across = and_(east_of, west_of) if box.west <= box.east else or_(east_of, west_of)
    return and_(col(Photo.latitude).between(box.south, box.north), across)


def _box_round(circle: Circle) -> Box:
    """The smallest box that holds the circle, by which an index can be used; round a pole it is all longitudes."""
    high = circle.radius_km / KM_PER_DEGREE
    south, north = circle.latitude - high, circle.latitude + high
    if south <= -90 or north >= 90:
        return Box(south, -180, north, 180)
    # The meridian that touches the circle: sin Δλ = sin(r/R) / cos φ
    wide = math.degrees(
        math.asin(min(1.0, math.sin(math.radians(high)) / math.cos(math.radians(circle.latitude))))
    )
    return Box(south, _round_the_earth(circle.longitude - wide), north, _round_the_earth(circle.longitude + wide))


def _round_the_earth(longitude: float) -> float:
    return (longitude + 180) % 360 - 180


def _distance_km(circle: Circle) -> ColumnElement[float]:
    """Haversine formula (Sinnott 1984), exact also for small distances."""
    latitude, longitude = math.radians(circle.latitude), math.radians(circle.longitude)
    there, across = func.radians(col(Photo.latitude)), func.radians(col(Photo.longitude))
    high, wide = func.sin((there - latitude) / 2), func.sin((across - longitude) / 2)
    haversine = high * high + math.cos(latitude) * func.cos(there) * wide * wide
    return 2 * EARTH_RADIUS_KM * func.asin(func.sqrt(case((haversine > 1, 1.0), else_=haversine)))
