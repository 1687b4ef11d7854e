"""What a photo says of itself: EXIF, XMP, IPTC and PNG's texts, read into one PhotoMetadata."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar

from PIL import Image, ImageFile, IptcImagePlugin

from app.services.exif import read_exif
from app.services.metadata_values import (
    MAX_CAPTION,
    MAX_TITLE,
    Moment,
    PhotoMetadata,
    clean,
    clean_keywords,
    decoded_text,
    moment,
    moment_of,
)
from app.services.xmp import read_xmp

T = TypeVar("T")
Iptc = Mapping[tuple[int, int], bytes | list[bytes] | None]

# IPTC-IIM 4.2, application record
_OBJECT_NAME, _KEYWORDS, _HEADLINE, _CAPTION = (2, 5), (2, 25), (2, 105), (2, 120)

_TEXTS = _TITLE, _DESCRIPTION, _CREATION_TIME = "Title", "Description", "Creation Time"  # W3C PNG, 11.3.3.1


@dataclass(frozen=True)
class MetadataBlocks:
    """The blocks as they lie in the file; Pillow has split EXIF and IPTC into their fields."""

    exif: Image.Exif = field(default_factory=Image.Exif)
    xmp: bytes = b""
    iptc: Iptc = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)  # of PNG


def blocks_of(file: Image.Image) -> MetadataBlocks:
    """To be called after the pixels are loaded, for PNG may have texts behind them. Damaged blocks are empty."""
    xmp = file.info.get("xmp")
    return MetadataBlocks(
        exif=_or_empty(file.getexif, Image.Exif()),
        xmp=xmp if isinstance(xmp, bytes) else b"",
        iptc=_or_empty(lambda: _iptc(file), {}),
        # Not `file.text`, which plays an animated PNG to its end.
        texts={name: text for name in _TEXTS if isinstance(text := file.info.get(name), str)},
    )


def _or_empty(read: Callable[[], T], empty: T) -> T:
    try:
        return read()
    except Exception:  # Pillow raises whatever hostile bytes lead it to
        return empty


def _iptc(file: Image.Image) -> Iptc:
    found = IptcImagePlugin.getiptcinfo(file) if isinstance(file, ImageFile.ImageFile) else None
    return {**found} if found else {}


def read_metadata(blocks: MetadataBlocks) -> PhotoMetadata:
    """The camera's own record, EXIF, goes first about the shot; what people wrote later goes first about words."""
    exif, xmp = read_exif(blocks.exif), read_xmp(blocks.xmp)
    iptc, png = _read_iptc(blocks.iptc), _read_texts(blocks.texts)
    camera_first, people_first = (exif, xmp, iptc, png), (xmp, iptc, exif, png)
    return PhotoMetadata(
        moment=_first(source.moment for source in camera_first),
        place=_first(source.place for source in camera_first),
        camera=exif.camera,
        lens=exif.lens,
        title=_first(source.title for source in people_first),
        caption=_first(source.caption for source in people_first),
        keywords=clean_keywords(keyword for source in people_first for keyword in source.keywords),
    )


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _read_iptc(iptc: Iptc) -> PhotoMetadata:
    def texts(key: tuple[int, int]) -> list[str]:
        value = iptc.get(key)
        return [decoded_text(part) for part in (value if isinstance(value, list) else [value]) if part]

    title = next(iter(texts(_OBJECT_NAME) + texts(_HEADLINE)), None)
    caption = next(iter(texts(_CAPTION)), None)
    return PhotoMetadata(
        title=clean(title, MAX_TITLE),
        caption=clean(caption, MAX_CAPTION),
        keywords=clean_keywords(texts(_KEYWORDS)),
    )


def _read_texts(texts: Mapping[str, str]) -> PhotoMetadata:
    return PhotoMetadata(
        moment=_creation_time(texts.get(_CREATION_TIME, "")),
        title=clean(texts.get(_TITLE), MAX_TITLE),
        caption=clean(texts.get(_DESCRIPTION), MAX_CAPTION),
    )


def _creation_time(text: str) -> Moment | None:
    """The date of a mail, as the standard suggests, or ISO 8601."""
    try:
        stamp = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return moment_of(text)
    return moment(stamp.replace(tzinfo=None), stamp.utcoffset())
