"""What searches and listings are asked with: filters, orders, and weighted terms."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.schemas import MAX_ID, Latitude, Longitude, ShortText, Tag, UtcTime
from app.tables import Orientation, PhotoStatus


def _numbers(value: object) -> object:
    """`1,2,3`, which a query string gives as a list of one → ["1", "2", "3"]; albums keep lists of numbers."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value.split(",") if isinstance(value, str) else value


BoxDegrees = Annotated[tuple[Latitude, Longitude, Latitude, Longitude], BeforeValidator(_numbers)]
Radius = Annotated[float, Field(gt=0, le=20_100)]
CircleDegrees = Annotated[tuple[Latitude, Longitude, Radius], BeforeValidator(_numbers)]
PhotoIds = Annotated[list[Annotated[int, Field(ge=1, le=MAX_ID)]], Field(max_length=1000)]
SomeTags = Annotated[list[Tag], Field(max_length=100)]


def _text(description: str, *examples: str) -> Any:
    return Field(None, description=description, examples=list(examples), min_length=1)


class FilterParams(BaseModel):
    """The filters of every search and listing. All that are given must hold."""

    model_config = ConfigDict(extra="ignore")

    taken_from: UtcTime | None = Field(None, description="Taken then or later.", examples=["2019-06-01"])
    taken_before: UtcTime | None = Field(None, description="Taken earlier.", examples=["2019-09-01"])
    added_from: UtcTime | None = Field(None, description="Came into the library then or later.")
    added_before: UtcTime | None = Field(None, description="Came into the library earlier.")
    tag: Tag | None = Field(None, description="With this tag; the same as one of `tags_all`.")
    tags_any: SomeTags = Field([], description="With at least one of these tags.")
    tags_all: SomeTags = Field([], description="With all these tags.")
    tags_none: SomeTags = Field([], description="With none of these tags.")
    category: ShortText | None = _text("Of this category.", "food")
    camera: ShortText | None = _text("Part of the camera's or lens's name.", "canon")
    place: ShortText | None = _text("Part of the name of the city, region or country.", "bremen")
    filename: ShortText | None = _text("Part of the file name.", "IMG_12")
    text: ShortText | None = _text("Part of what is written in the picture.", "exit")
    orientation: Orientation | None = None
    has_location: bool | None = Field(None, description="Whether it is known where it was taken.")
    box: BoxDegrees | None = Field(
        None,
        description="`south,west,north,east` in degrees; with west > east across the 180th meridian.",
        json_schema_extra={"type": "string"},
        examples=["53,8,54,9"],
    )
    near: CircleDegrees | None = Field(
        None,
        description="`latitude,longitude,km`.",
        json_schema_extra={"type": "string"},
        examples=["53.5,8.5,10"],
    )
    id: PhotoIds = Field([], description="Only these photos.")
    status: PhotoStatus = PhotoStatus.READY


class PhotoOrder(StrEnum):
    ADDED = "added"  # newest in the library first
    TAKEN = "taken"  # latest taken first; those without a date at the end


class ResultOrder(StrEnum):
    RELEVANCE = "relevance"
    TAKEN = "taken"
    ADDED = "added"


class FacetCount(BaseModel):
    value: str = Field(examples=["food"])
    count: int = Field(examples=[12])


class Facets(BaseModel):
    """How many of the photos that the filters leave have each value, the most frequent first."""

    total: int
    tags: list[FacetCount]
    category: list[FacetCount]
    camera: list[FacetCount]
    country: list[FacetCount]
    city: list[FacetCount]
    year: list[FacetCount] = Field(description="When they were taken.")
    orientation: list[FacetCount]
    has_location: list[FacetCount]
