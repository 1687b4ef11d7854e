"""Resumable uploads against a real server: connections that break, kill -9, and the client that pages use."""

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import picture_bytes
from tests.server import Server, running
from tests.test_resumable import PART, Tus, check_whole

CLIENT = Path(__file__).with_name("tus_upload.cjs")


def noise(seed: int) -> bytes:
    """A picture of some 750 KB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    return picture_bytes(Image.fromarray(pixels), "PNG")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), RECOLLECT_WHISPER_MODEL="none") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as client:
        yield client


def begin_part(server: Server, path: str, offset: int, data: bytes, promised: int) -> socket.socket:
    """A PATCH that promises more bytes than it sends."""
    line = socket.create_connection(("127.0.0.1", server.port))
    head = [
        f"PATCH {path} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Tus-Resumable: 1.0.0",
        f"Content-Type: {PART}",
        f"Upload-Offset: {offset}",
        f"Content-Length: {promised}",
    ]
    line.sendall("\r\n".join([*head, "", ""]).encode() + data)
    return line


def wait_for(tus: Tus, path: str, offset: int) -> None:
    deadline = time.monotonic() + 10
    while tus.offset(path) != offset:
        assert time.monotonic() < deadline, f"{tus.offset(path)} instead of {offset}"
        time.sleep(0.01)


def test_broken_lines_and_kill_9_lose_no_byte_that_arrived(server: Server, client: httpx2.Client) -> None:
    data = noise(1)
    tus, total, photos = Tus(client), len(data), client.get("/photos").json()["total"]
    path = tus.create(total, filename="noise.png")
    quarter, half, most = (total * percent // 100 for percent in (25, 50, 99))
    # The line breaks.
    line = begin_part(server, path, 0, data[:quarter], promised=total)
    wait_for(tus, path, quarter)
    line.close()
    # The line falls silent, and the server is killed.
    line = begin_part(server, path, quarter, data[quarter:half], promised=total - quarter)
    wait_for(tus, path, half)
    server.stop(signal.SIGKILL)
    line.close()
    server.start()
    assert tus.offset(path) == half
    # The line falls silent, and the client comes back on another one: what the old one still brings is refused.
    line = begin_part(server, path, half, data[half:most], promised=total - half)
    wait_for(tus, path, most)
    assert tus.patch(path, most, data[most:]).headers["recollect-item"]
    line.sendall(b"late")
    assert line.recv(100).startswith(b"HTTP/1.1 409 ")
    line.close()
    assert check_whole(client, data, photos + 1)["filename"] == "noise.png"
    assert "unexpected" not in server.log()


@pytest.fixture(scope="session")
def tus_js_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, fetched by npm; the test is skipped where that cannot be done."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    folder = tmp_path_factory.mktemp("npm")
    command = f"{npm} install --no-audit --no-fund --ignore-scripts tus-js-client@4".split()
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm could not fetch tus-js-client: {error}")
    return folder / "node_modules" / "tus-js-client"


def run_client(server: Server, *arguments: object) -> list[list[Any]]:
    """The requests that it made: [method, Upload-Offset]."""
    command = ["node", str(CLIENT), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + server.log()
    requests: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return requests


@pytest.mark.stress
def test_tus_js_client_goes_on_after_it_and_the_server_have_died(
    server: Server, client: httpx2.Client, tus_js_client: Path, tmp_path: Path
) -> None:
    photos = client.get("/photos").json()["total"]
    data, picture, urls = noise(2), tmp_path / "noise.png", tmp_path / "urls.json"
    picture.write_bytes(data)
    arguments = (tus_js_client, f"{server.url}/files", picture, urls)
    half = len(data) // 2 // 65536 * 65536
    first = run_client(server, *arguments, half)
    assert first[:2] == [["POST", None], ["PATCH", "0"]]
    server.stop(signal.SIGKILL)
    server.start()
    second = run_client(server, *arguments)
    assert second[:2] == [["HEAD", None], ["PATCH", str(half)]]
    photo = check_whole(client, data, photos + 1)
    assert (photo["filename"], photo["tags"]) == ("from-node.png", ["phone"])
