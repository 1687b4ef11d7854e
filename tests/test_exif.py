"""read_capture: when, where and with what, from EXIF that Pillow wrote and from EXIF that is damaged."""

import io
from datetime import UTC, datetime

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from app.services.exif import Capture, read_capture
from tests.conftest import picture_bytes, shared

STAMP = "2024:05:06 07:08:09"
NOON = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def capture(
    tags: dict[int, object] | None = None,
    details: dict[int, object] | None = None,
    gps: dict[int, object] | None = None,
) -> Capture:
    """What is read from a JPEG with these tags; it goes through the file, as a camera's would."""
    exif = Image.Exif()
    exif.update(tags or {})
    exif.get_ifd(IFD.Exif).update(details or {})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    with Image.open(io.BytesIO(picture_bytes(Image.new("RGB", (8, 8)), exif=exif))) as file:
        return read_capture(file.getexif())


def place(latitude: object, north_south: object, longitude: object, east_west: object) -> dict[int, object]:
    return {
        GPS.GPSLatitude: latitude,
        GPS.GPSLatitudeRef: north_south,
        GPS.GPSLongitude: longitude,
        GPS.GPSLongitudeRef: east_west,
    }


def test_no_exif_says_nothing() -> None:
    assert read_capture(Image.Exif()) == capture() == Capture()


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (None, NOON),
        ("+00:00", NOON),
        ("+02:00", datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)),
        ("-08:00", datetime(2024, 5, 6, 15, 8, 9, tzinfo=UTC)),
        ("+05:45", datetime(2024, 5, 6, 1, 23, 9, tzinfo=UTC)),
        ("Z", NOON),
        ("   :  ", NOON),
        ("nonsense", NOON),
    ],
)
def test_the_date_with_and_without_an_offset(offset: str | None, expected: datetime) -> None:
    details: dict[int, object] = {Base.DateTimeOriginal: STAMP}
    if offset is not None:
        details[Base.OffsetTimeOriginal] = offset
    taken_at = capture(details=details).taken_at
    assert taken_at == expected
    assert taken_at.tzinfo is UTC


def test_the_time_of_the_shot_goes_before_those_of_scanning_and_editing() -> None:
    shot, scanned, edited = "2001:01:01 00:00:00", "2002:01:01 00:00:00", "2003:01:01 00:00:00"
    all_three: dict[int, object] = {Base.DateTimeOriginal: shot, Base.DateTimeDigitized: scanned}
    years = [
        capture({Base.DateTime: edited}, all_three).taken_at,
        capture({Base.DateTime: edited}, {Base.DateTimeDigitized: scanned}).taken_at,
        capture({Base.DateTime: edited}).taken_at,
        capture({Base.DateTime: edited}, {Base.DateTimeOriginal: "0000:00:00 00:00:00"}).taken_at,
    ]
    assert [taken_at.year for taken_at in years if taken_at] == [2001, 2002, 2003, 2003]


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        " ",
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "2024:13:45 99:99:99",
        "2024-05-06",
        "yesterday",
        "9" * 500,
    ],
)
def test_a_date_that_is_none_is_left_out(stamp: str) -> None:
    assert capture({Base.DateTime: stamp}, {Base.DateTimeOriginal: stamp}).taken_at is None


@pytest.mark.parametrize(
    ("stamp", "offset"), [("0001:01:01 00:00:00", "+14:00"), ("9999:12:31 23:59:59", "-12:00")]
)
def test_a_date_at_the_end_of_the_calendar_is_no_error(stamp: str, offset: str) -> None:
    taken_at = capture(details={Base.DateTimeOriginal: stamp, Base.OffsetTimeOriginal: offset}).taken_at
    assert taken_at is not None
    assert taken_at.year in {1, 9999}


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        pytest.param(place((48, 8, 14.4), "N", (11, 34, 30.0), "E"), (48.137333, 11.575), id="Munich"),
        pytest.param(place((40, 41, 21.0), "N", (74, 2, 40.0), "W"), (40.689167, -74.044444), id="New York"),
        pytest.param(place((33, 51, 25.0), "S", (151, 12, 55.0), "E"), (-33.856944, 151.215278), id="Sydney"),
        pytest.param(place((22, 57, 7.0), "S", (43, 12, 38.0), "W"), (-22.951944, -43.210556), id="Rio"),
        pytest.param(place((48.5, 0, 0), "N", (11.25, 0, 0), "E"), (48.5, 11.25), id="decimal degrees"),
        pytest.param(place((90, 0, 0), "S", (180, 0, 0), "W"), (-90, -180), id="edge of the map"),
        pytest.param(place((0, 0, 0), "N", (0, 0, 0), "E"), (0, 0), id="where the equator begins"),
    ],
)
def test_the_place_in_all_four_quadrants(gps: dict[int, object], expected: tuple[float, float]) -> None:
    found = capture(gps=gps)
    assert (found.latitude, found.longitude) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "gps",
    [
        pytest.param(place((91, 0, 0), "N", (11, 0, 0), "E"), id="past the pole"),
        pytest.param(place((89, 60, 1), "N", (11, 0, 0), "E"), id="past the pole by minutes"),
        pytest.param(place((48, 0, 0), "N", (180, 0, 1), "E"), id="past the date line"),
        pytest.param(place((48, 0), "N", (11, 0, 0), "E"), id="no seconds"),
        pytest.param(place((48, 0, 0, 0), "N", (11, 0, 0), "E"), id="four parts"),
        pytest.param({GPS.GPSLatitude: (48, 0, 0), GPS.GPSLatitudeRef: "N"}, id="no longitude"),
        pytest.param({GPS.GPSLongitude: (11, 0, 0), GPS.GPSLongitudeRef: "E"}, id="no latitude"),
        pytest.param({GPS.GPSLatitudeRef: "N", GPS.GPSLongitudeRef: "E"}, id="references only"),
    ],
)
def test_a_place_that_is_not_on_the_globe_is_left_out(gps: dict[int, object]) -> None:
    found = capture(gps=gps)
    assert (found.latitude, found.longitude) == (None, None)


def gps_read(latitude: object, longitude: object) -> Capture:
    """As from a file, for values that Pillow reads but does not write."""
    exif = Image.Exif()
    exif.get_ifd(IFD.GPSInfo).update(place(latitude, "N", longitude, "E"))
    return read_capture(exif)


@pytest.mark.parametrize(
    "latitude",
    [
        "forty-eight",
        48.0,
        (float("nan"), 0.0, 0.0),
        (float("inf"), 0.0, 0.0),
        (None, 0, 0),
        ("48", "x", "0"),
        (-100.0, 0.0, 0.0),
    ],
)
def test_a_latitude_that_is_no_number_of_degrees_is_left_out(latitude: object) -> None:
    found = gps_read(latitude, (11.0, 0.0, 0.0))
    assert (found.latitude, found.longitude) == (None, None)


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON", "Nikon D90", "Nikon D90"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("Apple", None, "Apple"),
        (None, "iPhone 15", "iPhone 15"),
        (None, None, None),
        ("  Apple ", " iPhone 15  ", "Apple iPhone 15"),
        ("", "   ", None),
        ("Line\nbreak\x07", "X", "Linebreak X"),
        ("M" * 300, "X", "M" * 255),
    ],
)
def test_the_camera_without_its_make_twice(make: str | None, model: str | None, expected: str | None) -> None:
    given = {Base.Make: make, Base.Model: model}
    assert capture({int(tag): text for tag, text in given.items() if text is not None}).camera == expected


def test_tags_of_the_wrong_type_are_left_out() -> None:
    exif = Image.Exif()
    exif.update({Base.Make: 7, Base.Model: b"bytes", Base.DateTime: 20240506})
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = (2024, 5, 6)
    assert read_capture(exif) == Capture()


def test_hostile_files_never_raise() -> None:
    """Damaged EXIF in every way that fuzzers found; a few of the files are whole, and say what they are."""
    read, cameras = 0, set[str | None]()
    for path in sorted(shared("corpora/images").rglob("*.jpg")):
        try:
            file = Image.open(path, formats=["JPEG"])
        except (OSError, SyntaxError, ValueError):
            continue  # not even a header
        with file:
            found = read_capture(file.getexif())
        read += 1
        cameras.add(found.camera)
        assert found.taken_at is None or found.taken_at.tzinfo is UTC
        assert (found.latitude is None) == (found.longitude is None)
    assert read >= 40
    assert any(cameras)
