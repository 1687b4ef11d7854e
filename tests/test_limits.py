"""Requests that are too large, malformed or aimed at the disk, over a real socket: refused, and nothing stays."""

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from app.connection import HEAD_S
from tests.conftest import DOG, PHOTOS
from tests.server import Server, memory, running

MB = 2**20
SOON_S = 5.0  # a second on a quiet machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limits")
    with running(folder, RECOLLECT_WHISPER_MODEL="none", RECOLLECT_MAX_UPLOAD_BYTES=str(4 * MB)) as server:
        files = {"file": (DOG, (PHOTOS / DOG).read_bytes())}
        httpx2.post(f"{server.url}/upload", files=files, timeout=60).raise_for_status()
        yield server


def ask(server: Server, head: str, body: bytes = b"", path: str = "POST /upload") -> int:
    """The status of a request as it is written; 0 if the line is closed without an answer."""
    request = f"{path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{head}\r\n\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON_S) as line:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused while it was still being sent
            line.sendall(request)
        try:
            answer = line.recv(4096)
        except ConnectionResetError:
            return 0
    return int(answer.split()[1]) if answer else 0


def form(parts: int, boundary: str = "b") -> tuple[str, bytes]:
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\nx\r\n'
    body = (part * parts + f"--{boundary}--\r\n").encode()
    return f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(body)}", body


def chunked(size: int) -> tuple[str, bytes]:
    head = "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked"
    body = form(1)[1].removesuffix(b"x\r\n--b--\r\n") + b"x" * size
    return head, f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


REQUESTS: dict[str, tuple[tuple[str, bytes], set[int]]] = {
    "declared": (("Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99999999", b""), {413}),
    "chunked": (chunked(6 * MB), {413}),
    "ten thousand parts": (form(10_000), {400}),
    "a header of a megabyte": (("X-Long: " + "x" * MB, b""), {0, 400}),
    "no boundary": (("Content-Type: multipart/form-data\r\nContent-Length: 1", b"x"), {400}),
    "a long boundary": (form(1, "b" * 300), {400, 422}),
    "a negative length": (("Content-Length: -1", b""), {400}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_too_large_or_malformed_is_refused_at_once(server: Server, name: str) -> None:
    assert server.process is not None
    before, temporary = memory(server.process), set(Path(tempfile.gettempdir()).iterdir())
    (head, body), expected = REQUESTS[name]
    started = time.monotonic()
    assert ask(server, head, body) in expected
    assert time.monotonic() - started < SOON_S
    assert memory(server.process) - before < 50 * MB
    grown = [path for path in set(Path(tempfile.gettempdir()).iterdir()) - temporary if path.is_file()]
    assert sum(path.stat().st_size for path in grown) < 6 * MB
    assert httpx2.get(f"{server.url}/health").json()["image_count"] == 1


@pytest.mark.stress
def test_who_sends_no_head_is_cut_off_and_who_sends_two_is_answered_twice(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=2 * HEAD_S) as silent:
        with httpx2.Client(base_url=server.url) as client:
            assert [client.get("/health/live").status_code for _ in range(3)] == [200] * 3
        silent.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        started = time.monotonic()
        assert silent.recv(100) == b""
        assert time.monotonic() - started < HEAD_S + SOON_S


@pytest.mark.parametrize(
    "path",
    [
        "/images/../recollect.db",
        "/images/..%2f..%2frecollect.db",
        "/images/%2e%2e/%2e%2e/etc/passwd",
        "/images//etc/passwd",
        "/web/../tables.py",
        "/web/%2e%2e/tables.py",
        "/web/..%5c..%5ctables.py",
        "/web//etc/passwd",
        "/docs-assets/../../../etc/passwd",
        "/photo/1/file/../../../etc/passwd",
        "/web/",
        "/images/",
    ],
)
def test_no_path_from_outside_reaches_the_disk(server: Server, path: str) -> None:
    assert ask(server, "Connection: close", path=f"GET {path}") == 404


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=0-9", 206),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(5_000)), None),
        ("bytes=" + ",".join(["0-"] * 500), None),
        ("bytes=99999999-", 416),
        ("bytes=9-0", 400),
        ("lines=1-2", 400),
    ],
)
def test_ranges_are_right_or_refused_and_never_multiply_the_file(
    server: Server, asked: str, status: int | None
) -> None:
    original = (PHOTOS / DOG).read_bytes()
    started = time.monotonic()
    answer = httpx2.get(f"{server.url}/photo/1/file", headers={"Range": asked})
    assert time.monotonic() - started < SOON_S
    assert answer.status_code == (status or answer.status_code) < 500
    assert len(answer.content) <= 2 * len(original)
    if status == 206:
        assert answer.content == original[:10]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
