"""Request and response bodies, with the examples that /docs shows."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints

from app.tables import (
    DEFAULT_OWNER,
    ChangeState,
    Import,
    ImportItem,
    ItemStatus,
    ModelChange,
    Photo,
    PhotoStatus,
    QueryKind,
    Scope,
    original_path,
)

ENDED = (ItemStatus.READY, ItemStatus.KNOWN, ItemStatus.FAILED)
MAX_ID = 2**63 - 1  # what SQLite and PostgreSQL hold in an integer key


def _storable(text: str) -> str:
    """PostgreSQL refuses NUL in text, and a lone surrogate cannot be written as UTF-8."""
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode, without lone surrogates") from None
    return text


def _utc(value: object) -> datetime:
    """ISO 8601 → UTC. Without a zone it is local time and, like a camera's, taken as if it were UTC."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a date, or a date and time, as in 2019-07-14T16:20:00+02:00") from None


MAX_SHORT, MAX_LONG, MAX_TAG, MAX_TAGS = 255, 5000, 100, 100

CleanText = Annotated[str, AfterValidator(_storable)]
ShortText = Annotated[CleanText, StringConstraints(strip_whitespace=True, max_length=MAX_SHORT)]
LongText = Annotated[CleanText, StringConstraints(strip_whitespace=True, max_length=MAX_LONG)]
Tag = Annotated[CleanText, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TAG)]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS)]
UtcTime = Annotated[datetime, BeforeValidator(_utc)]
Latitude = Annotated[float, Field(ge=-90, le=90, description="Degrees, north positive.", examples=[53.55])]
Longitude = Annotated[float, Field(ge=-180, le=180, description="Degrees, east positive.", examples=[8.58])]
Sha256 = Annotated[str, StringConstraints(to_lower=True, pattern="^[0-9a-fA-F]{64}$")]
RowId = Annotated[int, Field(ge=1, le=2**53 - 1)]  # numbers in JSON, and in JSON Schema, are exact up to here
Placeholder = Annotated[
    str | None,
    Field(
        description="A blurred picture of some 16 px as a data: URL, to show until the thumbnail is there.",
        examples=["data:image/webp;base64,UklGRlYAAABXRUJQVlA4IEoAAABQAgCdASoQAAwA…"],
    ),
]


class Problem(BaseModel):
    """RFC 9457 problem details; `type` is a stable slug."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "photo-not-found",
                    "title": "No such photo",
                    "status": 404,
                    "detail": "There is no photo 42.",
                    "instance": "/photo/42",
                    "request_id": "0f8fad5bd9cb469fa165",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str | None = None
    errors: list[dict[str, str]] | None = Field(None, description="Which inputs were refused, and why.")


class PhotoOut(BaseModel):
    """A photo as clients see it: the owner's words win, the machine's stay visible beside them."""

    id: int = Field(examples=[10])
    item_id: str | None = Field(examples=["holiday-0042"])
    filename: str = Field(examples=["horses.jpg"])
    mime: str | None = Field(examples=["image/jpeg"])
    width: int | None = Field(examples=[4032])
    height: int | None = Field(examples=[3024])
    bytes: int | None = Field(examples=[2841577])
    sha256: str | None = Field(examples=["8aef03bedbf31524510015f816125e8bed7205b114c8575dadd229603105ff09"])
    title: str | None = Field(examples=["Holiday"])
    caption: str | None = Field(
        description="The owner's caption, else the suggested one.", examples=["At the sea"]
    )
    category: str | None = Field(description="The owner's category, else the suggested one.", examples=["animals"])
    tags: list[str] = Field(description="The owner's tags, else the suggested ones.", examples=[["beach", "2019"]])
    suggested_caption: str | None = Field(examples=["A photo of a horse."])
    suggested_category: str | None = Field(examples=["animals"])
    suggested_tags: list[str] = Field(examples=[["horse", "animal"]])
    taken_at: datetime | None = Field(description="Yours, else the file's.", examples=["2019-07-14T16:20:00Z"])
    utc_offset_min: int | None = Field(
        description="The camera's clock against UTC; null: unknown, and `taken_at` is local time as if UTC.",
        examples=[120],
    )
    latitude: float | None = Field(description="Degrees, north positive.", examples=[53.55])
    longitude: float | None = Field(description="Degrees, east positive.", examples=[8.58])
    city: str | None = Field(
        description="The largest that reaches here, else the nearest.", examples=["Bremerhaven"]
    )
    region: str | None = Field(examples=["City state Bremen"])
    country: str | None = Field(examples=["Germany"])
    camera: str | None = Field(examples=["Apple iPhone 12"])
    lens: str | None = Field(examples=["Apple iPhone 12 back camera 4.2mm f/1.6"])
    created_at: datetime = Field(description="When it came into the library.")
    updated_at: datetime
    status: PhotoStatus
    error: str | None = Field(description="Why it failed, if it did.", examples=[None])
    path: str | None = Field(
        description="Where the original lies below the uploads folder.", examples=["8a/8aef03bedbf31524510015f8…"]
    )
    url: str | None = Field(
        description="The original; null for an item without a picture.", examples=["/photo/10/file"]
    )
    thumbnail_url: str | None = Field(examples=["/photo/10/thumbnail"])
    placeholder: Placeholder

    @classmethod
    def of(cls, photo: Photo) -> "PhotoOut":
        return cls(**photo_fields(photo))


class UploadOut(PhotoOut):
    message: str = Field(examples=["Photo added.", "This photo is already in the library."])


class PhotoDetail(PhotoOut):
    ocr_text: str | None = Field(
        description="What is written in the picture; null: it has not been read yet.",
        examples=["WELCOME TO\nBERGEN"],
    )
    embedding: list[float] = Field(description="Unit vector; empty until the photo is in this space.")
    space: str = Field(description="Model and weights that the embedding belongs to.")


class PhotoPage(BaseModel):
    photos: list[PhotoOut]
    total: int
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last.")


class DuplicateKind(StrEnum):
    SAME_PICTURE = "same_picture"  # one shot in several sizes, qualities, formats
    LOOK_ALIKE = "look_alike"  # several shots of the same, as in a burst


class DuplicateOut(PhotoOut):
    similarity: float = Field(description="Cosine similarity with the photo to keep.", examples=[0.991])
    hamming: int = Field(description="Bits of 64 by which its perceptual hash differs from that.", examples=[2])


class DuplicateGroup(BaseModel):
    kind: DuplicateKind
    keep: int = Field(description="The photo that would be missed most; the first of `photos`.", examples=[10])
    why: str = Field(examples=["more pixels", "date, place or camera", "older in the library"])
    photos: list[DuplicateOut]


class DuplicateGroups(BaseModel):
    groups: list[DuplicateGroup]
    total_groups: int
    pending: int = Field(
        description="Photos that are not compared yet, or cannot be: their original is lost or damaged."
    )
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last.")


class PhotoPatch(BaseModel):
    """Fields left out stay as they are; null empties a field and lets the suggestion show again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"title": "Kitchen", "tags": ["home", "2019"]}]}
    )

    title: ShortText | None = None
    caption: LongText | None = None
    category: ShortText | None = None
    tags: Tags | None = None
    item_id: ShortText | None = None


class ItemWords(PhotoPatch):
    """What may be said of a new item, by whichever way it comes."""

    filename: ShortText = ""
    taken_at: UtcTime | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class FeedbackIn(BaseModel):
    """A vote on a photo as an answer to a query; name the photo by `photo_id` or by `image_path`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"photo_id": 7, "query": "a red bus", "vote": 1}]})

    photo_id: RowId | None = None
    image_path: CleanText | None = Field(None, description="`path`, `url` or `filename` of a result.")
    query: LongText = Field(description="`query` of the answer that the vote is about.")
    query_id: RowId | None = None
    vote: int = Field(description="+1 or −1; anything else answers 400.")


class FeedbackOut(BaseModel):
    id: int
    photo_id: int
    query: str
    vote: int
    message: str


class QueryOut(BaseModel):
    id: int
    kind: QueryKind
    text: str
    result_count: int
    latency_ms: float
    created_at: datetime


class RecentQueries(BaseModel):
    queries: list[QueryOut]


class StreamItem(ItemWords):
    """One line of a stream of items; names as in the CSV and JSONL files that `recollect import` reads."""

    model_config = ConfigDict(extra="ignore")

    id: ShortText | None = Field(None, description="Your own name for it; unique.")
    image_filename: CleanText | None = None
    image_base64: str | None = Field(None, description="Without it the item is found by its caption.")


class ImportItemOut(BaseModel):
    id: int
    name: str = Field(examples=["horses.jpg"])
    status: ItemStatus
    photo_id: int | None = Field(description="Once it is ready or known.", examples=[10])
    problem: str | None = Field(
        description="The type of the error, as in problem+json.", examples=["broken-media"]
    )
    error: str | None = Field(description="The same in words.", examples=["The picture is damaged or cut short."])

    @classmethod
    def of(cls, item: ImportItem) -> Self:
        return cls(**item.model_dump(include=set(cls.model_fields)))


class ImportAccepted(BaseModel):
    id: int = Field(description="Of the import; GET its url to follow it.")
    url: str = Field(examples=["/imports/1"])
    items: list[ImportItemOut] = Field(description="One for each item sent, in order.")

    @classmethod
    def of(cls, import_id: int, items: Sequence[ImportItem]) -> Self:
        return cls(id=import_id, url=f"/imports/{import_id}", items=[ImportItemOut.of(item) for item in items])


class ImportItemPage(BaseModel):
    items: list[ImportItemOut]
    next_after: int | None = Field(description="Give it as `after` to get the next page; null on the last.")

    @classmethod
    def of(cls, items: Sequence[ImportItem], *, more: bool) -> Self:
        return cls(items=[ImportItemOut.of(item) for item in items], next_after=items[-1].id if more else None)


class ImportOut(BaseModel):
    """How far an import is, in items."""

    id: int
    source: str = Field(description="A folder or file, or how the items came.", examples=["upload"])
    created_at: datetime
    total: int
    waiting: int = Field(description="Accepted, and not in the library yet.")
    ready: int
    known: int = Field(description="They were in the library already.")
    failed: int = Field(description="GET /imports/{id}/items?status=failed tells why.")
    finished: bool
    seconds_left: float | None = Field(description="At the average rate so far; null while it is not known.")

    @classmethod
    def of(cls, found: Import, counts: Mapping[ItemStatus, int], seconds_left: float | None) -> Self:
        ended = {status.value: counts.get(status, 0) for status in ENDED}
        total = sum(counts.values())
        waiting = total - sum(ended.values())
        return cls(
            **found.model_dump(include={"id", "source", "created_at"}),
            **ended,
            total=total,
            waiting=waiting,
            finished=not waiting,
            seconds_left=seconds_left,
        )


class RetriedItems(BaseModel):
    retried: int = Field(description="Items that wait again.")


class PhotosToCheck(BaseModel):
    sha256: Annotated[list[Sha256], Field(max_length=10_000, description="Of files, in hex.")]


class KnownPhotos(BaseModel):
    known: dict[str, int] = Field(description="Ids of the photos by SHA-256.")
    unknown: list[str]


class ModelChangeIn(BaseModel):
    model: CleanText = Field(
        min_length=1,
        max_length=1000,
        description="As for RECOLLECT_MODEL, `auto` apart.",
        examples=["ViT-B-32/laion2b_s34b_b79k"],
    )


class ModelChangeOut(BaseModel):
    """How far a change of model is, as of a second ago."""

    model: str = Field(examples=["ViT-B-32/laion2b_s34b_b79k"])
    space: str | None = Field(description="Null until its weights have been found.")
    state: ChangeState
    total: int = Field(description="Photos.")
    done: int = Field(description="Photos with a vector in the new space.")
    skipped: int = Field(description="Photos that cannot have one: their original is lost or damaged.")
    photos_per_s: float
    seconds_left: float | None = Field(description="At the present rate; null while it is not known.")
    error: str | None = Field(description="Why it does not go on; it is tried again every minute.")

    @classmethod
    def of(cls, change: ModelChange) -> Self:
        left = None
        if change.state is ChangeState.PENDING and change.photos_per_s:
            left = max(0, change.total - change.done - change.skipped) / change.photos_per_s
        return cls(**change.model_dump(include=set(cls.model_fields)), seconds_left=left)


class ModelState(BaseModel):
    space: str = Field(description="Model and weights that searches use.")
    change: ModelChangeOut | None = Field(description="The one asked for last.")
    previous: str | None = Field(description="The model that a roll-back leads to once no change is under way.")


class Health(BaseModel):
    """The state of the workers, not only of the process."""

    status: str = Field(examples=["healthy", "unhealthy"])
    ready: bool
    version: str
    model: str = Field(description="Space of the encoder in use: model and weights.")
    model_choice: str = Field(description="Why this model is in use.")
    model_loaded: bool
    device: str
    encoders: dict[str, str] = Field(
        description="Servers that encode for this one, each `ok` or what is wrong; empty: it does so itself.",
        examples=[{"http://encoder:8000": "ok"}],
    )
    index_loaded: bool
    image_count: int = Field(description="Photos that a search can find.")
    imports_waiting: int = Field(description="Accepted items that are not in the library yet.")
    imports_paused: str | None = Field(description="Why none of them is worked on, for instance a full disk.")
    waiting_for_vector: int = Field(description="Photos that still have no vector in this space.")
    model_change: ModelChangeOut | None = Field(description="A change of model that is under way, or has failed.")
    whisper_available: bool
    whisper_model: str
    ocr_available: bool = Field(description="Whether text in pictures is read.")
    ocr_waiting: int = Field(
        description="Photos whose text is not read yet, or cannot be: their original is lost or damaged."
    )
    reranker: str | None = Field(description="What looks at the first results again; null: nothing does.")
    problems: list[str] = Field(description="What is wrong, in words; empty when healthy.")


class Liveness(BaseModel):
    status: str = Field(examples=["alive"])


class LatencyPercentiles(BaseModel):
    p50: float
    p95: float
    p99: float


class QueryStats(BaseModel):
    total: int
    by_kind: dict[str, int]
    latency_ms: LatencyPercentiles | None = Field(
        description="Over the last 1,000 queries; null before the first."
    )


class IndexStats(BaseModel):
    type: str
    size: int
    dim: int
    memory_mb: float


class FeedbackStats(BaseModel):
    up: int
    down: int


class Stats(BaseModel):
    total_photos: int
    stored_bytes: int
    index: IndexStats
    queries: QueryStats
    feedback: FeedbackStats
    model: str
    device: str
    memory_rss_mb: float
    memory_vms_mb: float
    cpu_percent: float = Field(description="Of one core, since the last call.")
    threads: int
    uptime_s: float


class ServiceInfo(BaseModel):
    name: str
    version: str
    docs: str
    openapi: str
    health: str


def photo_fields(photo: Photo) -> dict[str, object]:
    """The fields of PhotoOut; SearchHit picks its own from the same."""
    has_file = photo.sha256 is not None
    fields = photo.model_dump(exclude={"owner"})
    fields["caption"] = photo.caption or photo.suggested_caption
    fields["category"] = photo.category or photo.suggested_category
    fields["tags"] = photo.tags or photo.suggested_tags
    fields["path"] = original_path(photo.sha256) if photo.sha256 else None
    fields["url"] = f"/photo/{photo.id}/file" if has_file else None
    fields["thumbnail_url"] = f"/photo/{photo.id}/thumbnail" if has_file else None
    return fields


def plain_filename(name: str | None) -> str:
    """A client's file name without folders and control characters, at most 255 characters; it is only shown."""
    last = PurePath((name or "").replace("\\", "/")).name
    return "".join(c for c in last if c.isprintable())[:255]


def plain_text(value: object) -> str:
    """Text as it may be stored: stripped, without NUL and lone surrogates; None becomes empty."""
    text = "" if value is None else str(value).strip()
    return text.replace("\x00", "").encode(errors="replace").decode()


def printable(name: str) -> str:
    """A path for people to read: each control character, and each byte that is not UTF-8, becomes �."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", name)


def split_tags(text: str | None) -> list[str]:
    """`dog, beach` → ["dog", "beach"]; each once, in order."""
    return list(dict.fromkeys(tag for part in (text or "").split(",") if (tag := part.strip())))


class Readiness(BaseModel):
    ready: bool


class KeyIn(BaseModel):
    """An access key to be made."""

    name: Annotated[ShortText, StringConstraints(min_length=1)] = Field(examples=["phone"])
    owner: Annotated[ShortText, StringConstraints(min_length=1)] = Field(
        DEFAULT_OWNER, description="Whose library it opens; a new name is a new, empty library."
    )
    scopes: list[Scope] = Field([Scope.READ, Scope.WRITE], min_length=1, max_length=len(Scope))


class KeyOut(BaseModel):
    id: int
    name: str
    owner: str
    scopes: list[Scope]
    created_at: datetime


class KeyMade(KeyOut):
    key: str = Field(description="To be sent as `Authorization: Bearer …` or `X-API-Key: …`; shown only now.")


class Keys(BaseModel):
    keys: list[KeyOut]


class SessionIn(BaseModel):
    key: SecretStr = Field(description="An access key.", max_length=200)


class SessionOut(BaseModel):
    signed_in: bool
    key_needed: bool
    key: str | None = Field(None, description="The name of the key.")
    owner: str | None = None
    scopes: list[Scope] = []


class UploadMetadata(BaseModel):
    """What the header Upload-Metadata of a resumable upload says; other keys are kept, and not used."""

    filename: Annotated[str, AfterValidator(plain_filename)] = ""
    title: ShortText | None = None
    caption: LongText | None = None
    tags: Annotated[Tags, BeforeValidator(split_tags)] = Field(default_factory=list)
    category: ShortText | None = None
    item_id: ShortText | None = None
    import_id: RowId | None = None
    sha256: Sha256 | None = None

    def words(self) -> dict[str, Any]:
        """As the queue of imports keeps them."""
        return self.model_dump(exclude={"import_id", "sha256"}, exclude_defaults=True)
