"""What searches and listings are asked with: filters, orders, and weighted terms."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from app.schemas import (
    CleanText,
    Latitude,
    Longitude,
    LongText,
    Placeholder,
    RowId,
    ShortText,
    Tag,
    UtcTime,
)
from app.tables import Album, Orientation, PhotoStatus, QueryKind


def _numbers(value: object) -> object:
    """`1,2,3`, which a query string gives as a list of one → ["1", "2", "3"]; albums keep lists of numbers."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value.split(",") if isinstance(value, str) else value


BoxDegrees = Annotated[tuple[Latitude, Longitude, Latitude, Longitude], BeforeValidator(_numbers)]
Radius = Annotated[float, Field(gt=0, le=20_100)]
CircleDegrees = Annotated[tuple[Latitude, Longitude, Radius], BeforeValidator(_numbers)]
PhotoIds = Annotated[list[RowId], Field(max_length=1000)]
NextCursor = Annotated[
    str | None, Field(description="GET /search/page goes on with it; null at the end, or without `paged`.")
]
Matched = Annotated[
    bool, Field(description="False: nothing in the library fits, and the results are only the least unlike.")
]
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
        examples=["53,8,54,9"],
    )
    near: CircleDegrees | None = Field(
        None,
        description="`latitude,longitude,km`.",
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


class Crop(BaseModel):
    """A part of a picture, upright, in shares of its width and height from its left upper corner."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"x": 0, "y": 0.5, "width": 0.5, "height": 0.5}]}
    )

    x: float = Field(ge=0, lt=1)
    y: float = Field(ge=0, lt=1)
    width: float = Field(ge=0.01, le=1)
    height: float = Field(ge=0.01, le=1)

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if max(self.x + self.width, self.y + self.height) > 1 + 1e-6:
            raise ValueError("must lie inside the picture")
        return self


class MixedTerm(BaseModel):
    """One part of a question: exactly one of text, photo_id and image."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[CleanText, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    photo_id: RowId | None = None
    image: int | None = Field(None, ge=0, description="Number of one of the pictures sent along, from 0 on.")
    weight: float = Field(1.0, ge=-10, le=10, description="Below 0: less of this.")
    crop: Crop | None = Field(None, description="Only this part of the photo or picture.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if sum(value is not None for value in (self.text, self.photo_id, self.image)) != 1:
            raise ValueError("must have exactly one of text, photo_id and image")
        if not self.weight:
            raise ValueError("must have a weight that is not 0")
        if self.crop and self.text:
            raise ValueError("words cannot be cropped")
        return self


class SearchOptions(BaseModel):
    """What every search may be told beside its filters."""

    model_config = ConfigDict(extra="ignore")

    recency: float | None = Field(
        None, ge=0, le=1, description="Share of the score that fades with age; default: the setting."
    )
    sort: ResultOrder = Field(
        ResultOrder.RELEVANCE,
        description="Other orders sort what is relevant (from `min_relevance` on, else 0.5).",
    )
    min_relevance: float = Field(0, ge=0, le=1, description="Only results that are this relevant.")
    collapse: Literal["none", "burst"] = Field(
        "none", description="`burst`: shots of one moment, and copies, take one place."
    )
    variety: float | None = Field(
        None, ge=0, le=1, description="Maximal marginal relevance: 0 is by relevance only, 1 by difference only."
    )
    plain: bool = Field(False, description="Take the words as they are, and read no filters from them.")
    paged: bool = Field(False, description="Keep the ranking for later pages, and answer with `next_cursor`.")


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


class ChipOut(BaseModel):
    """A part of the query that was read as a filter, or as something to leave out."""

    kind: str = Field(examples=["taken"])
    label: str = Field(description="For people.", examples=["summer 2019"])
    start: int = Field(description="Where in the query it stands, characters.")
    end: int
    without: str = Field(description="The query without it.", examples=["a dog at the sea"])


class Why(BaseModel):
    """What made the score of a result: (similarity + learned, fused with text) × the factors."""

    similarity: float = Field(description="Cosine of query and photo.")
    learned: float = Field(description="What votes on this query and on similar ones add to it.")
    text: float = Field(description="How much of the query its words hold, 0 to 1.", examples=[0.5])
    text_fields: list[str] = Field(description="Where they stand.", examples=[["title", "tags"]])
    unwanted_factor: float = Field(description="How likely it is that it does not show what is not wanted.")
    vote_factor: float = Field(description="Of your vote on it for this query.", examples=[1.15])
    recency_factor: float
    diversity_factor: float = Field(description="Of the fourth photo of one category, and those after it.")


class SearchHit(BaseModel):
    """One result. `score` is what it is ranked by; `similarity` is the plain cosine."""

    photo_id: int = Field(examples=[10])
    filename: str = Field(examples=["horses.jpg"])
    item_id: str | None = Field(examples=["holiday-0042"])
    title: str | None = Field(examples=["Holiday"])
    caption: str | None = Field(examples=["A photo of a horse."])
    category: str | None = Field(examples=["animals"])
    tags: list[str] = Field(examples=[["horse", "animal"]])
    path: str | None = Field(examples=["8a/8aef03bedbf31524510015f8…"])
    url: str | None = Field(examples=["/photo/10/file"])
    thumbnail_url: str | None = Field(examples=["/photo/10/thumbnail"])
    placeholder: Placeholder
    width: int | None = Field(examples=[4032])
    height: int | None = Field(examples=[3024])
    rank: int = Field(ge=1, examples=[1])
    score: float = Field(ge=0, le=1, examples=[0.575])
    similarity: float = Field(
        description="Cosine similarity of the query and this photo, −1 to 1.", examples=[0.575]
    )
    distance: float = Field(description="1 − similarity.", examples=[0.425])
    relevance: float = Field(ge=0, le=1, description="Probability that it is what was asked for.", examples=[0.9])
    why: Why
    collapsed: list[int] = Field([], description="Photos that this one stands for: GET /photos?id=…&id=…")
    vote: int = Field(0, description="+1 or −1 if this photo was voted on for this query, else 0.")
    feedback_id: int | None = Field(None, description="Of that vote; DELETE /feedback/{id} takes it back.")


class SearchResults(BaseModel):
    query: str = Field(examples=["horses at the sea"])
    matched: Matched
    chips: list[ChipOut]
    query_id: int | None = Field(description="Give it to POST /feedback with a vote; null if the disk is full.")
    results: list[SearchHit]
    total_results: int
    latency_ms: float
    next_cursor: NextCursor


class RankedResults(BaseModel):
    query: str = Field(
        description="The words, or `image:<sha256>`, or `photo:<id>`.", examples=["horses at the sea"]
    )
    matched: Matched
    chips: list[ChipOut]
    query_id: int | None
    query_type: QueryKind
    results: list[SearchHit]
    total_found: int
    latency_ms: float
    encoder_latency_ms: float
    next_cursor: NextCursor


class VoiceResults(RankedResults):
    transcription: str = Field(examples=["Horses at the sea."])
    language: str = Field(examples=["en"])
    whisper_ms: float = Field(examples=[402.7])


class AlbumIn(BaseModel):
    """A search to keep: words, filters, or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "Rex", "query": "a dog at the sea", "filter": {"tag": "rex"}}]},
    )

    name: Annotated[ShortText, Field(min_length=1)]
    query: LongText = ""
    filter: FilterParams = Field(default_factory=FilterParams)


class AlbumPatch(BaseModel):
    """Fields left out, or null, stay as they are."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Rex, swimming"}]})

    name: Annotated[ShortText, Field(min_length=1)] | None = None
    query: LongText | None = None
    filter: FilterParams | None = None


class AlbumOut(BaseModel):
    id: int
    name: str
    query: str
    filter: dict[str, Any] = Field(description="As the parameters of a search.")
    url: str = Field(examples=["/albums/1"])
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, album: Album) -> Self:
        return cls(**album.model_dump(exclude={"owner"}), url=f"/albums/{album.id}")


class AlbumResults(RankedResults):
    album: AlbumOut
