"""Camera RAW: the camera's preview or the sensor's pixels, upright, and files that only look like it."""

import struct
import sys
import time

import numpy as np
import pytest
from PIL import Image

from app.errors import BrokenMedia, TooLarge, UnsupportedMedia
from app.services.decode import ImageDecoder, decode_image, looks_like_a_picture
from app.services.photo_metadata import read_metadata
from app.services.raw import raw_mime
from tests.conftest import BUSES, DOG, PHOTOS, Running, picture_bytes
from tests.dng import dng
from tests.test_decode import MAX_PIXELS, STORED_AS, mean_difference
from tests.test_photo_metadata import NOON

SIZE = (320, 240)


@pytest.fixture(scope="module", autouse=True)
def decoder() -> ImageDecoder:
    return ImageDecoder(MAX_PIXELS, concurrency=2)


def quarters() -> Image.Image:
    """Red, green, blue and grey: no orientation, and no exchange of colours, looks the same."""
    picture = Image.new("RGB", SIZE, (150, 150, 150))
    for at, colour in (((0, 0), (200, 30, 30)), ((160, 0), (30, 200, 30)), ((0, 120), (30, 30, 200))):
        picture.paste(colour, (*at, at[0] + 160, at[1] + 120))
    return picture


def stored(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(STORED_AS[orientation]) if orientation in STORED_AS else picture


def shows_the_quarters(image: Image.Image) -> bool:
    """As bright as LibRaw thinks fit, but each of its colour and in its place, and grey without a tint."""
    pixels = np.asarray(image.resize(SIZE), np.float32)
    red, green, blue, grey = (pixels[y, x] for y, x in ((60, 80), (60, 240), (180, 80), (180, 240)))
    strongest = [int(colour.argmax()) for colour in (red, green, blue)]
    clear = min(float(np.ptp(colour)) for colour in (red, green, blue))
    return strongest == [0, 1, 2] and clear > 100 and float(np.ptp(grey)) < 10 and 100 < grey.mean() < 250


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("at_least", [None, 100])
def test_the_sensors_pixels_in_the_right_colours_and_upright(orientation: int, at_least: int | None) -> None:
    assert shows_the_quarters(quarters())
    result = decode_image(dng(stored(quarters(), orientation), orientation), MAX_PIXELS, at_least)
    assert (result.mime, result.width, result.height) == ("image/x-adobe-dng", *SIZE)
    assert result.image.size == ((160, 120) if at_least else SIZE)
    assert shows_the_quarters(result.image)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_preview_goes_before_the_sensors_pixels(orientation: int) -> None:
    """Another picture than what the sensor saw, so that it is known which one came."""
    with Image.open(PHOTOS / DOG) as file:
        dog = file.convert("RGB").resize(SIZE)
    jpeg = picture_bytes(stored(dog, orientation), quality=95)
    data = dng(stored(quarters(), orientation), orientation, jpeg, stored(dog, orientation).size)
    result = decode_image(data, MAX_PIXELS)
    assert (result.width, result.height) == SIZE
    assert mean_difference(result.image, dog) <= 4


def test_a_preview_with_exif_that_does_not_know_the_orientation_is_turned_as_the_rest() -> None:
    exif = Image.Exif()
    exif[271] = "Maker"
    lying = stored(quarters(), 6)
    data = dng(lying, 6, picture_bytes(lying, quality=95, exif=exif), lying.size)
    assert mean_difference(decode_image(data, MAX_PIXELS).image, quarters()) <= 6


@pytest.mark.parametrize("fault", ["too small", "cut short", "no JPEG"])
def test_a_preview_of_no_use_is_passed_over(fault: str) -> None:
    with Image.open(PHOTOS / BUSES) as file:
        preview = picture_bytes(file.convert("RGB").resize((80, 60) if fault == "too small" else SIZE))
    if fault == "cut short":
        preview = preview[: len(preview) // 2]
    if fault == "no JPEG":
        preview = bytes(len(preview))
    result = decode_image(dng(quarters(), 1, preview, SIZE), MAX_PIXELS)
    assert shows_the_quarters(result.image)


def test_what_the_camera_says() -> None:
    found = read_metadata(decode_image(dng(quarters()), MAX_PIXELS).blocks)
    assert found.camera == "Recollect Test sensor"
    assert found.moment is not None
    assert found.moment.taken_at == NOON


def test_the_pixels_are_judged_by_the_header() -> None:
    assert decode_image(dng(quarters()), SIZE[0] * SIZE[1]).width == 320
    with pytest.raises(TooLarge, match="320 × 240"):
        decode_image(dng(quarters()), SIZE[0] * SIZE[1] - 1)


@pytest.mark.parametrize(
    ("start", "mime"),
    [
        (b"IIRO\x08\x00\x00\x00", "image/x-olympus-orf"),
        (b"MMOR\x00\x00\x00\x08", "image/x-olympus-orf"),
        (b"IIU\x00\x08\x00\x00\x00", "image/x-panasonic-rw2"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "image/x-canon-cr2"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01", "image/x-canon-cr3"),
        (b"FUJIFILMCCD-RAW 0201FF383501", "image/x-fuji-raf"),
    ],
)
def test_a_signature_and_then_garbage_is_broken(start: bytes, mime: str) -> None:
    random = np.random.default_rng(7)
    for size in (0, 100, 100_000):
        data = start + random.bytes(size)
        assert looks_like_a_picture(data)
        assert raw_mime(data) == mime
        with pytest.raises(BrokenMedia):
            decode_image(data, MAX_PIXELS)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG", "HEIF"])
def test_other_pictures_are_no_raw(kind: str) -> None:
    assert raw_mime(picture_bytes(quarters(), kind)) is None


@pytest.mark.parametrize(("make", "mime"), [("NIKON", "nikon-nef"), ("SONY", "sony-arw"), ("Leaf", "dcraw")])
def test_a_tiff_with_a_sensors_pixels_is_raw_by_its_maker(make: str, mime: str) -> None:
    """The same file without the tag that makes it a DNG."""
    negative = dng(quarters(), 1, picture_bytes(quarters()), SIZE)
    dng_version, unknown = (struct.pack("<HH", tag, 1) for tag in (50706, 50699))
    other = negative.replace(dng_version, unknown).replace(b"Recollect\x00", make.encode().ljust(10, b"\x00"))
    assert raw_mime(other) == f"image/x-{mime}"


def test_damage_anywhere_gives_a_picture_or_a_clear_error() -> None:
    whole = dng(quarters().resize((64, 48)), 1, picture_bytes(quarters().resize((64, 48))), (64, 48))
    random, refused, started = np.random.default_rng(6), 0, time.monotonic()
    for _ in range(60):
        damaged = bytearray(whole)
        for position in random.integers(len(whole) - 700, len(whole), size=4):  # where the directories are
            damaged[position] = int(random.integers(256))
        try:
            assert decode_image(bytes(damaged), MAX_PIXELS).image.mode == "RGB"
        except (TooLarge, UnsupportedMedia, BrokenMedia):
            refused += 1
    assert 0 < refused < 60
    assert time.monotonic() - started < 60


def test_without_its_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)  # as if it were not installed
    with pytest.raises(UnsupportedMedia, match=r'pip install "recollect\[raw\]"'):
        decode_image(dng(quarters()), MAX_PIXELS)


def test_an_uploaded_raw_is_found_by_what_it_shows(app: Running) -> None:
    with Image.open(PHOTOS / BUSES) as file:
        picture = file.convert("RGB")
    even = picture.crop((0, 0, picture.width // 2 * 2, picture.height // 2 * 2))
    answer = app.client.post("/upload", files={"file": ("bus.dng", dng(even))})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["mime"], answer.json()["camera"]) == ("image/x-adobe-dng", "Recollect Test sensor")
    app.upload(DOG)
    assert app.search("a red bus in the street")[0]["photo_id"] == answer.json()["id"]
    assert app.client.get(answer.json()["thumbnail_url"]).headers["content-type"] == "image/webp"
