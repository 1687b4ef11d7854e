"""Starting and stopping as a service: liveness, a stop under load, and the unit for systemd."""

import configparser
import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from app import doctor
from app.doctor import State
from app.server import STOP_S
from app.settings import Settings
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running
from tests.server import Server, running
from tests.test_live_index import eventually

UNIT = Path(__file__).parent.parent / "deploy" / "recollect.service"
QUEUED = 60


def test_alive_whatever_the_workers_do(app: Running) -> None:
    app.client.app.state.ready = False  # type: ignore[attr-defined]
    assert app.client.get("/health/ready").status_code == 503
    answer = app.client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def pictures(count: int) -> list[tuple[str, tuple[str, bytes]]]:
    """Different small pictures, as parts of a form."""
    noise = np.random.default_rng(7)
    found = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
        found.append(("files", (f"{number}.png", buffer.getvalue())))
    return found


def upload_in_two_halves(server: Server, name: str, halfway: threading.Barrier) -> dict[str, Any]:
    """Sends the second half of a photo after everybody, and the signal, has come halfway."""
    request = httpx2.Request("POST", f"{server.url}/upload", files={"file": (name, (PHOTOS / name).read_bytes())})
    body = request.read()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.putrequest("POST", "/upload")
        for header in ("content-type", "content-length"):
            connection.putheader(header, request.headers[header])
        connection.endheaders(body[: len(body) // 2])
        halfway.wait(30)  # all have sent their half
        halfway.wait(30)  # the signal has been sent
        time.sleep(1)
        connection.send(body[len(body) // 2 :])
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        photo: dict[str, Any] = json.load(answer)
    return photo


def events(server: Server, url: str) -> list[str]:
    """What a follower of an import is told until the stream ends."""
    with httpx2.stream("GET", f"{server.url}{url}/events", timeout=60) as stream:
        return [line for line in stream.iter_lines() if line.startswith("event:")]


@pytest.mark.stress
def test_a_stop_under_load_loses_nothing_and_is_done_in_time(tmp_path: Path) -> None:
    names, halfway = (DOG, BUSES, PIZZA), threading.Barrier(4)
    with running(tmp_path) as server, ThreadPoolExecutor(4) as pool:
        uploads = [pool.submit(upload_in_two_halves, server, name, halfway) for name in names]
        halfway.wait(30)
        queued = httpx2.post(f"{server.url}/imports", files=pictures(QUEUED), timeout=60).json()
        followed = pool.submit(events, server, queued["url"])
        time.sleep(0.5)  # for the requests to arrive, and the first items to be worked on
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGTERM)
        stopped = time.monotonic()
        halfway.wait(30)
        photos = [upload.result() for upload in uploads]
        server.process.wait(30)
        assert time.monotonic() - stopped < 30
        assert "event: done" not in followed.result()  # else nothing was left for the second start
        assert "left behind" not in server.log()
        server.start()
        for photo, name in zip(photos, names, strict=True):
            assert httpx2.get(f"{server.url}{photo['url']}").content == (PHOTOS / name).read_bytes()
        finished = f"{server.url}{queued['url']}"
        assert eventually(lambda: httpx2.get(finished).json()["finished"], 60)
        assert httpx2.get(finished).json()["ready"] == QUEUED
        assert httpx2.get(f"{server.url}/health").json()["image_count"] == QUEUED + len(names)
        assert doctor.examine_server(Settings(port=server.port)).state is State.OK


HANGING = """
import sys, threading
from app import server
from app.settings import Settings
server.STOP_S = 1.0

async def app(scope, receive, send):  # an app whose shutdown never ends
    if scope["type"] == "lifespan":
        await receive()
        print("started", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("stopping", flush=True)
        threading.Event().wait()

class State:
    ready = True
app.state = State()
server.serve(app, Settings(port=0))
"""


def test_what_does_not_stop_is_stopped_by_force() -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, b"stopping\n"), errors
    assert STOP_S < 30


def test_the_unit_for_systemd(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as the documentation of configparser says
    unit.read(UNIT)
    service = unit["Service"]
    assert service["ExecStart"].endswith("/recollect serve")
    assert service["User"] != "root"
    assert service["Restart"] == "on-failure"
    assert STOP_S < float(service["TimeoutStopSec"]) <= 30
    assert {"ProtectSystem", "NoNewPrivileges", "CapabilityBoundingSet", "SystemCallFilter"} <= service.keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name  # with a program that exists
    here.write_text(UNIT.read_text().replace("/opt/recollect/.venv/bin/recollect", sys.executable))
    for check in (["verify"], ["security", "--offline=true", "--threshold=25"]):
        done = subprocess.run(["systemd-analyze", *check, here], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
