"""Uploads that are cut short, and senders that never come to an end: nothing stays, and nobody else waits."""

import asyncio
import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.conftest import PHOTOS, PIZZA
from tests.server import Server, running

BOUNDARY = "cut"


def body(data: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="p.jpg"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def head(server: Server, length: int) -> bytes:
    return (
        f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()


def cut(server: Server, share: float) -> None:
    """An upload whose sender disappears in the middle."""
    whole = body((PHOTOS / PIZZA).read_bytes())
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head(server, len(whole)) + whole[: int(len(whole) * share)])


def left_behind(server: Server) -> list[Path]:
    return [path for path in (server.folder / "uploads").rglob("*") if path.is_file() and path.stat().st_size > 64]


def open_files(server: Server) -> int:
    assert server.process is not None
    return psutil.Process(server.process.pid).num_fds()


async def drip(server: Server, deadline: float) -> bytes:
    """Sends ten bytes a second until it is answered, or the deadline has passed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head(server, 100_000) + body(b"").partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    answer = b""
    while not answer and time.monotonic() < deadline:
        writer.write(b"x" * 10)
        with suppress(TimeoutError):
            answer = await asyncio.wait_for(reader.read(65536), 1)
    writer.close()
    return answer


async def drip_and_search(server: Server, senders: int, seconds: float) -> tuple[list[bytes], list[float]]:
    """What slow senders are answered, and ms of searches beside them."""
    deadline = time.monotonic() + seconds
    drips = [asyncio.create_task(drip(server, deadline)) for _ in range(senders)]
    times = []
    async with httpx2.AsyncClient(base_url=server.url) as client:
        while not all(task.done() for task in drips):
            begun = time.perf_counter()
            answer = await client.get("/search", params={"q": "a pizza"})
            assert answer.status_code == 200
            times.append(1000 * (time.perf_counter() - begun))
            await asyncio.sleep(0.1)
    return await asyncio.gather(*drips), times


@pytest.mark.parametrize("senders", [40, pytest.param(200, marks=pytest.mark.stress)])
def test_cut_uploads_and_slow_senders_leave_nothing(tmp_path: Path, senders: int) -> None:
    with running(tmp_path, RECOLLECT_WHISPER_MODEL="none", RECOLLECT_BODY_GRACE_S="3") as server:
        asyncio.run(drip_and_search(server, 1, 6))  # every pool of threads and connections is as large as it gets
        before, files = open_files(server), left_behind(server)
        for _ in range(senders // 8):
            for share in (0, 0.01, 0.5, 0.99):
                cut(server, share)
        answers, times = asyncio.run(drip_and_search(server, senders, 20))
        assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 408 Request Timeout"}
        assert sorted(times)[len(times) // 2] < 1000  # searches were answered all the while
        assert httpx2.get(f"{server.url}/photos").json()["total"] == 0
        assert left_behind(server) == files
        assert open_files(server) <= before + 5
