"""Where in a picture an encoder sees what the words say.

Windows of the picture are encoded each by itself, and the cosine of a window with the words is the heat of its
place. That asks nothing of the encoder but vectors, so it works for every one. So does hiding a window and seeing
how far the whole picture's cosine falls (Zeiler & Fergus 2014, section 4.2), but it points worse: numbers are in
benchmarks/README.md.
"""

import io
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.services.interfaces import Scores

Box = tuple[int, int, int, int]  # px: left, upper, right, lower
Heat = NDArray[np.float32]  # (CELLS, CELLS), 0..1

CELLS, WINDOW, STEP = (
    15,
    5,
    2,
)  # a picture has 15 × 15 cells, a window 5 × 5, and the next one begins 2 cells later
STARTS = range(0, CELLS - WINDOW + 1, STEP)
STRONGEST = 0.75  # opacity of the colours where it is hottest
COLOURS = np.array([(255, 225, 90), (255, 130, 20), (205, 0, 50)])  # from warm to hot


def windows(width: int, height: int) -> list[Box]:
    """Overlapping boxes, 6 × 6, that cover a picture."""
    x, y = (np.linspace(0, side, CELLS + 1) for side in (width, height))
    return [
        (int(x[left]), int(y[top]), ceil(x[left + WINDOW]), ceil(y[top + WINDOW]))
        for top in STARTS
        for left in STARTS
    ]


def heat_of(cosines: Scores) -> Heat:
    """One cosine for each window → their mean over each cell, from 0 where it is least to 1 where it is most."""
    total, count = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    places = [(top, left) for top in STARTS for left in STARTS]
    for cosine, (top, left) in zip(cosines, places, strict=True):
        total[top : top + WINDOW, left : left + WINDOW] += cosine
        count[top : top + WINDOW, left : left + WINDOW] += 1
    mean = total / count
    heat: Heat = ((mean - mean.min()) / max(np.ptp(mean), 1e-6)).astype(np.float32)
    return heat


def overlay(heat: Heat, width: int, height: int) -> Image.Image:
    """RGBA of this size: clear where it is colder than the middle, and the hotter the less so."""
    smooth = Image.fromarray(heat).resize((width, height), Image.Resampling.BICUBIC)
    above = (np.asarray(smooth) * 2 - 1).clip(0, 1)
    steps = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(above, steps, COLOURS[:, channel]) for channel in range(3)]
    rgba = np.dstack([*channels, 255 * STRONGEST * above])
    return Image.fromarray(rgba.round().astype(np.uint8), "RGBA")


def painted(photo: Image.Image, heat: Heat) -> Image.Image:
    """RGB: the photo in grey under the colours."""
    grey = photo.convert("L").convert("RGBA")
    return Image.alpha_composite(grey, overlay(heat, *photo.size)).convert("RGB")


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
