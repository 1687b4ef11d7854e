"""JPEG XL: its header, which way is up, its metadata, and pictures that are traps."""

import sys
import time
import warnings
from pathlib import Path

import pillow_jxl  # noqa: F401 — teaches Pillow to write JPEG XL
import pytest
from PIL import ExifTags, Image

import app.services.isolated
from app.errors import BrokenMedia, TooLarge, UnsupportedMedia
from app.services.decode import decode_image
from app.services.jxl import read_header
from app.services.photo_metadata import read_metadata
from tests.conftest import BUSES, PHOTOS, picture_bytes
from tests.test_decode import MAX_PIXELS, STORED_AS, mean_difference
from tests.test_photo_metadata import xmp


def photo() -> Image.Image:
    with Image.open(PHOTOS / BUSES) as file:
        return file.convert("RGB").resize((160, 120))


def packed_jpeg(path: Path, orientation: int) -> bytes:
    """A JPEG as a camera stores it, packed so that it can be had back byte for byte."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo().transpose(STORED_AS[orientation]).save(path, "JPEG", exif=exif, quality=95)
    with Image.open(path) as file, warnings.catch_warnings(action="ignore"):
        return picture_bytes(file, "JXL")


def without_box(data: bytes, name: bytes) -> bytes:
    start = data.index(name) - 4
    return data[:start] + data[start + int.from_bytes(data[start : start + 4]) :]


@pytest.mark.parametrize("width", [1, 8, 100, 256, 600])
@pytest.mark.parametrize("height", [1, 8, 100, 300, 900, 9000])
def test_the_header_tells_the_size(width: int, height: int) -> None:
    for container in (False, True):
        header = read_header(
            picture_bytes(Image.new("1", (width, height)).convert("L"), "JXL", use_container=container)
        )
        assert (header.width, header.height, header.orientation) == (width, height, 1)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_an_orientation_in_the_codestream_turns_once(tmp_path: Path, orientation: int) -> None:
    """The codestream and the EXIF both have it; the decoder turns pixels, but not a JPEG that it restores."""
    as_jpeg = packed_jpeg(tmp_path / "photo.jpg", orientation)
    for data in (as_jpeg, without_box(as_jpeg, b"jbrd")):
        assert read_header(data).orientation == orientation
        result = decode_image(data, MAX_PIXELS)
        assert (result.width, result.height) == (160, 120)
        assert mean_difference(result.image, photo()) <= 5


def test_the_metadata_in_its_boxes() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Pixel"
    found = read_metadata(
        decode_image(picture_bytes(photo(), "JXL", exif=exif.tobytes(), xmp=xmp()), MAX_PIXELS).blocks
    )
    assert (found.camera, found.title, found.keywords) == ("Pixel", "At the port", ("harbour", "Möwe", "Hamburg"))


def test_bombs_are_refused_by_their_header() -> None:
    bomb = picture_bytes(Image.new("L", (10_000, 6_000)), "JXL", effort=1, lossless=True)
    assert len(bomb) < 50_000
    started = time.monotonic()
    with pytest.raises(TooLarge, match="10000 × 6000"):
        decode_image(bomb, MAX_PIXELS)
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    "boxes",
    [
        b"\x00\x00\x00\x04jxlc",
        b"\xff\xff\xff\xffjxlc\xff\x0a",
        b"\x00\x00\x00\x01jxlc" + b"\x00" * 8,
        b"\x00\x00\x00\x08free" * 1_000_000,
        b"\x00\x00\x00\x0djxlp\x00\x00\x00\x00\xff" * 1_000_000,
        b"\x00\x00\x00\x0aExif\xff\xff",
    ],
)
def test_hostile_boxes_are_broken(boxes: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(BrokenMedia):
        decode_image(b"\x00\x00\x00\x0cJXL \r\n\x87\n" + boxes, MAX_PIXELS)
    assert time.monotonic() - started < 2


def test_a_picture_that_takes_too_long_is_broken_and_the_next_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture_bytes(photo(), "JXL")
    with monkeypatch.context() as patch:
        patch.setattr(app.services.isolated, "TIME_LIMIT_S", 0.0)
        patch.setattr(app.services.isolated, "_idle", [])  # a process that has to start is not fast enough
        with pytest.raises(BrokenMedia, match="too long"):
            decode_image(data, MAX_PIXELS)
    assert decode_image(data, MAX_PIXELS).width == 160


def test_without_its_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)  # as if it were not installed
    with pytest.raises(UnsupportedMedia, match=r'pip install "recollect\[jxl\]"'):
        decode_image(picture_bytes(photo(), "JXL"), MAX_PIXELS)


def test_a_decoder_that_crashed_is_replaced() -> None:
    data = picture_bytes(photo(), "JXL")
    decode_image(data, MAX_PIXELS)
    for process in app.services.isolated._idle:
        process.kill()
        process.wait()
    assert decode_image(data, MAX_PIXELS).width == 160
