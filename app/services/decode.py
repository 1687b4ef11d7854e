"""From bytes to upright RGB pixels: the header is judged before a pixel is decoded."""

import importlib.util
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageOps

from app.errors import AppError, BrokenMedia, TooLarge, UnsupportedMedia
from app.services import jxl, raw
from app.services.isolated import Kind, decode_isolated
from app.services.photo_metadata import MetadataBlocks, blocks_of

# MPO (a JPEG with more pictures behind it) comes through "JPEG". No other opener is ever tried: the allow list
# keeps out EPS, which would start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF")
MIME_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
}
ACCEPTED = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC/HEIF, AVIF, JPEG XL and camera RAW"
EXTRAS: dict[Kind, tuple[str, str]] = {"jxl": ("pillow_jxl", "JPEG XL"), "raw": ("rawpy", "camera RAW")}

LYING = (5, 6, 7, 8)  # EXIF orientations in which width and height are exchanged

# First bytes by which a damaged file is told from one that was never a picture.
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", *_TIFF, *jxl.SIGNATURES, *raw.SIGNATURES)
_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")


@dataclass(frozen=True)
class DecodedImage:
    """Upright RGB pixels and what the file said of itself.

    width and height are of the whole upright picture, in px; `image` may be smaller, see decode_image.
    """

    image: Image.Image
    mime: str
    width: int
    height: int
    blocks: MetadataBlocks


def set_up_pillow(max_pixels: int) -> None:
    """Teach Pillow HEIC and HEIF (AVIF it knows by itself), and let it refuse twice max_pixels at any depth.

    Once at start, for the whole process; a filter set round each decode would not be safe between threads.
    """
    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = max_pixels
    # Its warnings are about odd metadata, and about sizes that decode_image judges itself.
    warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageDecoder:
    """Decodes at most `concurrency` pictures at a time: each may need some 300 MB at 50 megapixels."""

    def __init__(self, max_pixels: int, concurrency: int) -> None:
        set_up_pillow(max_pixels)
        self._max_pixels = max_pixels
        self._slots = threading.BoundedSemaphore(concurrency)

    def decode(self, data: bytes, at_least: int | None = None) -> DecodedImage:
        """See decode_image."""
        with self._slots:
            return decode_image(data, self._max_pixels, at_least)


def decode_image(data: bytes, max_pixels: int, at_least: int | None = None) -> DecodedImage:
    """The first frame, upright, RGB, transparency on white; of camera RAW the camera's own JPEG, if it is large.

    With at_least (px) the image may come smaller by a whole factor, as long as no side falls below that: for JPEG
    much faster, and so is scaling it down further.

    Raises: TooLarge (more than max_pixels, judged by the header), UnsupportedMedia (not one of ACCEPTED, or its
    extra is not installed), BrokenMedia (damaged, empty, or cut short).
    """
    with _as_app_errors(data):
        if data.startswith(jxl.SIGNATURES):
            _require_extra("jxl")
            header = jxl.read_header(data)
            _check_pixels(header.width, header.height, max_pixels)
            return _decode_elsewhere("jxl", data, "image/jxl", header.blocks, max_pixels, at_least)
        if mime := raw.raw_mime(data):
            _require_extra("raw")
            return _decode_elsewhere("raw", data, mime, raw.raw_blocks(data), max_pixels, at_least)
        return _decode_here(data, max_pixels, at_least)


def _decode_here(data: bytes, max_pixels: int, at_least: int | None) -> DecodedImage:
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        _check_pixels(file.width, file.height, max_pixels)
        mime, size = MIME_TYPES[file.format or ""], file.size
        if at_least:
            file.draft("RGB", (at_least, at_least))
        file.load()
        blocks = blocks_of(file)
        image = _rgb(_reduced(_upright(file, blocks.exif), at_least))
    width, height = reversed(size) if _orientation(blocks.exif) in LYING else size
    return DecodedImage(image, mime, width, height, blocks)


def _decode_elsewhere(
    kind: Kind, data: bytes, mime: str, blocks: MetadataBlocks | None, max_pixels: int, at_least: int | None
) -> DecodedImage:
    """By way of a picture that Pillow knows; its own metadata counts only where the file's are not known."""
    plain, width, height = decode_isolated(kind, data, max_pixels, at_least)
    picture = _decode_here(plain, max_pixels, at_least)
    return replace(picture, mime=mime, width=width, height=height, blocks=blocks or picture.blocks)


def _require_extra(kind: Kind) -> None:
    """Raises: UnsupportedMedia."""
    package, name = EXTRAS[kind]
    if importlib.util.find_spec(package) is None:
        raise UnsupportedMedia(f'There is no decoder for {name} here; pip install "recollect[{kind}]" adds it.')


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLarge(f"The picture has {width} × {height} pixels; {max_pixels:,} are allowed.")


@contextmanager
def _as_app_errors(data: bytes) -> Iterator[None]:
    """Pillow's many errors as three; its own texts are left out, for they can hold memory addresses."""
    try:
        yield
    except AppError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise TooLarge("The picture has too many pixels.") from error
    except Exception as error:  # decoders raise nearly every kind of exception on hostile bytes
        if not data:
            raise BrokenMedia("The file is empty.") from error
        if looks_like_a_picture(data):
            raise BrokenMedia("The picture is damaged or cut short.") from error
        raise UnsupportedMedia(f"This is not a picture of a known kind; accepted are {ACCEPTED}.") from error


def looks_like_a_picture(data: bytes) -> bool:
    """By the first 16 bytes: whether this is, or was meant to be, one of FORMATS."""
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    is_heif = data[4:8] == b"ftyp" and data[8:12] in _BRANDS
    return data.startswith(_SIGNATURES) or is_webp or is_heif


def _orientation(exif: Image.Exif) -> int:
    """1 to 8; 1 where the file says nothing, or nonsense."""
    value: object = exif.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _reduced(image: Image.Image, at_least: int | None) -> Image.Image:
    factor = min(image.size) // at_least if at_least else 1
    return image.reduce(factor) if factor > 1 and image.mode in ("RGB", "RGBA", "L", "LA", "CMYK") else image


def _upright(image: Image.Image, exif: Image.Exif) -> Image.Image:
    if _orientation(exif) == 1:
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _rgb(image: Image.Image) -> Image.Image:
    """RGB, 8 bit. What shows through transparent pixels is white, as on a page."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith(("I", "F")):
        return _eight_bit(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Deep grey by its own range: Pillow's convert would clip everything above 255 to white."""
    values = np.nan_to_num(np.asarray(image, np.float32))
    top = 65535.0 if image.mode.startswith("I") else float(values.max(initial=0))
    return Image.fromarray((values * (255 / top if top > 0 else 0)).clip(0, 255).astype(np.uint8))
