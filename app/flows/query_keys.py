"""Conditions that are written as such: `camera:canon`, `#beach`, `before:2015`, "within 5 km of 53.55, 8.58"."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from app.flows.filters import Circle, PhotoFilter
from app.flows.query_dates import read_value
from app.flows.query_reading import PART_START, Asked, Reading
from app.tables import Orientation

NEAR_KM = 10.0  # radius if none is given
MOST_KM = 20_040.0  # half round the earth

_VALUE = r"\"\x01+\"|[^\s\",;()\x00\x01]+"
_KEYED = re.compile(rf"{PART_START}(?P<not>-)?(?:(?P<key>[a-z]+):|(?P<tag>\#)(?=[^\d\s#]))(?P<value>{_VALUE})")


def read_keyed(text: str, asked: Asked) -> Iterator[Reading]:
    """`key:value`, `-key:value` where that makes sense, and `#tag`."""
    for match in _KEYED.finditer(text):
        value = asked.query[match.start("value") : match.end("value")]
        if match["value"].startswith('"'):
            value = value[1:-1]
        key = "tag" if match["tag"] else match["key"]
        read = _NOT_KEYS.get(key) if match["not"] else _KEYS.get(key)
        reading = read(" ".join(value.split()), asked) if read and value.strip() else None
        if reading:
            yield replace(reading, start=match.start(), end=match.end())


Read = Callable[[str, Asked], Reading | None]


def _simple(kind: str, label: str, condition: PhotoFilter) -> Reading:
    return Reading(0, 0, kind, label, condition)


def _tag(value: str, asked: Asked) -> Reading:
    tag = asked.names.tag(value)
    return _simple("tag", f"tag: {tag}", PhotoFilter(tags_all=(tag,)))


def _not_tag(value: str, asked: Asked) -> Reading:
    tag = asked.names.tag(value)
    return _simple("not-tag", f"not tag: {tag}", PhotoFilter(tags_none=(tag,)))


def _camera(value: str, asked: Asked) -> Reading:
    camera = asked.names.camera(value)
    return _simple("camera", f"camera: {camera}", PhotoFilter(camera=camera))


def _place(value: str, asked: Asked) -> Reading:
    place = asked.names.place(value)
    return _simple("place", f"place: {place}", PhotoFilter(place=place))


def _category(value: str, asked: Asked) -> Reading:
    category = asked.names.category(value)
    return _simple("category", f"category: {category}", PhotoFilter(category=category))


def _filename(value: str, asked: Asked) -> Reading:
    return _simple("filename", f"file name: {value}", PhotoFilter(filename=value))


def _text(value: str, asked: Asked) -> Reading:
    return _simple("text", f"text: {value}", PhotoFilter(text=value))


def _orientation(value: str, asked: Asked) -> Reading | None:
    if value.lower() not in list(Orientation):
        return None
    orientation = Orientation(value.lower())
    return _simple("orientation", orientation.value, PhotoFilter(orientation=orientation))


def _location(there: bool) -> Read:
    label = "with a location" if there else "without a location"
    reading = _simple("location", label, PhotoFilter(has_location=there))
    return lambda value, asked: reading if value.lower() == "location" else None


def _date(kind: str, relation: str) -> Read:
    return lambda value, asked: read_value(kind, relation, value, asked.now)


_KEYS: dict[str, Read] = {
    "tag": _tag,
    "camera": _camera,
    "place": _place,
    "category": _category,
    "file": _filename,
    "filename": _filename,
    "text": _text,
    "is": _orientation,
    "has": _location(True),
    "no": _location(False),
    "before": _date("taken", "before"),
    "after": _date("taken", "after"),
    "since": _date("taken", "since"),
    "until": _date("taken", "until"),
    "date": _date("taken", ""),
    "taken": _date("taken", ""),
    "added": _date("added", ""),
}
_NOT_KEYS: dict[str, Read] = {"tag": _not_tag, "has": _location(False), "no": _location(True)}

_NUMBER = r"[0-9]{1,5}(?:\.[0-9]{1,15})?"
_PAIR = (
    rf"(?P<lat>[+-]?{_NUMBER})(?: ?°)?(?: ?(?P<ns>[ns]))?(?: *, *| +)"
    rf"(?P<lon>[+-]?{_NUMBER})(?: ?°)?(?: ?(?P<ew>[ew]))?"
)
_RADIUS = rf"(?P<radius>{_NUMBER}) ?(?P<unit>km|m|mi|miles?|kilometers?|kilometres?|meters?|metres?)"
_KEYED_NEAR = re.compile(rf"{PART_START}near:{_PAIR}(?:[, ] *{_RADIUS})?(?![^\s;,)])")
_SAID_NEAR = re.compile(
    rf"{PART_START}(?:(?:with)?in +{_RADIUS} +(?:of|from|around|round)|near|around|close +to|at) "
    rf"+{_PAIR}(?![^\s;,.!?)])"
)


def read_near(text: str, asked: Asked) -> Iterator[Reading]:
    """Circles round coordinates; unless after `near:`, these need a decimal point or points of the compass."""
    for pattern in (_KEYED_NEAR, _SAID_NEAR):
        for match in pattern.finditer(text):
            exact = "." in match["lat"] + match["lon"] or (match["ns"] and match["ew"])
            circle = _circle(match)
            if circle and (exact or pattern is _KEYED_NEAR):
                label = f"near {circle.latitude:g}, {circle.longitude:g} ({circle.radius_km:g} km)"
                yield Reading(*match.span(), "near", label, PhotoFilter(near=circle))


def _circle(match: re.Match[str]) -> Circle | None:
    latitude = float(match["lat"]) * (-1 if match["ns"] == "s" else 1)
    longitude = float(match["lon"]) * (-1 if match["ew"] == "w" else 1)
    radius = float(match["radius"]) * _km(match["unit"]) if match["radius"] else NEAR_KM
    if abs(latitude) > 90 or abs(longitude) > 180 or not 0 < radius <= MOST_KM:
        return None
    return Circle(latitude, longitude, radius)


def _km(unit: str) -> float:
    if unit.startswith("mi"):
        return 1.609344
    return 0.001 if unit.startswith("m") else 1.0
