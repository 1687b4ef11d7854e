"""What a photo says of itself: from files that Pillow wrote, from blocks by hand, and from damaged ones."""

import io
import struct
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from PIL.ExifTags import GPS, IFD, Base

from app.services.decode import decode_image, set_up_pillow
from app.services.exif import read_exif
from app.services.metadata_values import Moment, PhotoMetadata
from app.services.photo_metadata import blocks_of, read_metadata
from app.services.xmp import read_xmp
from tests.conftest import Running, picture_bytes, shared

STAMP = "2024:05:06 07:08:09"
NOON = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def read(data: bytes) -> PhotoMetadata:
    """As at an upload."""
    set_up_pillow(50_000_000)
    return read_metadata(decode_image(data, 50_000_000).blocks)


def exif_of(
    tags: dict[int, object] | None = None,
    details: dict[int, object] | None = None,
    gps: dict[int, object] | None = None,
) -> Image.Exif:
    exif = Image.Exif()
    exif.update(tags or {})
    exif.get_ifd(IFD.Exif).update(details or {})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    return exif


def said(
    tags: dict[int, object] | None = None,
    details: dict[int, object] | None = None,
    gps: dict[int, object] | None = None,
) -> PhotoMetadata:
    """What is read from a JPEG with these tags; it goes through the file, as a camera's would."""
    return read(picture_bytes(Image.new("RGB", (8, 8)), exif=exif_of(tags, details, gps)))


def taken_at(*blocks: dict[int, object]) -> datetime | None:
    found = said(*blocks).moment
    return found and found.taken_at


def place(latitude: object, north_south: object, longitude: object, east_west: object) -> dict[int, object]:
    return {
        GPS.GPSLatitude: latitude,
        GPS.GPSLatitudeRef: north_south,
        GPS.GPSLongitude: longitude,
        GPS.GPSLongitudeRef: east_west,
    }


def test_no_exif_says_nothing() -> None:
    assert read_exif(Image.Exif()) == said() == PhotoMetadata()


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
        ("+14:15", NOON),
    ],
)
def test_the_date_with_and_without_an_offset(offset: str | None, expected: datetime) -> None:
    details: dict[int, object] = {Base.DateTimeOriginal: STAMP}
    if offset is not None:
        details[Base.OffsetTimeOriginal] = offset
    moment = said(details=details).moment
    assert moment is not None
    assert moment.taken_at == expected
    assert moment.taken_at.tzinfo is UTC
    known = offset in {"+00:00", "+02:00", "-08:00", "+05:45", "Z"}
    assert moment.utc_offset_min == ((NOON - expected).total_seconds() / 60 if known else None)


def test_the_time_of_the_shot_goes_before_those_of_scanning_and_editing() -> None:
    shot, scanned, edited = "2001:01:01 00:00:00", "2002:01:01 00:00:00", "2003:01:01 00:00:00"
    all_three: dict[int, object] = {Base.DateTimeOriginal: shot, Base.DateTimeDigitized: scanned}
    years = [
        taken_at({Base.DateTime: edited}, all_three),
        taken_at({Base.DateTime: edited}, {Base.DateTimeDigitized: scanned}),
        taken_at({Base.DateTime: edited}),
        taken_at({Base.DateTime: edited}, {Base.DateTimeOriginal: "0000:00:00 00:00:00"}),
    ]
    assert [moment.year for moment in years if moment] == [2001, 2002, 2003, 2003]


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
        "1825:12:31 00:00:00",
        "0001:01:01 00:00:00",
        "9999:12:31 23:59:59",
    ],
)
@pytest.mark.parametrize("offset", ["", "+14:00", "-12:00"])
def test_a_date_that_is_none_is_left_out(stamp: str, offset: str) -> None:
    details: dict[int, object] = {Base.DateTimeOriginal: stamp, Base.OffsetTimeOriginal: offset}
    assert taken_at({Base.DateTime: stamp}, details) is None


@pytest.mark.parametrize(("hours", "believed"), [(23, True), (25, False)])
def test_a_clock_a_little_ahead_is_believed(hours: int, believed: bool) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)
    assert taken_at({Base.DateTime: soon.strftime("%Y:%m:%d %H:%M:%S")}) == (soon if believed else None)


@pytest.mark.parametrize(("digits", "micros"), [("5", 500_000), ("042", 42_000), ("123456789", 123_456), ("x", 0)])
def test_fractions_of_a_second_are_kept(digits: str, micros: int) -> None:
    moment = taken_at({}, {Base.DateTimeOriginal: STAMP, Base.SubsecTimeOriginal: digits})
    assert moment == NOON.replace(microsecond=micros)


@pytest.mark.parametrize(
    ("day", "clock", "expected"),
    [
        pytest.param("2024:05:06", (5, 8, 9), 120, id="Berlin"),
        pytest.param("2024:05:06", (5, 3, 0), 120, id="a fix five minutes old"),
        pytest.param("2024:05:06", (1, 23, 9), 345, id="Kathmandu"),
        pytest.param("2024:05:06", (15, 8, 9), -480, id="Seattle"),
        pytest.param("2024:05:05", (17, 8, 9), 840, id="Kiritimati, where it is tomorrow"),
        pytest.param("2024:05:05", (16, 8, 9), None, id="no zone is that far away"),
        pytest.param("2024:05", (5, 8, 9), None, id="no day"),
        pytest.param("2024:05:06", (5, 8), None, id="no seconds"),
        pytest.param("2024:05:06", (0.0, 0.0, 1e300), None, id="more seconds than there are"),
    ],
)
def test_the_offset_is_the_distance_from_the_gps_clock(day: str, clock: object, expected: int | None) -> None:
    exif = exif_of({}, {Base.DateTimeOriginal: STAMP}, {GPS.GPSDateStamp: day, GPS.GPSTimeStamp: clock})
    assert read_exif(exif).moment == Moment(NOON - timedelta(minutes=expected or 0), expected)


def test_an_offset_that_the_camera_names_goes_before_the_gps_clock() -> None:
    gps: dict[int, object] = {GPS.GPSDateStamp: "2024:05:06", GPS.GPSTimeStamp: (5, 8, 9)}
    moment = said({}, {Base.DateTimeOriginal: STAMP, Base.OffsetTimeOriginal: "+01:00"}, gps).moment
    assert moment is not None
    assert moment.utc_offset_min == 60


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        pytest.param(place((48, 8, 14.4), "N", (11, 34, 30.0), "E"), (48.137333, 11.575), id="Munich"),
        pytest.param(place((40, 41, 21.0), "N", (74, 2, 40.0), "W"), (40.689167, -74.044444), id="New York"),
        pytest.param(place((33, 51, 25.0), "S", (151, 12, 55.0), "E"), (-33.856944, 151.215278), id="Sydney"),
        pytest.param(place((22, 57, 7.0), "S", (43, 12, 38.0), "W"), (-22.951944, -43.210556), id="Rio"),
        pytest.param(place((48.5, 0, 0), "N", (11.25, 0, 0), "E"), (48.5, 11.25), id="decimal degrees"),
        pytest.param(place((90, 0, 0), "S", (180, 0, 0), "W"), (-90, -180), id="edge of the map"),
        pytest.param(place((0, 0, 0), "N", (9, 0, 0), "E"), (0, 9), id="on the equator"),
    ],
)
def test_the_place_in_all_four_quadrants(gps: dict[int, object], expected: tuple[float, float]) -> None:
    assert said(gps=gps).place == pytest.approx(expected, abs=1e-5)


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
        pytest.param(place((0, 0, 0), "N", (0, 0, 0), "E"), id="no fix"),
        pytest.param({GPS.GPSLatitudeRef: "N", GPS.GPSLongitudeRef: "E"}, id="references only"),
    ],
)
def test_a_place_that_is_not_on_the_globe_is_left_out(gps: dict[int, object]) -> None:
    assert said(gps=gps).place is None


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
    """Not through a file: Pillow reads such values, but does not write them."""
    assert read_exif(exif_of(gps=place(latitude, "N", (11.0, 0.0, 0.0), "E"))).place is None


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
        ("Line\nbreak\x07", "X", "Line break X"),
        ("M" * 300, "X", "M" * 255),
    ],
)
def test_the_camera_without_its_make_twice(make: str | None, model: str | None, expected: str | None) -> None:
    given = {Base.Make: make, Base.Model: model}
    assert said({int(tag): text for tag, text in given.items() if text is not None}).camera == expected


def test_the_lens() -> None:
    lens: dict[int, object] = {Base.LensMake: "Apple", Base.LensModel: "iPhone 12 back camera 4.2mm f/1.6"}
    assert said({}, lens).lens == "Apple iPhone 12 back camera 4.2mm f/1.6"
    assert said({}, {Base.LensModel: "----"}).lens is None


def test_words_in_exif() -> None:
    words = {Base.XPTitle: "Zürich 😀", Base.XPKeywords: "lake; Boat ;boat;;"}
    tags: dict[int, object] = {int(tag): text.encode("utf-16-le") + b"\0\0" for tag, text in words.items()}
    found = said(tags | {int(Base.ImageDescription): "Über den See".encode()})
    assert (found.title, found.caption, found.keywords) == ("Zürich 😀", "Über den See", ("lake", "Boat"))


@pytest.mark.parametrize(
    "junk",
    [
        "OLYMPUS DIGITAL CAMERA         ",
        "KODAK DIGITAL STILL CAMERA",
        "SONY DSC",
        "DCIM\\100MEDIA\\DJI_0001.JPG",
        "default",
        "hdr",
        "\x00" * 30,
    ],
)
def test_what_a_camera_writes_by_itself_is_no_caption(junk: str) -> None:
    assert said({Base.ImageDescription: junk}).caption is None


def test_a_caption_about_a_camera_is_one() -> None:
    assert said({Base.ImageDescription: "My first digital camera"}).caption == "My first digital camera"


def test_tags_of_the_wrong_type_are_left_out() -> None:
    exif = exif_of({Base.Make: 7, Base.Model: b"bytes", Base.DateTime: 20240506, Base.XPTitle: "text"})
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = (2024, 5, 6)
    assert read_exif(exif) == PhotoMetadata()


XMP = """<?xpacket begin="﻿" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
  xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
  photoshop:Headline="A headline" {attributes}>
  <dc:subject><rdf:Bag><rdf:li>harbour</rdf:li><rdf:li>Möwe</rdf:li></rdf:Bag></dc:subject>
  <lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Europe|Hamburg</rdf:li><rdf:li>animals|möwe</rdf:li></rdf:Bag>
  </lr:hierarchicalSubject>
  <dc:title><rdf:Alt><rdf:li xml:lang="de">Am Hafen</rdf:li><rdf:li xml:lang="x-default">At the port</rdf:li>
  </rdf:Alt></dc:title>
  <dc:description><rdf:Alt><rdf:li xml:lang="x-default">Gulls over
  the water</rdf:li></rdf:Alt></dc:description>{elements}
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def xmp(attributes: str = "", elements: str = "") -> bytes:
    return XMP.format(attributes=attributes, elements=elements).encode()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_words_in_xmp_of_every_format(kind: str) -> None:
    set_up_pillow(50_000_000)
    picture = Image.new("RGB", (64, 64))
    exif = exif_of({Base.Model: "Pixel"}, {Base.DateTimeOriginal: STAMP, Base.OffsetTimeOriginal: "+02:00"})
    options: dict[str, Any] = {"xmp": xmp()}
    if kind == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp().decode())
    if kind == "TIFF":
        exif[Base.XMLPacket] = xmp()
    found = read(picture_bytes(picture, kind, exif=exif.tobytes(), **options))
    assert (found.title, found.caption) == ("At the port", "Gulls over the water")
    assert found.keywords == ("harbour", "Möwe", "Hamburg")
    assert (found.camera, found.moment) == ("Pixel", Moment(NOON - timedelta(hours=2), 120))


def test_the_headline_is_the_title_where_there_is_none() -> None:
    start, end = XMP.index("  <dc:title>"), XMP.index("  <dc:description>")
    assert read_xmp((XMP[:start] + XMP[end:]).format(attributes="", elements="").encode()).title == "A headline"


@pytest.mark.parametrize(
    ("attributes", "elements", "expected"),
    [
        ('exif:DateTimeOriginal="2024-05-06T09:08:09+02:00"', "", Moment(NOON, 120)),
        ("", "<exif:DateTimeOriginal>2024-05-06T07:08:09Z</exif:DateTimeOriginal>", Moment(NOON, 0)),
        ('xmp:CreateDate="2024-05-06T07:08:09"', "", Moment(NOON, None)),
        (
            'photoshop:DateCreated="2024-05-06" xmp:CreateDate="2025-01-01"',
            "",
            Moment(NOON.replace(hour=0, minute=0, second=0), None),
        ),
        ('exif:DateTimeOriginal="yesterday" xmp:CreateDate="2024-05-06T07:08:09"', "", Moment(NOON, None)),
        ('xmp:CreateDate="0000-00-00T00:00:00"', "", None),
    ],
)
def test_the_date_in_xmp(attributes: str, elements: str, expected: Moment | None) -> None:
    assert read_xmp(xmp(attributes, elements)).moment == expected


def test_the_date_in_exif_goes_before_that_in_xmp() -> None:
    exif = exif_of({}, {Base.DateTimeOriginal: STAMP})
    data = picture_bytes(Image.new("RGB", (8, 8)), exif=exif, xmp=xmp('xmp:CreateDate="2001-01-01T00:00:00"'))
    assert read(data).moment == Moment(NOON, None)


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        ("48,8.24N", "11,34,30E", (48.137333, 11.575)),
        ("33,51.4166667S", "151,12,55E", (-33.856944, 151.215278)),
        ("0,0N", "0,0E", None),
        ("91,0N", "11,0E", None),
        ("48.137N", "11,0E", None),
    ],
)
def test_the_place_in_xmp(latitude: str, longitude: str, expected: tuple[float, float] | None) -> None:
    found = read_xmp(xmp(f'exif:GPSLatitude="{latitude}" exif:GPSLongitude="{longitude}"')).place
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-5))


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<x:xmpmeta", id="cut short"),
        pytest.param(xmp()[:600], id="cut in the middle"),
        pytest.param(b"\xff\xfe" + xmp(), id="not the encoding that it says"),
        pytest.param(b'<?xml version="1.0" encoding="klingon"?><a/>', id="an encoding that does not exist"),
        pytest.param(b'<!DOCTYPE a [<!ENTITY b "b">]>' + xmp(), id="entities"),
        pytest.param(b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', id="a file of ours"),
        pytest.param(b"<a>" * 300_000, id="elements in each other"),
        pytest.param(b"<a>" * 140_000 + b"</a>" * 140_000, id="the same, well formed"),
        pytest.param(xmp() + b" " * 5_000_000 + b"<a/>", id="huge"),
    ],
)
def test_hostile_xmp_says_nothing(packet: bytes) -> None:
    started = time.thread_time()
    assert read_xmp(packet) == PhotoMetadata()
    assert time.thread_time() - started < 10  # of this thread alone; without a limit it would be hours


def test_a_billion_laughs_are_not_laughed() -> None:
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "ha">{entities}]><a>&l11;</a>'.encode()
    found = read(picture_bytes(Image.new("RGB", (8, 8)), xmp=bomb))
    assert found == PhotoMetadata()


def app13(*fields: tuple[int, int, bytes]) -> bytes:
    """A JPEG whose Photoshop block holds these IPTC fields (record, number, bytes)."""
    iim = b"".join(struct.pack(">BBBH", 0x1C, record, number, len(text)) + text for record, number, text in fields)
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iim)) + iim + b"\x00" * (len(iim) % 2)
    segment = b"Photoshop 3.0\x00" + resource
    jpeg = picture_bytes(Image.new("RGB", (8, 8)))
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("marked", [True, False])
def test_words_in_iptc(encoding: str, marked: bool) -> None:
    words = [(5, "Café"), (25, "Möwe"), (25, "harbour"), (25, "HARBOUR"), (120, "Über dem Wasser")]
    fields = [(2, number, text.encode(encoding)) for number, text in words]
    found = read(app13(*([(1, 90, b"\x1b%G")] if marked else []), *fields))
    assert (found.title, found.caption) == ("Café", "Über dem Wasser")
    assert found.keywords == ("Möwe", "harbour")


def test_iptc_in_a_tiff() -> None:
    iim = b"".join(struct.pack(">BBBH", 0x1C, 2, 25, len(text)) + text for text in (b"one", b"two"))
    with Image.open(io.BytesIO(picture_bytes(Image.new("RGB", (8, 8)), "TIFF"))) as file:
        data = picture_bytes(file, "TIFF", tiffinfo={33723: iim})
    assert read(data).keywords == ("one", "two")


@pytest.mark.parametrize("field", [b"\x1c\x02\x19\xff\xff", b"\x1c\x02\x19\x84\xff\xff\xff\xff", b"\x1d" * 40])
def test_damaged_iptc_says_nothing_more(field: bytes) -> None:
    whole = app13((2, 5, b"title"))
    start = whole.index(b"\x1c\x02\x05")
    damaged = whole[:start] + (field * 10)[: 5 + len("title")] + whole[start + 10 :]
    assert read(damaged).title is None


def test_words_in_the_texts_of_a_png() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "Café")
    texts.add_itxt("Description", "猫 on a roof")
    texts.add_text("Creation Time", "Mon, 06 May 2024 09:08:09 +0200")
    found = read(picture_bytes(Image.new("RGB", (8, 8)), "PNG", pnginfo=texts))
    assert (found.title, found.caption, found.moment) == ("Café", "猫 on a roof", Moment(NOON, 120))


@pytest.mark.parametrize("stamp", ["", "yesterday", "2024", "Mon, 99 May 2024 09:08:09 +0200", ","])
def test_a_creation_time_that_is_none_is_left_out(stamp: str) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Creation Time", stamp)
    assert read(picture_bytes(Image.new("RGB", (8, 8)), "PNG", pnginfo=texts)).moment is None


def test_words_are_printable_and_of_bounded_length() -> None:
    start, end = XMP.index("<rdf:li>harbour"), XMP.index("<rdf:li>Möwe")
    many = "".join(f"<rdf:li>{i}{'x' * 200}</rdf:li>" for i in range(300))
    packet = (XMP[:start] + many + XMP[end:]).replace("At the port", "t\u202e" * 5000)
    found = read_xmp(packet.replace("Gulls", "g" * 20_000).format(attributes="", elements="").encode())
    assert found.title == "t" * 255
    assert found.caption == "g" * 5000
    assert (len(found.keywords), max(map(len, found.keywords))) == (100, 100)


def test_hostile_files_never_raise() -> None:
    """Damaged metadata in every way that fuzzers found; a few of the files are whole, and say what they are."""
    count, cameras = 0, set[str | None]()
    for path in sorted(shared("corpora/images").rglob("*.*")):
        try:
            file = Image.open(path, formats=["JPEG", "PNG", "TIFF", "WEBP"])
        except Exception:
            continue  # not even a header
        with file:
            found = read_metadata(blocks_of(file))
        count += 1
        cameras.add(found.camera)
        assert found.moment is None or found.moment.taken_at.tzinfo is UTC
    assert count >= 60
    assert any(cameras)


def test_an_upload_is_found_by_the_keywords_in_its_file(app: Running) -> None:
    exif = exif_of(
        {Base.Model: "Pixel"},
        {Base.LensModel: "wide", Base.DateTimeOriginal: STAMP},
        place((48, 8, 0), "N", (11, 0, 0), "E"),
    )
    exif.get_ifd(IFD.Exif)[Base.OffsetTimeOriginal] = "+02:00"
    data = picture_bytes(Image.new("RGB", (64, 64), "blue"), exif=exif, xmp=xmp())
    added = app.client.post("/upload", files={"file": ("a.jpg", data)}, data={"tags": "mine, Harbour"}).json()
    assert added["tags"] == ["mine", "Harbour", "Möwe", "Hamburg"]
    assert (added["title"], added["caption"]) == ("At the port", "Gulls over the water")
    assert (added["taken_at"], added["utc_offset_min"]) == ("2024-05-06T05:08:09Z", 120)
    assert (added["camera"], added["lens"], added["longitude"]) == ("Pixel", "wide", 11)
    found = app.client.get("/photos", params={"tag": "Möwe"}).json()
    assert [photo["id"] for photo in found["photos"]] == [added["id"]]


def test_the_callers_words_go_before_those_in_the_file(app: Running) -> None:
    data = {"title": "Mine", "caption": "My caption"}
    picture = picture_bytes(Image.new("RGB", (64, 64), "red"), xmp=xmp())
    added = app.client.post("/upload", files={"file": ("a.jpg", picture)}, data=data).json()
    assert (added["title"], added["caption"], added["tags"]) == (
        "Mine",
        "My caption",
        ["harbour", "Möwe", "Hamburg"],
    )
