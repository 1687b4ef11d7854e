"""Files changed at random: each is decoded or refused by name, quickly, and nothing else happens."""

import io
import time
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.errors import BrokenMedia, TooLarge, UnsupportedMedia
from app.services.audio import decode_audio
from app.services.decode import decode_image, set_up_pillow
from app.services.photo_metadata import read_metadata
from tests.conftest import DATA, PHOTOS, PIZZA, picture_bytes

MAX_PIXELS = 4_000_000
SLOW_S = 20.0  # a thousand times what it takes: a loop that hangs, and not a busy machine
REFUSALS = (BrokenMedia, TooLarge, UnsupportedMedia)
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")


def picture_seeds() -> list[bytes]:
    set_up_pillow(MAX_PIXELS)
    with Image.open(PHOTOS / PIZZA) as photo:
        small = photo.convert("RGB").resize((96, 64))
    return [picture_bytes(small, kind) for kind in KINDS] + [(PHOTOS / PIZZA).read_bytes()[:20_000]]


def sound_seeds() -> list[bytes]:
    speech = (DATA / "speech" / "librivox_0930.wav").read_bytes()[:40_000]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(np.zeros(9600, "<i2").tobytes())
    others = [path.read_bytes() for path in sorted((DATA / "speech").iterdir()) if path.suffix != ".json"]
    return [speech, buffer.getvalue(), *(data[:40_000] for data in others)]


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A file of one kind with bytes changed, cut, repeated or mixed with another's."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["set", "cut", "repeat", "splice", "insert"])):
            case "set":
                data[at : at + 4] = draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del data[at : at + draw(st.integers(1, 400))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 64))] * draw(st.integers(1, 50))
            case "splice":
                other = draw(st.sampled_from(seeds))
                data[at : at + 200] = other[at : at + 200]
            case _:
                data[at:at] = draw(st.sampled_from([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xd8"]))
    return bytes(data)


def judge(work: Callable[[], object]) -> None:
    started = time.perf_counter()
    with suppress(*REFUSALS):
        work()
    assert time.perf_counter() - started < SLOW_S


def look(data: bytes) -> None:
    decoded = decode_image(data, MAX_PIXELS)
    assert decoded.image.mode == "RGB"
    assert decoded.width * decoded.height <= MAX_PIXELS
    read_metadata(decoded.blocks)


def listen(data: bytes) -> None:
    samples = decode_audio(data, 5)
    assert samples.dtype == np.float32
    assert len(samples) <= 5 * 16_000
    assert np.abs(samples).max() <= 1


AMOUNTS = [pytest.param(200, id="some"), pytest.param(6000, id="many", marks=pytest.mark.stress)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize(
    ("seeds", "work"), [(picture_seeds, look), (sound_seeds, listen)], ids=["pictures", "sounds"]
)
def test_damaged_files_are_decoded_or_refused(
    amount: int, seeds: Callable[[], list[bytes]], work: Callable[[bytes], None], tmp_path: Path
) -> None:
    @settings(max_examples=amount, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(damaged(seeds()))
    def check(data: bytes) -> None:
        (tmp_path / "last").write_bytes(data)  # what a crash of the process would leave to look at
        judge(lambda: work(data))

    check()
