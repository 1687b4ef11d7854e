"""What was acknowledged is there after a crash, and nothing half done is."""

import hashlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from sqlmodel import func, select

from app.flows.ingest import NewItem, add_item
from app.flows.services import Services
from app.tables import Embedding, Photo
from tests import dying_library
from tests.conftest import picture_bytes
from tests.dying_library import POINTS, open_library
from tests.server import Server

ROOT = Path(__file__).parent.parent


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


def check_whole(server: Server, acknowledged: dict[int, str]) -> None:
    """Every acknowledged photo has its bytes; rows, vectors and files are the same; nothing else lies about."""
    with httpx2.Client(base_url=server.url) as client:
        for photo_id, sha256 in acknowledged.items():
            data = client.get(f"/photo/{photo_id}/file").content
            assert hashlib.sha256(data).hexdigest() == sha256
        photos = client.get("/photos", params={"limit": 1000}).json()
        health = client.get("/health").json()
    assert (health["image_count"], health["waiting_for_vector"]) == (photos["total"], 0)
    files = [path for path in (server.folder / "uploads").rglob("*") if path.is_file()]
    assert not [path for path in files if ".incoming" in path.parts]
    originals = sorted(path.name for path in files if len(path.name) == 64)
    assert originals == sorted(photo["sha256"] for photo in photos["photos"])
    assert {path.name[:64] for path in files if path.suffix == ".webp"} <= set(originals)


def crash_rounds(folder: Path, rounds: int) -> None:
    server = Server(folder, RECOLLECT_WHISPER_MODEL="none")
    server.start()
    acknowledged: dict[int, str] = {}
    try:
        for number in range(rounds):
            acknowledged |= kill_during_uploads(server, number, after=10 + 7 * (number % 5))
            server.start()
            check_whole(server, acknowledged)
    finally:
        server.stop()
    assert len(acknowledged) >= 10 * rounds


def test_kill_during_uploads_loses_nothing_acknowledged(tmp_path: Path) -> None:
    crash_rounds(tmp_path, rounds=1)


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_kill_during_uploads_many_times(tmp_path: Path) -> None:
    crash_rounds(tmp_path, rounds=25)


def die_at_every_point(folder: Path) -> set[str]:
    """The originals that were acknowledged and not deleted again."""
    script = [sys.executable, "-m", "tests.dying_library", str(folder), *POINTS]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    return {sha256 for word, sha256 in said if word == "added"} - {
        sha256 for word, sha256 in said if word != "added"
    }


def originals_and_rows(services: Services) -> tuple[list[str], list[str]]:
    """By SHA-256; each row has its vector, and nothing half done lies about."""
    with services.database.read() as session:
        rows = [str(sha256) for sha256 in session.exec(select(Photo.sha256))]
        vectors = session.exec(select(func.count()).select_from(Embedding)).one()
    assert vectors == len(services.live_index) == len(rows)
    files = [path for path in services.settings.uploads_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if ".incoming" in path.parts]
    assert {path.name[:64] for path in files if path.suffix == ".webp"} <= set(rows)
    return sorted(path.name for path in files if len(path.name) == 64), sorted(rows)


def test_a_death_at_any_point_is_mended_by_the_next_start(tmp_path: Path) -> None:
    acknowledged = die_at_every_point(tmp_path)
    assert len(acknowledged) >= len(POINTS)
    services = open_library(tmp_path)
    try:
        originals, rows = originals_and_rows(services)
        assert originals == rows
        assert acknowledged <= set(originals)
        again = [data for point in POINTS for data in dying_library.pictures(point)]
        for data in again:  # who tries once more gets each photo once
            add_item(services, NewItem(data))
        assert originals_and_rows(services) == 2 * (sorted(hashlib.sha256(data).hexdigest() for data in again),)
    finally:
        services.close()


@pytest.mark.stress
@pytest.mark.timeout(180)
def test_two_processes_on_the_same_photos_at_once(tmp_path: Path) -> None:
    """Uploads, failures and deletions of the same bytes; each photo ends with a row and a file, or neither."""
    script = [sys.executable, "-m", "tests.quarrel", str(tmp_path)]
    both = [subprocess.Popen([*script, str(seed)], cwd=ROOT) for seed in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    services = open_library(tmp_path)
    originals, rows = originals_and_rows(services)
    services.close()
    assert originals == sorted(set(rows))  # one original may have two owners
