"""A full disk and a failing one: nothing false is acknowledged, searches go on, and nothing half done is left."""

import contextlib
import hashlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.conftest import BUSES, DOG, PHOTOS, Running
from tests.server import Server
from tests.small_disk import mounted
from tests.test_crash import check_whole, pictures
from tests.test_upload import counts

pytestmark = pytest.mark.sqlite("its files are on the disk that fails")

MEGABYTE = bytes(2**20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "20m")


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    for piece in (MEGABYTE, MEGABYTE[:4096], MEGABYTE[:1]):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(piece)
    return filler


def test_a_full_disk_refuses_uploads_and_answers_searches(start: Callable[..., Running], small_disk: Path) -> None:
    app = start(database_url=f"sqlite:///{small_disk}/recollect.db", uploads_dir=small_disk / "uploads")
    dog = app.upload(DOG)
    app.search("a dog")
    filler = fill(small_disk)
    for _ in range(5):
        begun = time.monotonic()
        answer = app.client.post("/upload", files={"file": ("b.jpg", (PHOTOS / BUSES).read_bytes())})
        assert (answer.status_code, answer.json()["type"]) == (507, "storage-full")
        assert time.monotonic() - begun < 2
        assert app.search("a dog")[0]["photo_id"] == dog["id"]
    assert app.upload(DOG)["id"] == dog["id"]  # what is known needs no room
    assert counts(app) == (1, 1, 1, 1)
    filler.unlink()
    app.upload(BUSES)
    assert counts(app) == (2, 2, 2, 2)


@contextmanager
def failing(server: Server, calls: str, error: str, when: int) -> Iterator[None]:
    """The n-th of these system calls fails, in each thread of the running server."""
    assert server.process is not None
    command = ["strace", "-f", "-p", str(server.process.pid), "-e", f"trace={calls}"]
    with subprocess.Popen(
        [*command, "-e", f"inject={calls}:error={error}:when={when}"], stderr=subprocess.PIPE, text=True
    ) as tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"this machine does not let a process be traced: {line}")
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=30)


def upload_with_failures(folder: Path, cases: list[tuple[str, str, int]]) -> None:
    """One upload for each case; then a crash, after which rows, files and vectors must be the same."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    server = Server(folder, RECOLLECT_WHISPER_MODEL="none")
    server.start()
    acknowledged: dict[int, str] = {}
    refused = 0
    try:
        for data, (calls, error, when) in zip(pictures(len(cases), seed=1), cases, strict=True):
            with failing(server, calls, error, when):
                answer = httpx2.post(f"{server.url}/upload", files={"file": ("p.png", data)}, timeout=60)
            if answer.status_code == 201:
                acknowledged[answer.json()["id"]] = hashlib.sha256(data).hexdigest()
            else:
                assert 500 <= answer.status_code < 600, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                refused += 1
        assert refused >= 3, "hardly any failure hit an upload"
        server.stop(signal.SIGKILL)
        server.start()
        check_whole(server, acknowledged)
    finally:
        server.stop()


def cases(most: int) -> list[tuple[str, str, int]]:
    kinds = [("fsync,fdatasync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO")]
    counted = [(calls, error, when) for calls, error in kinds for when in range(1, most + 1)]
    # Last before the crash: SQLite cannot sync its log, so the upload is refused; the crash makes its row valid.
    return [*counted, ("fdatasync", "EIO", 1)]


def test_a_failing_disk_is_never_taken_for_a_good_one(tmp_path: Path) -> None:
    upload_with_failures(tmp_path, cases(1))


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_a_disk_that_fails_at_any_call(tmp_path: Path) -> None:
    upload_with_failures(tmp_path, cases(40))
