"""What a photo says of itself, and the rules that hold in whichever block of the file it is said."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

MAX_TITLE = 255  # characters; these four as in app/schemas.py
MAX_CAPTION = 5000
MAX_TAG = 100
MAX_TAGS = 100

EARLIEST = datetime(1826, 1, 1, tzinfo=UTC)  # of about then is the first photograph that there is
MAX_OFFSET = timedelta(hours=14)  # Kiritimati
ZERO_WIDTH_JOINER = "\u200d"  # not printable, but holds emoji together


class Moment(NamedTuple):
    """With an unknown offset `taken_at` is the camera's local time as if it were UTC."""

    taken_at: datetime
    utc_offset_min: int | None


class Place(NamedTuple):
    """Degrees, north and east positive."""

    latitude: float
    longitude: float


@dataclass(frozen=True)
class PhotoMetadata:
    """Every field may be unknown."""

    moment: Moment | None = None
    place: Place | None = None
    camera: str | None = None
    lens: str | None = None
    title: str | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()


def moment(local: datetime, offset: timedelta | None) -> Moment | None:
    """From a clock's time without a zone. What no photo can be of is None: before 1826, or after tomorrow."""
    if offset is not None and abs(offset) > MAX_OFFSET:
        offset = None
    try:
        taken_at = local.replace(tzinfo=UTC) - (offset or timedelta())
    except OverflowError:
        return None
    if not EARLIEST <= taken_at <= datetime.now(UTC) + timedelta(days=1):
        return None
    return Moment(taken_at, None if offset is None else int(offset / timedelta(minutes=1)))


def moment_of(text: str) -> Moment | None:
    """From an ISO 8601 date, with or without a time and an offset."""
    try:
        stamp = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment(stamp.replace(tzinfo=None), stamp.utcoffset())


def place(latitude: float, longitude: float) -> Place | None:
    """None off the globe, and at (0, 0), which is what a receiver without a fix writes."""
    on_globe = abs(latitude) <= 90 and abs(longitude) <= 180  # false for NaN, too
    return Place(latitude, longitude) if on_globe and (latitude, longitude) != (0, 0) else None


def clean(text: object, max_chars: int) -> str | None:
    """Printable, on one line, up to the first NUL; None if nothing is left, or it is no text."""
    if not isinstance(text, str):
        return None
    words = " ".join(text.partition("\x00")[0][: 4 * max_chars].split())
    printable = "".join(c for c in words if c.isprintable() or c == ZERO_WIDTH_JOINER)
    return printable[:max_chars].strip() or None


def clean_keywords(keywords: Iterable[object]) -> tuple[str, ...]:
    return tuple(merged_tags([], filter(None, (clean(keyword, MAX_TAG) for keyword in keywords))))


def merged_tags(tags: list[str], more: Iterable[str]) -> list[str]:
    """`tags` as they are, and what `more` adds to them while there are fewer than MAX_TAGS, whatever its case."""
    merged, seen = list(tags), {tag.casefold() for tag in tags}
    for tag in more:
        if len(merged) < MAX_TAGS and tag.casefold() not in seen:
            seen.add(tag.casefold())
            merged.append(tag)
    return merged


def decoded_text(data: bytes) -> str:
    """UTF-8, else Latin-1: many write UTF-8 and do not say so, and what is valid UTF-8 is hardly ever Latin-1."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
