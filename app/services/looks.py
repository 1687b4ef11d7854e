"""What a photo looks like from afar: a fingerprint by which copies are found, and a blurred picture of it."""

import base64
import io
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

AFAR = 128  # px of the longer side, at least: what both are made from, so that all pixels are read once

HASHED = 32  # px of each side of what imagehash transforms
PLAIN = 0  # instead of a hash that would be chance; only a black picture has this one
# A bit says whether one of 64 frequencies is above their median. Noise and compression move them by 1 or 2
# (orthonormal transform of grey 0 to 255), so a bit is certain from 8 on. Of 153 photos 152 have 50 certain bits
# or more; plain walls, gradients and pages of text have fewer, and their hashes collide.
CERTAIN = 8.0
CERTAIN_BITS = 50

PLACEHOLDER_SIZE = 16  # px: 93 bytes on average; 12 px would save 12 and blur shapes away, 20 px cost 45 more
PLACEHOLDER_QUALITY = 20  # 10 shows blocks and saves 13 bytes; from 30 on, only bytes are added


@dataclass(frozen=True)
class Look:
    phash: int  # 64 bits as a signed number, or PLAIN
    placeholder: str  # a data: URL


def look_of(image: Image.Image) -> Look:
    """Of upright RGB pixels; about 1 ms a megapixel."""
    small = image.reduce(max(1, max(image.size) // AFAR))
    return Look(_perceptual_hash(small), _placeholder(small))


def _perceptual_hash(image: Image.Image) -> int:
    import scipy.fft  # a quarter of a second, which commands that add no photo need not wait for

    grey = image.convert("L").resize((HASHED, HASHED), Image.Resampling.LANCZOS)
    bits = imagehash.phash(grey).hash
    coarse = scipy.fft.dctn(np.asarray(grey, np.float32), norm="ortho")[: len(bits), : len(bits)]
    if (np.abs(coarse - np.median(coarse)) >= CERTAIN).sum() < CERTAIN_BITS:
        return PLAIN
    return int(np.packbits(bits).view(">i8")[0])


def _placeholder(image: Image.Image) -> str:
    tiny, buffer = image.copy(), io.BytesIO()
    tiny.thumbnail((PLACEHOLDER_SIZE, PLACEHOLDER_SIZE))
    tiny.info.clear()  # neither a colour profile nor EXIF
    tiny.save(buffer, "WEBP", quality=PLACEHOLDER_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
