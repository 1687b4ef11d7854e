"""When, where and with what a photo was taken, as far as its EXIF says so."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base


@dataclass(frozen=True)
class Capture:
    """Latitude and longitude in degrees, north and east positive; every field may be unknown."""

    taken_at: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None


def read_capture(exif: Image.Exif) -> Capture:
    """What cannot be read is left out: damaged EXIF is common, and no reason to refuse a photo."""
    details = _sub_ifd(exif, IFD.Exif)
    gps = _sub_ifd(exif, IFD.GPSInfo)
    latitude = _degrees(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef), limit=90)
    longitude = _degrees(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef), limit=180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    return Capture(_taken_at(exif, details), latitude, longitude, _camera(exif))


def _sub_ifd(exif: Image.Exif, which: IFD) -> dict[int, object]:
    try:
        return dict(exif.get_ifd(which))
    except Exception:  # Pillow parses these lazily, and raises whatever hostile bytes lead it to
        return {}


def _taken_at(exif: Image.Exif, details: dict[int, object]) -> datetime | None:
    """EXIF dates are local time; without an offset tag the zone is unknown and taken as UTC."""
    pairs = (
        (details.get(Base.DateTimeOriginal), details.get(Base.OffsetTimeOriginal)),
        (details.get(Base.DateTimeDigitized), details.get(Base.OffsetTimeDigitized)),
        (_get(exif, Base.DateTime), details.get(Base.OffsetTime)),
    )
    for stamp, offset in pairs:
        if parsed := _parse_date(stamp, offset):
            return parsed
    return None


def _parse_date(stamp: object, offset: object) -> datetime | None:
    if not isinstance(stamp, str):
        return None
    text = stamp.strip(" \x00")
    if isinstance(offset, str) and offset.strip(" \x00"):
        try:
            return datetime.strptime(text + offset.strip(" \x00"), "%Y:%m:%d %H:%M:%S%z").astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # an offset like "   :  " is common; the date before it may still be good
    try:
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _degrees(value: object, reference: object, *, limit: int) -> float | None:
    """Degrees, minutes and seconds with N/S or E/W → signed degrees, if they are on the globe."""
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    try:
        degrees = float(value[0]) + float(value[1]) / 60 + float(value[2]) / 3600
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(degrees) or abs(degrees) > limit:
        return None
    return -degrees if isinstance(reference, str) and reference.strip(" \x00") in {"S", "W"} else degrees


def _camera(exif: Image.Exif) -> str | None:
    """Make and model, without the make twice."""
    make, model = _text(_get(exif, Base.Make)), _text(_get(exif, Base.Model))
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    return name.strip()[:255] or None


def _get(exif: Image.Exif, tag: Base) -> object:
    try:
        return exif.get(tag)
    except Exception:  # as in _sub_ifd
        return None


def _text(value: object) -> str:
    return "".join(c for c in value if c.isprintable()).strip() if isinstance(value, str) else ""
