"""Digital negatives by hand (Adobe DNG 1.4): a Bayer sensor that sees a given picture."""

import struct

import numpy as np
from PIL import Image

ORIENTATION, SUB_IFDS = 274, 330
# As ColorMatrix1: the sensor's channels are those of linear sRGB.
XYZ_TO_SRGB = (3.24045, -1.53714, -0.49853, -0.96927, 1.87601, 0.04156, 0.05564, -0.20403, 1.05723)
BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10
_CODES = {BYTE: "B", SHORT: "H", LONG: "I"}

Entry = tuple[int, int, tuple[float, ...] | bytes]


def dng(
    picture: Image.Image, orientation: int = 1, preview: bytes = b"", preview_size: tuple[int, int] = (0, 0)
) -> bytes:
    """With a preview (JPEG), that comes first and the sensor's pixels in a sub-IFD, as cameras have it."""
    pixels = _bayer(picture)
    preview += b"\x00" * (len(preview) % 2)
    at, end = 8, 8 + len(pixels) + len(preview)
    sensor: list[Entry] = [
        *_image(picture.size, (16,), 1, 32803, at, len(pixels)),
        (33421, SHORT, (2, 2)),  # CFARepeatPatternDim
        (33422, BYTE, (0, 1, 1, 2)),  # CFAPattern: RGGB
        (50717, SHORT, (65535,)),  # WhiteLevel
    ]
    about: list[Entry] = [
        (271, ASCII, b"Recollect\x00"),
        (272, ASCII, b"Test sensor\x00"),
        (ORIENTATION, SHORT, (orientation,)),
        (306, ASCII, b"2024:05:06 07:08:09\x00"),
        (50706, BYTE, (1, 4, 0, 0)),  # DNGVersion
        (50708, ASCII, b"Test sensor\x00"),
        (50721, SRATIONAL, XYZ_TO_SRGB),
        (50728, RATIONAL, (1, 1, 1)),  # AsShotNeutral
        (50778, SHORT, (21,)),  # CalibrationIlluminant1: D65
    ]
    if not preview:
        return _header(end) + pixels + _directory(about + sensor, end)
    sub = _directory(sensor, end)
    shown = _image(preview_size, (8, 8, 8), 7, 6, at + len(pixels), len(preview))
    first = _directory([*about, *shown, (SUB_IFDS, LONG, (end,))], end + len(sub))
    return _header(end + len(sub)) + pixels + preview + sub + first


def _bayer(picture: Image.Image) -> bytes:
    rgb = (np.asarray(picture.convert("RGB"), np.float64) / 255) ** 2.2
    seen = rgb[..., 1].copy()
    seen[0::2, 0::2], seen[1::2, 1::2] = rgb[0::2, 0::2, 0], rgb[1::2, 1::2, 2]
    return (seen * 65535).astype("<u2").tobytes()


def _header(first_directory: int) -> bytes:
    return b"II*\x00" + struct.pack("<I", first_directory)


def _image(
    size: tuple[int, int], bits: tuple[int, ...], compression: int, photometric: int, at: int, length: int
) -> list[Entry]:
    """One strip of `length` bytes."""
    return [
        (254, LONG, (int(compression == 7),)),  # NewSubfileType: a smaller picture
        (256, LONG, (size[0],)),
        (257, LONG, (size[1],)),
        (258, SHORT, bits),
        (259, SHORT, (compression,)),
        (262, SHORT, (photometric,)),
        (273, LONG, (at,)),
        (277, SHORT, (len(bits),)),
        (278, LONG, (size[1],)),
        (279, LONG, (length,)),
    ]


def _directory(entries: list[Entry], at: int) -> bytes:
    """An IFD that lies at this offset, with the values that are too long for it behind it."""
    table, values, behind = b"", b"", at + 2 + 12 * len(entries) + 4
    for tag, kind, value in sorted(entries):
        data = _packed(kind, value)
        where = data.ljust(4, b"\x00") if len(data) <= 4 else struct.pack("<I", behind + len(values))
        table += struct.pack("<HHI", tag, kind, len(value)) + where
        values += data + b"\x00" * (len(data) % 2) if len(data) > 4 else b""
    return struct.pack("<H", len(entries)) + table + bytes(4) + values


def _packed(kind: int, value: tuple[float, ...] | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if kind in (RATIONAL, SRATIONAL):
        return b"".join(struct.pack("<ii", round(part * 100_000), 100_000) for part in value)
    return struct.pack(f"<{len(value)}{_CODES[kind]}", *value)
