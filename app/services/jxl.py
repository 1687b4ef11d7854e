"""JPEG XL: its header, read without the decoder, and its pixels.

The decoder has no look at a picture's size before it has all its pixels: 85 KB can be 400 megapixels, and 4.5 GB.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import ExifTags, Image

from app.services.photo_metadata import MetadataBlocks

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
SIGNATURES = (_CODESTREAM, _CONTAINER)

_HEADER_BYTES = 32  # more than the size and the orientation can take
_MAX_BOXES = 1000  # looked at; there are about ten
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width to height
_DIMENSION_BITS = (9, 13, 18, 30)


@dataclass(frozen=True)
class JxlHeader:
    """Size in px before turning. `orientation` (1 to 8, as in EXIF) is what the decoder turns by itself."""

    width: int
    height: int
    orientation: int
    blocks: MetadataBlocks = field(repr=False)


def read_header(data: bytes) -> JxlHeader:
    """ISO 18181-1 (SizeHeader, ImageMetadata) and 18181-2 (boxes). Raises: ValueError."""
    parts: dict[bytes, bytes] = {}
    if data.startswith(_CODESTREAM):
        parts[b"jxlc"] = data
    for name, content in _boxes(data) if data.startswith(_CONTAINER) else ():
        if name == b"jxlp":  # a piece of the codestream, behind its number
            parts[b"jxlc"] = (parts.get(b"jxlc", b"") + content[4 : 4 + _HEADER_BYTES])[:_HEADER_BYTES]
        else:
            parts[name] = content
    codestream = parts.get(b"jxlc", b"")
    if not codestream.startswith(_CODESTREAM):
        raise ValueError("no codestream")
    blocks = MetadataBlocks(exif=_exif(parts.get(b"Exif", b"")), xmp=parts.get(b"xml ", b""))
    return JxlHeader(*_size_and_orientation(codestream), blocks)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content); a size of 1 stands for one of 64 bits behind the type, 0 for the rest of the file."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        size, name, start = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8]), start + 8
        end = at + size if size else len(data)
        if end < start:
            raise ValueError("a box ends before it begins")
        yield name, data[start:end]
        at = end


def _size_and_orientation(codestream: bytes) -> tuple[int, int, int]:
    bits = int.from_bytes(codestream[2:_HEADER_BYTES], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def dimension(in_eights: int) -> int:
        return 8 * (take(5) + 1) if in_eights else take(_DIMENSION_BITS[take(2)]) + 1

    small = take(1)
    height = dimension(small)
    ratio = take(3)
    width = height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else dimension(small)
    all_default = take(1)
    extra_fields = 0 if all_default else take(1)
    return width, height, take(3) + 1 if extra_fields else 1


def _exif(box: bytes) -> Image.Exif:
    """The box begins with the distance (4 bytes) from there to the TIFF header, which some writers forget."""
    exif = Image.Exif()
    try:
        exif.load(box if box.startswith((b"II*\x00", b"MM\x00*")) else box[4 + int.from_bytes(box[:4]) :])
    except Exception:  # Pillow raises whatever hostile bytes lead it to
        return Image.Exif()
    return exif


def decode_jxl(data: bytes, at_least: int | None) -> tuple[bytes, int, int]:
    """An uncompressed TIFF, no side below at_least px, and the width and height of the whole upright picture.

    The codestream's own orientation rules, and the decoder has obeyed it; EXIF's does where that one says nothing,
    and for a JPEG that was packed as it was. The caller has judged the header. Raises: nearly anything.
    """
    import pillow_jxl  # noqa: F401 — teaches Pillow

    header = read_header(data)
    with Image.open(io.BytesIO(data), formats=["JXL"]) as file:
        file.load()
        turned = header.orientation != 1 and not getattr(file, "jpeg", False)
        orientation = 1 if turned else file.getexif().get(ExifTags.Base.Orientation, 1)
        size = file.size
        factor = min(size) // at_least if at_least else 1
        image = file.reduce(factor) if factor > 1 and file.mode in ("RGB", "RGBA", "L", "LA") else file
        buffer, exif = io.BytesIO(), Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        image.save(buffer, "TIFF", exif=exif)
    width, height = reversed(size) if orientation in (5, 6, 7, 8) else size
    return buffer.getvalue(), width, height
