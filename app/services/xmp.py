"""What a photo's XMP says: keywords, title, caption, and a date and place for photos without EXIF."""

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from app.services.metadata_values import (
    MAX_CAPTION,
    MAX_TITLE,
    Moment,
    PhotoMetadata,
    Place,
    clean,
    clean_keywords,
    moment_of,
    place,
)

MAX_BYTES = 2**20  # with the history of its edits a photo may have a tenth of that; more would take seconds

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_DATES = (f"{_EXIF}DateTimeOriginal", f"{_PHOTOSHOP}DateCreated", "{http://ns.adobe.com/xap/1.0/}CreateDate")
_HIERARCHICAL = "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

_DEGREES = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")

Properties = Mapping[str, list[str]]


def read_xmp(packet: bytes) -> PhotoMetadata:
    """XML that is malformed, has a DTD (and so could have entities), or is huge says nothing."""
    properties = _properties(packet)
    leaves = [path.rpartition("|")[2] for path in properties.get(_HIERARCHICAL, [])]
    return PhotoMetadata(
        moment=_moment(properties),
        place=_place(properties),
        title=clean(_first(properties, f"{_DC}title", f"{_PHOTOSHOP}Headline"), MAX_TITLE),
        caption=clean(_first(properties, f"{_DC}description"), MAX_CAPTION),
        keywords=clean_keywords([*properties.get(f"{_DC}subject", []), *leaves]),
    )


def _properties(packet: bytes) -> Properties:
    """Values by `{namespace}name`, whether they were attributes, elements, or lists."""
    if not packet or len(packet) > MAX_BYTES:
        return {}
    try:
        root = fromstring(packet.strip(b"\x00 \r\n\t"), forbid_dtd=True)
    except (ParseError, ValueError, LookupError):  # LookupError: an encoding that does not exist
        return {}
    found: dict[str, list[str]] = {}
    for rdf in root.iter(f"{_RDF}RDF"):
        for description in rdf.findall(f"{_RDF}Description"):
            found |= {name: [value] for name, value in description.attrib.items()}
            found |= {child.tag: _values(child) for child in description}
    return found


def _values(element: Element) -> list[str]:
    """The items of a list, of several languages the default first; else the element's own text."""
    items = sorted(element.iter(f"{_RDF}li"), key=lambda item: item.get(_LANGUAGE) != "x-default")
    return [text for item in items or [element] if (text := (item.text or "").strip())]


def _first(properties: Properties, *names: str) -> str | None:
    return next((values[0] for name in names if (values := properties.get(name))), None)


def _moment(properties: Properties) -> Moment | None:
    stamps = (_first(properties, name) for name in _DATES)
    return next((found for stamp in stamps if stamp and (found := moment_of(stamp))), None)


def _place(properties: Properties) -> Place | None:
    sides = [_degrees(_first(properties, f"{_EXIF}{name}") or "") for name in ("GPSLatitude", "GPSLongitude")]
    return None if None in sides else place(*sides)  # type: ignore[arg-type]  # mypy does not see that None is out


def _degrees(text: str) -> float | None:
    """`48,8.24N` or `48,8,14.4N` → 48.137333."""
    match = _DEGREES.fullmatch(text)
    if match is None:
        return None
    degrees = float(match[1]) + float(match[2]) / 60 + float(match[3] or 0) / 3600
    return -degrees if match[4] in "SW" else degrees
