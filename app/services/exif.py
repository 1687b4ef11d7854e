"""When, where and with what a photo was taken, as far as its EXIF says so."""

import math
import re
from datetime import datetime, timedelta

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from app.services.metadata_values import (
    MAX_CAPTION,
    MAX_OFFSET,
    MAX_TITLE,
    Moment,
    PhotoMetadata,
    Place,
    clean,
    clean_keywords,
    decoded_text,
    moment,
    place,
)

# What cameras write into ImageDescription by themselves: "OLYMPUS DIGITAL CAMERA", "SONY DSC", a path such as
# DCIM\100MEDIA\DJI_0001.JPG, the name of a template, and the scene codes of Huawei phones.
_NO_CAPTION = re.compile(
    r"([A-Z]+ ){0,2}DIGITAL( STILL)? CAMERA|[A-Z]+ DSC|.{0,20}\bDCIM\b.*|Exif_JPEG_PICTURE|ASCII"
    r"|default|untitled|cof|dav|sdr|r?hdr|mde|ptr|oznor|edf|vivi"
)
_STAMP = "%Y:%m:%d %H:%M:%S"


def read_exif(exif: Image.Exif) -> PhotoMetadata:
    """What cannot be read is left out: damaged EXIF is common, and no reason to refuse a photo."""
    details = _sub_ifd(exif, IFD.Exif)
    gps = _sub_ifd(exif, IFD.GPSInfo)
    caption = clean(_latin(_get(exif, Base.ImageDescription)), MAX_CAPTION)
    if caption and _NO_CAPTION.fullmatch(caption):
        caption = None
    return PhotoMetadata(
        moment=_moment(exif, details, gps),
        place=_place(gps),
        camera=_device(_get(exif, Base.Make), _get(exif, Base.Model)),
        lens=_device(details.get(Base.LensMake), details.get(Base.LensModel)),
        title=clean(_windows(exif, Base.XPTitle), MAX_TITLE),
        caption=caption or clean(_windows(exif, Base.XPComment), MAX_CAPTION),
        keywords=clean_keywords(_windows(exif, Base.XPKeywords).split(";")),
    )


def _sub_ifd(exif: Image.Exif, which: IFD) -> dict[int, object]:
    try:
        return dict(exif.get_ifd(which))
    except Exception:  # Pillow parses these lazily, and raises whatever hostile bytes lead it to
        return {}


def _get(exif: Image.Exif, tag: Base) -> object:
    try:
        return exif.get(tag)
    except Exception:  # as in _sub_ifd
        return None


def _moment(exif: Image.Exif, details: dict[int, object], gps: dict[int, object]) -> Moment | None:
    """The shot before its scan before its last change. EXIF dates are local time; see Moment for the offset."""
    stamps = (
        (details.get(Base.DateTimeOriginal), Base.SubsecTimeOriginal, Base.OffsetTimeOriginal),
        (details.get(Base.DateTimeDigitized), Base.SubsecTimeDigitized, Base.OffsetTimeDigitized),
        (_get(exif, Base.DateTime), Base.SubsecTime, Base.OffsetTime),
    )
    for stamp, subsec_tag, offset_tag in stamps:
        local = _local_time(stamp, details.get(subsec_tag))
        if local is None:
            continue
        offset = _offset(details.get(offset_tag))
        if found := moment(local, _offset_by_gps(local, gps) if offset is None else offset):
            return found
    return None


def _local_time(stamp: object, subsec: object) -> datetime | None:
    """`subsec` is the digits behind the point, as many as the camera likes."""
    try:
        local = datetime.strptime(_plain(stamp), _STAMP)
    except ValueError:
        return None
    digits = _plain(subsec)
    micros = int(digits[:6].ljust(6, "0")) if digits.isdecimal() and digits.isascii() else 0
    return local.replace(microsecond=micros)


def _offset(text: object) -> timedelta | None:
    """`+02:00`, `Z`; None for "   :  " and other nonsense, which is common."""
    try:
        offset = datetime.strptime(_plain(text), "%z").utcoffset()
    except ValueError:
        return None
    return offset if offset is not None and abs(offset) <= MAX_OFFSET else None


def _offset_by_gps(local: datetime, gps: dict[int, object]) -> timedelta | None:
    """GPS stamps are UTC, and zones are whole quarters of an hour; None if no zone is that far away."""
    seconds = _sexagesimal(gps.get(GPS.GPSTimeStamp))
    if seconds is None:
        return None
    try:
        utc = datetime.strptime(_plain(gps.get(GPS.GPSDateStamp)), "%Y:%m:%d") + timedelta(hours=seconds)
    except (ValueError, OverflowError):
        return None
    quarters = round((local - utc) / timedelta(minutes=15))
    offset = quarters * timedelta(minutes=15)
    return offset if abs(offset) <= MAX_OFFSET else None


def _place(gps: dict[int, object]) -> Place | None:
    latitude = _signed(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef))
    longitude = _signed(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef))
    return None if latitude is None or longitude is None else place(latitude, longitude)


def _signed(value: object, reference: object) -> float | None:
    degrees = _sexagesimal(value)
    return -degrees if degrees is not None and _plain(reference).upper() in {"S", "W"} else degrees


def _sexagesimal(value: object) -> float | None:
    """(degrees or hours, minutes, seconds) → degrees or hours."""
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    try:
        whole = float(value[0]) + float(value[1]) / 60 + float(value[2]) / 3600
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return whole if math.isfinite(whole) else None


def _device(make: object, model: object) -> str | None:
    """Make and model, without the make twice; a lens that is not known is "----" to some cameras."""
    parts = [clean(_latin(part), MAX_TITLE) or "" for part in (make, model)]
    name = parts[1] if parts[1].lower().startswith(parts[0].lower()) else " ".join(parts)
    return name.strip()[:MAX_TITLE] if any(c.isalnum() for c in name) else None


def _windows(exif: Image.Exif, tag: Base) -> str:
    """The XP… tags are UTF-16 in bytes."""
    value = _get(exif, tag)
    return value.decode("utf-16-le", "ignore") if isinstance(value, bytes) else ""


def _latin(value: object) -> object:
    """Pillow reads text as Latin-1, as EXIF has it; what is UTF-8 after all becomes so."""
    try:
        return decoded_text(value.encode("latin-1")) if isinstance(value, str) else value
    except UnicodeEncodeError:
        return value


def _plain(value: object) -> str:
    return value.strip(" \x00") if isinstance(value, str) else ""
