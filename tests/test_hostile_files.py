"""Files made to break whoever reads them, sent to a real server: each is judged soon, and memory comes back."""

import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.conftest import picture_bytes, shared
from tests.server import Server, http, running
from tests.test_audio import encoded, wav
from tests.test_decode import corpus, png

pytestmark = [pytest.mark.stress, pytest.mark.alone, pytest.mark.timeout(600)]
NOTHING_TO_HEAR = ("awful.wav", "bad.wav", "evil.wav", "null.wav", "picovoice_empty.wav")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("hostile"), RECOLLECT_LOG_LEVEL="warning") as server:
        yield server


@dataclass
class Judged:
    """What became of files sent to one route, and what they cost."""

    server: Server
    route: str
    statuses: dict[str, int] = field(default_factory=dict)
    slowest: tuple[float, str] = (0, "")

    def send(self, name: str, data: bytes) -> int:
        began = time.monotonic()
        answer = http.post(f"{self.server.url}{self.route}", files={"file": (name, data)})
        self.slowest = max(self.slowest, (time.monotonic() - began, name))
        assert answer.status_code < 400 or answer.headers["Content-Type"] == "application/problem+json", name
        self.statuses[name] = answer.status_code
        return answer.status_code


def memory_mb(server: Server, which: str) -> float:
    """VmRSS is what the process holds now, VmHWM the most that it held."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"{which}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def forget_the_peak(server: Server) -> None:
    assert server.process is not None
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def claiming(picture: bytes, width: int, height: int) -> bytes:
    """A HEIC or AVIF picture whose `ispe` box tells of another size (ISO/IEC 23008-12, 6.5.3)."""
    at = picture.index(b"ispe") + 8
    return picture[:at] + struct.pack(">II", width, height) + picture[at + 8 :]


def bombs() -> dict[str, bytes]:
    """Few bytes, many pixels: some only claim them, some have them."""
    pillow_heif.register_heif_opener()
    small = Image.new("RGB", (64, 64), "red")
    return {
        "88 megapixels.png": picture_bytes(Image.new("1", (11_000, 8_000)), "PNG"),
        "178 megapixels.png": picture_bytes(Image.new("1", (17_800, 10_000)), "PNG"),
        "4 gigapixels.png": png(65_000, 65_000, 8, 2, b"\x00"),
        "88 megapixels.gif": picture_bytes(Image.new("P", (11_000, 8_000)), "GIF"),
        "200 megapixels.heic": claiming(picture_bytes(small, "HEIF"), 20_000, 10_000),
        "144 megapixels.avif": claiming(picture_bytes(small, "AVIF"), 12_000, 12_000),
    }


def test_pictures(server: Server) -> None:
    folder, pictures = shared("corpora/images"), Judged(server, "/upload")
    base = memory_mb(server, "VmRSS")
    forget_the_peak(server)
    for name, verdict in corpus().items():
        status = pictures.send(name, (folder / name).read_bytes())
        assert status < 500, name
        assert verdict[0] == "ok" or status in {413, 415, 422}, (name, status)
    for name, data in bombs().items():
        assert pictures.send(name, data) == 413, name
    assert pictures.slowest < (3, "")
    assert memory_mb(server, "VmHWM") < base + 600
    found = http.get(f"{server.url}/photos", params={"limit": 1}).json()["total"]
    assert 0 < found <= sum(status in {200, 201} for status in pictures.statuses.values())


def test_recordings(server: Server) -> None:
    recordings = Judged(server, "/search/voice")
    http.post(f"{server.url}/search/voice", files={"file": ("warm.wav", wav(16_000))})
    base = memory_mb(server, "VmRSS")
    forget_the_peak(server)
    bad = {name: (shared("corpora/speech_hostile") / name).read_bytes() for name in NOTHING_TO_HEAR}
    ten_seconds = encoded(np.zeros(160_000, np.float32), "adts", "aac")
    made = {
        "two hours.aac": ten_seconds * 720,
        "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "list.ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "picture.webm": picture_bytes(Image.new("RGB", (640, 480)), "WEBP"),
        "nothing.wav": b"",
    }
    for name, data in (bad | made).items():
        assert 400 <= recordings.send(name, data) < 500, name
    assert recordings.slowest < (5, "")
    assert memory_mb(server, "VmHWM") < base + 200
