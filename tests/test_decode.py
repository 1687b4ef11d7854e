"""From bytes to upright RGB pixels: every format, every orientation, and every way to be hostile."""

import io
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_jxl  # noqa: F401 — teaches Pillow to write JPEG XL
import pytest
from PIL import ExifTags, Image

import app.services.decode
from app.errors import AppError, BrokenMedia, TooLarge, UnsupportedMedia
from app.services.decode import DecodedImage, ImageDecoder, decode_image, looks_like_a_picture
from app.services.embedded_encoder import EmbeddedEncoder
from tests.conftest import BUSES, DOG, PHOTOS, picture_bytes, shared

MAX_PIXELS = 50_000_000
# How a picture must be turned to be stored under each EXIF orientation: the inverse of what a viewer does
# (CIPA DC-008, tag 0x0112; 6: the first row is the right-hand side).
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(autouse=True)
def decoder() -> ImageDecoder:
    """As in the service; made first in every test, because it teaches Pillow HEIC."""
    return ImageDecoder(MAX_PIXELS, concurrency=2)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Two buses in the rain, 160 × 120: nothing in it is symmetric."""
    with Image.open(PHOTOS / BUSES) as file:
        return file.convert("RGB").resize((160, 120), Image.Resampling.LANCZOS)


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of 8-bit values."""
    assert one.size == other.size
    pair = [np.asarray(image.convert("RGB"), np.float32) for image in (one, other)]
    return float(np.abs(pair[0] - pair[1]).mean())


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG by hand (W3C PNG, sections 5 and 11), for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = (b"IHDR" + header, *chunks, b"IDAT" + zlib.compress(rows), b"IEND")
    framed = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def png_of_16_bit(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", colour_type: int) -> bytes:
    """8-bit values (height, width[, channels]) as a PNG of 16 bit a channel."""
    deep = (pixels.astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\x00" + row.tobytes() for row in deep)
    return png(pixels.shape[1], pixels.shape[0], 16, colour_type, rows)


def decoded(data: bytes) -> DecodedImage:
    result = decode_image(data, MAX_PIXELS)
    assert result.image.mode == "RGB"
    assert result.image.size == (result.width, result.height)
    return result


@pytest.mark.parametrize(
    ("kind", "options", "mime", "tolerance"),
    [
        ("JPEG", {"quality": 95}, "image/jpeg", 4),
        ("JPEG", {"quality": 95, "progressive": True}, "image/jpeg", 4),
        ("PNG", {}, "image/png", 0),
        ("WEBP", {"lossless": True}, "image/webp", 0),
        ("WEBP", {"quality": 90}, "image/webp", 5),
        ("GIF", {}, "image/gif", 12),
        ("BMP", {}, "image/bmp", 0),
        ("TIFF", {}, "image/tiff", 0),
        ("TIFF", {"compression": "tiff_lzw"}, "image/tiff", 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, "image/tiff", 3),
        ("HEIF", {"quality": 95}, "image/heic", 3),
        ("AVIF", {"quality": 95}, "image/avif", 3),
        ("JXL", {"lossless": True}, "image/jxl", 0),
        ("JXL", {"quality": 95, "use_container": True}, "image/jxl", 3),
    ],
)
def test_every_format_gives_nearly_the_same_pixels(
    photo: Image.Image, kind: str, options: dict[str, object], mime: str, tolerance: float
) -> None:
    result = decoded(picture_bytes(photo, kind, **options))
    assert result.mime == mime
    assert mean_difference(result.image, photo) <= tolerance


@pytest.mark.parametrize(
    ("mode", "kind", "tolerance"),
    [
        ("P", "PNG", 25),
        ("P", "BMP", 25),
        ("RGBA", "PNG", 0),
        ("RGBA", "TIFF", 0),
        ("RGBA", "AVIF", 4),
        ("RGBA", "HEIF", 6),
        ("CMYK", "JPEG", 6),
        ("CMYK", "TIFF", 1),
        ("YCbCr", "TIFF", 2),
        ("RGBA", "JXL", 6),
    ],
)
def test_every_colour_mode_gives_nearly_the_same_pixels(
    photo: Image.Image, mode: str, kind: str, tolerance: float
) -> None:
    assert mean_difference(decoded(picture_bytes(photo.convert(mode), kind)).image, photo) <= tolerance


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "PNG"), ("LA", "PNG"), ("L", "JPEG"), ("L", "TIFF"), ("L", "WEBP"), ("LA", "JXL")]
)
def test_grey_stays_grey(photo: Image.Image, mode: str, kind: str) -> None:
    grey = photo.convert("L")
    assert mean_difference(decoded(picture_bytes(grey.convert(mode), kind)).image, grey) <= 6


def test_16_bits_a_channel(photo: Image.Image) -> None:
    colour = decoded(png_of_16_bit(np.asarray(photo), colour_type=2))
    assert mean_difference(colour.image, photo) <= 1
    grey = decoded(png_of_16_bit(np.asarray(photo.convert("L")), colour_type=0))
    assert mean_difference(grey.image, photo.convert("L")) <= 1


@pytest.mark.parametrize("largest", [1.0, 1000.0])
def test_floating_point_tiff_is_seen_by_its_own_range(photo: Image.Image, largest: float) -> None:
    values = np.asarray(photo.convert("L"), np.float32)
    result = decoded(picture_bytes(Image.fromarray(values / values.max() * largest), "TIFF"))
    assert mean_difference(result.image, Image.fromarray((values / values.max() * 255).astype(np.uint8))) <= 1


def test_only_nan_in_a_tiff_is_no_error() -> None:
    result = decoded(picture_bytes(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))
    assert result.image.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(photo: Image.Image, kind: str) -> None:
    black = Image.new("RGB", photo.size)
    data = picture_bytes(photo, kind, save_all=True, append_images=[black, black])
    with Image.open(io.BytesIO(data)) as file:
        assert getattr(file, "n_frames", 1) > 1
    assert mean_difference(decoded(data).image, photo) <= 12


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF", "JXL"])
def test_transparency_is_white(photo: Image.Image, kind: str) -> None:
    clear = photo.convert("RGBA")
    clear.paste((200, 0, 0, 0), (0, 0, 80, 120))  # red, were it not transparent
    expected = photo.copy()
    expected.paste("white", (0, 0, 80, 120))
    assert mean_difference(decoded(picture_bytes(clear, kind, quality=95)).image, expected) <= 6


def test_half_transparency_is_half_white() -> None:
    red = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert decoded(picture_bytes(red, "PNG")).image.getpixel((4, 4)) == pytest.approx((255, 127, 127), abs=1)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind: str) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 255, 200, 0, 0])
    picture.paste(0, (4, 0, 8, 8))
    image = decoded(picture_bytes(picture, kind, transparency=1)).image
    assert (image.getpixel((1, 1)), image.getpixel((6, 1))) == ((255, 255, 255), (0, 0, 255))


@pytest.mark.parametrize(("mode", "colour"), [("L", 40), ("RGB", (200, 0, 0))])
def test_a_colour_that_stands_for_transparency_is_white(mode: str, colour: int | tuple[int, int, int]) -> None:
    picture = Image.new(mode, (8, 8), colour)
    picture.paste("blue" if mode == "RGB" else 80, (4, 0, 8, 8))
    image = decoded(picture_bytes(picture, "PNG", transparency=colour)).image
    assert image.getpixel((1, 1)) == (255, 255, 255)
    assert image.getpixel((6, 1)) == ((0, 0, 255) if mode == "RGB" else (80, 80, 80))


def stored_lying(photo: Image.Image, orientation: int, kind: str) -> bytes:
    """The photo as a camera stores it when held otherwise, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turn = STORED_AS.get(orientation)
    return picture_bytes(photo if turn is None else photo.transpose(turn), kind, exif=exif.tobytes(), quality=95)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF", "JXL"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(photo: Image.Image, kind: str, orientation: int) -> None:
    result = decoded(stored_lying(photo, orientation, kind))
    assert (result.width, result.height) == (160, 120)
    assert mean_difference(result.image, photo) <= 5


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(photo: Image.Image, orientation: int) -> None:
    assert mean_difference(decoded(stored_lying(photo, orientation, "JPEG")).image, photo) <= 5


def assert_embed_alike(encoder: EmbeddedEncoder, images: list[Image.Image]) -> None:
    vectors = encoder.encode_images(images)
    assert float((vectors @ vectors.T).min()) >= 0.99


def test_every_orientation_embeds_alike(encoder: EmbeddedEncoder) -> None:
    with Image.open(PHOTOS / DOG) as file:
        dog = file.convert("RGB")
    assert_embed_alike(encoder, [decoded(stored_lying(dog, o, "JPEG")).image for o in range(1, 9)])
    lying = encoder.encode_images([dog, dog.transpose(Image.Transpose.ROTATE_90)])
    assert float(lying[0] @ lying[1]) < 0.95, "the encoder does not mind, so nothing was proved"


def test_photos_of_every_orientation_embed_alike(encoder: EmbeddedEncoder) -> None:
    files = sorted(shared("corpora/images/orientation_recurser").glob("*.jpg"))
    assert len(files) == 8
    images = [decoded(path.read_bytes()).image for path in files]
    for image in images:
        image.paste("grey", (500, 780, 700, 980))  # each file bears the number of its orientation here
    assert max(mean_difference(image, images[0]) for image in images) <= 3
    assert_embed_alike(encoder, images)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "JXL"])
def test_at_least_makes_a_large_picture_smaller_but_not_too_small(photo: Image.Image, kind: str) -> None:
    large = photo.resize((1600, 1200))
    result = decode_image(picture_bytes(large, kind), MAX_PIXELS, at_least=300)
    assert (result.width, result.height) == (1600, 1200)
    assert 300 <= min(result.image.size) < 600
    assert mean_difference(result.image, photo.resize(result.image.size)) <= 4


def test_a_smaller_picture_knows_the_size_of_the_whole_one_even_lying_on_its_side() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = picture_bytes(Image.new("RGB", (1007, 1001)), exif=exif.tobytes())
    for at_least in (None, 100, 126):
        result = decode_image(data, MAX_PIXELS, at_least)
        assert (result.width, result.height) == (1001, 1007)


def test_a_picture_of_exactly_the_most_pixels_is_accepted() -> None:
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "HEIF", "AVIF", "JXL"):
        assert decode_image(picture_bytes(Image.new("RGB", (100, 64)), kind), 6400).width == 100
        with pytest.raises(TooLarge, match="100 × 64"):
            decode_image(picture_bytes(Image.new("RGB", (100, 64)), kind), 6399)


def test_bombs_are_refused_by_their_header(decoder: ImageDecoder) -> None:
    claims = png(100_000, 100_000, 8, 2, b"\x00")
    really = picture_bytes(Image.new("1", (10_000, 6_000)), "PNG")  # 60 megapixels in a few KB
    assert len(really) < 20_000
    started = time.monotonic()
    for bomb in (claims, really, png(2**31 - 1, 2**31 - 1, 16, 6, b""), png(MAX_PIXELS + 1, 1, 1, 0, b"")):
        with pytest.raises(TooLarge):
            decoder.decode(bomb)
    assert time.monotonic() - started < 1


def test_a_bomb_in_the_metadata_is_refused_or_ignored(photo: Image.Image) -> None:
    text = b"zTXt" + b"Comment\x00\x00" + zlib.compress(b"\x00" * 50_000_000)
    with pytest.raises(BrokenMedia):
        decoded(png(1, 1, 8, 0, b"\x00\x00", text))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", BrokenMedia, id="nothing"),
        pytest.param(b"\x00", UnsupportedMedia, id="one byte"),
        pytest.param(b"\x00" * 10_000, UnsupportedMedia, id="zeros"),
        pytest.param(b"hello, this is a text\n" * 50, UnsupportedMedia, id="text"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedMedia, id="SVG"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UnsupportedMedia, id="EPS"),
        pytest.param(b"%PDF-1.7\n", UnsupportedMedia, id="PDF"),
        pytest.param(b"P6 2 2 255\n" + bytes(12), UnsupportedMedia, id="PPM, which Pillow could read"),
        pytest.param(b"RIFF\x24\x00\x00\x00WAVEfmt ", UnsupportedMedia, id="WAV"),
        pytest.param(b"\x00\x00\x00\x18ftypisom", UnsupportedMedia, id="MP4"),
        pytest.param(b"\xff\xd8\xff", BrokenMedia, id="JPEG signature only"),
        pytest.param(b"\x89PNG\r\n\x1a\n", BrokenMedia, id="PNG signature only"),
        pytest.param(b"GIF89a", BrokenMedia, id="GIF signature only"),
        pytest.param(b"RIFF\x24\x00\x00\x00WEBP", BrokenMedia, id="WebP signature only"),
        pytest.param(b"\x00\x00\x00\x18ftypheic", BrokenMedia, id="HEIC signature only"),
        pytest.param(b"\x00\x00\x00\x18ftypavif", BrokenMedia, id="AVIF signature only"),
        pytest.param(b"\xff\x0a", BrokenMedia, id="JPEG XL signature only"),
        pytest.param(b"\x00\x00\x00\x0cJXL \r\n\x87\n", BrokenMedia, id="JPEG XL container signature only"),
    ],
)
def test_what_is_no_picture_is_told_from_what_is_broken(data: bytes, error: type[AppError]) -> None:
    with pytest.raises(error) as refused:
        decode_image(data, MAX_PIXELS)
    assert refused.type is error
    assert "0x" not in refused.value.detail, "an address in memory is nobody's business"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "HEIF", "AVIF", "JXL"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_broken(photo: Image.Image, kind: str, share: float) -> None:
    whole = picture_bytes(photo, kind)
    assert looks_like_a_picture(whole)
    with pytest.raises(BrokenMedia):
        decode_image(whole[: int(share * len(whole))], MAX_PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "HEIF", "AVIF", "JXL"])
def test_damage_anywhere_gives_a_picture_or_a_clear_error(
    photo: Image.Image, kind: str, decoder: ImageDecoder
) -> None:
    whole, random = picture_bytes(photo.resize((40, 30)), kind), np.random.default_rng(6)
    refused = set()
    for _ in range(60):
        damaged = bytearray(whole)
        for position in random.integers(len(whole), size=int(random.integers(1, 12))):
            damaged[position] = int(random.integers(256))
        try:
            assert decoder.decode(bytes(damaged)).image.mode == "RGB"
        except AppError as error:
            refused.add(type(error))
    assert refused <= {TooLarge, UnsupportedMedia, BrokenMedia}
    assert refused or kind == "BMP", "nothing was ever refused, so nothing was proved"  # BMP has no checks inside


def corpus() -> dict[str, list[object]]:
    """["ok", format, [width, height]] or ["err", …] by path, as plain Pillow sees each file."""
    expected: dict[str, list[object]] = json.loads(shared("corpora/images/expected.json").read_text())
    assert len(expected) > 300
    return expected


def test_every_file_of_the_corpus_is_decoded_or_refused(decoder: ImageDecoder) -> None:
    folder = Path(shared("corpora/images"))
    wrong = []
    for name, (outcome, kind, *size) in corpus().items():
        try:
            result = decoder.decode((folder / name).read_bytes())
            turned = result.blocks.exif.get(ExifTags.Base.Orientation, 1) >= 5 and kind != "TIFF"
            upright = [result.height, result.width] if turned else [result.width, result.height]
            good = outcome == "ok" and [upright] == size and result.image.mode == "RGB"
        except AppError as error:
            too_large = kind == "DecompressionBombError"
            good = outcome == "err" and (error.status == 413 if too_large else error.status in {413, 415, 422})
        if not good:
            wrong.append(name)
    assert wrong == []


def test_no_more_decode_at_a_time_than_allowed(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decoding, a real one, is counted while it lasts."""
    guard, running, peak = threading.Lock(), 0, 0

    def counted(data: bytes, max_pixels: int, at_least: int | None = None) -> DecodedImage:
        nonlocal running, peak
        with guard:
            running += 1
            peak = max(peak, running)
        time.sleep(0.01)
        try:
            return decode_image(data, max_pixels, at_least)
        finally:
            with guard:
                running -= 1

    decoder, files = ImageDecoder(MAX_PIXELS, concurrency=3), [picture_bytes(photo), b"broken"] * 12
    monkeypatch.setattr(app.services.decode, "decode_image", counted)

    def width(data: bytes) -> int | None:
        try:
            return decoder.decode(data).width
        except UnsupportedMedia:
            return None

    with ThreadPoolExecutor(12) as pool:
        widths = list(pool.map(width, files))
    assert widths == [160, None] * 12
    assert (peak, running) == (3, 0)
