"""What was acknowledged is there after a crash, and nothing half done is."""

import hashlib
import signal
import threading
import time
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.conftest import picture_bytes
from tests.server import Server


def pictures(count: int, seed: int) -> list[bytes]:
    """Small pictures that differ, so that many are uploaded before the crash."""
    return [
        picture_bytes(Image.new("RGB", (40, 40), (seed % 256, i % 256, i // 256)), "PNG") for i in range(count)
    ]


def upload_until_killed(server: Server, files: list[bytes], acknowledged: dict[int, str]) -> None:
    with httpx2.Client() as client:
        for data in files:
            try:
                answer = client.post(f"{server.url}/upload", files={"file": ("p.png", data)}, timeout=20)
            except httpx2.TransportError:
                return
            if answer.status_code in (200, 201):
                acknowledged[answer.json()["id"]] = hashlib.sha256(data).hexdigest()


def kill_during_uploads(server: Server, round_number: int, after: int) -> dict[int, str]:
    """Kills the server once it has acknowledged `after` uploads, with others under way."""
    acknowledged: dict[int, str] = {}
    parts = [pictures(200, 10 * round_number + part) for part in range(4)]
    threads = [threading.Thread(target=upload_until_killed, args=(server, part, acknowledged)) for part in parts]
    for thread in threads:
        thread.start()
    while len(acknowledged) < after and any(thread.is_alive() for thread in threads):
        time.sleep(0.001)
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    return acknowledged


def check_whole(server: Server, acknowledged: dict[int, str], crashes: int) -> None:
    """Every acknowledged photo has its bytes; rows, vectors and files are equal in number."""
    with httpx2.Client(base_url=server.url) as client:
        for photo_id, sha256 in acknowledged.items():
            data = client.get(f"/photo/{photo_id}/file").content
            assert hashlib.sha256(data).hexdigest() == sha256
        total = client.get("/photos", params={"limit": 1}).json()["total"]
        health = client.get("/health").json()
    assert (health["image_count"], health["waiting_for_vector"]) == (total, 0)
    files = [path for path in (server.folder / "uploads").rglob("*") if path.is_file()]
    assert not [path for path in files if ".incoming" in path.parts and ".thumbnails" not in path.parts]
    originals = [path for path in files if len(path.name) == 64]
    # A crash may come between a file and its row: at most once for each of the four uploads under way.
    assert 0 <= len(originals) - total <= 4 * crashes


def crash_rounds(folder: Path, rounds: int) -> None:
    server = Server(folder, RECOLLECT_WHISPER_MODEL="none")
    server.start()
    acknowledged: dict[int, str] = {}
    try:
        for number in range(rounds):
            acknowledged |= kill_during_uploads(server, number, after=10 + 7 * (number % 5))
            server.start()
            check_whole(server, acknowledged, crashes=number + 1)
    finally:
        server.stop()
    assert len(acknowledged) >= 10 * rounds


def test_kill_during_uploads_loses_nothing_acknowledged(tmp_path: Path) -> None:
    crash_rounds(tmp_path, rounds=2)


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_kill_during_uploads_many_times(tmp_path: Path) -> None:
    crash_rounds(tmp_path, rounds=25)
