"""A mixed load that goes on and on: what the server holds does not grow with what it has done."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import NamedTuple

import httpx2
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.conftest import PHOTOS, PIZZA, picture_bytes
from tests.server import Server, memory, running

CLIENTS = 3
WARM_UP_S = 120.0  # caches of texts, thumbnails and database pages fill, and the allocator finds its size
SAMPLE_S = 2.0
MB = 2**20


class Sample(NamedTuple):
    minutes: float
    memory_mb: float
    open_files: int
    threads: int
    wal_mb: float


def sample(server: Server, began: float) -> Sample:
    assert server.process is not None
    process, wal = psutil.Process(server.process.pid), server.folder / "recollect.db-wal"
    return Sample(
        (time.monotonic() - began) / 60,
        memory(process) / MB,
        process.num_fds(),
        process.num_threads(),
        wal.stat().st_size / MB if wal.exists() else 0.0,
    )


def new_pictures(seed: int) -> Iterator[bytes]:
    """No two are alike."""
    noise = np.random.default_rng(seed)
    return (picture_bytes(Image.fromarray(noise.integers(0, 255, (300, 400, 3), np.uint8))) for _ in count())


def use(server: Server, seed: int, until: float) -> int:
    """One client that searches in every way, adds photos and deletes them again; returns how often it did so."""
    pictures, photo = new_pictures(seed), (PHOTOS / PIZZA).read_bytes()
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        for rounds in count():
            if time.monotonic() > until:
                return rounds
            added = client.post("/upload", files={"file": (f"{seed}-{rounds}.jpg", next(pictures))})
            number = added.raise_for_status().json()["id"]
            for path in (
                f"/search?q=dogs+number+{rounds}+{seed}",
                "/photos?limit=50",
                f"/photo/{number}",
                "/stats",
            ):
                client.get(path).raise_for_status()
            client.get(f"/photo/{number}/thumbnail", params={"size": 320}).raise_for_status()
            client.post("/search/image", files={"file": photo}).raise_for_status()
            terms = json.dumps([{"text": "sea"}, {"photo_id": number}])
            client.post("/search/mixed", data={"terms": terms}).raise_for_status()
            client.delete(f"/photo/{number}").raise_for_status()
    raise AssertionError  # the rounds never end


def observed(server: Server, clients: int, seconds: float) -> list[Sample]:
    """What the server holds from time to time, while so many clients use it."""
    began, samples = time.monotonic(), list[Sample]()
    until = began + seconds
    with ThreadPoolExecutor(clients) as pool:
        using = [pool.submit(use, server, int(began) + seed, until) for seed in range(clients)]
        while time.monotonic() < until and not any(client.done() for client in using):
            time.sleep(SAMPLE_S)
            samples.append(sample(server, began))
        assert all(client.result() > 10 for client in using)
    return samples


@pytest.mark.parametrize(
    "minutes",
    [
        pytest.param(5, marks=[pytest.mark.stress, pytest.mark.alone]),
        pytest.param(30, marks=pytest.mark.soak),
    ],
)
@pytest.mark.timeout(2400)
def test_nothing_grows_with_use(uploaded: Path, minutes: int) -> None:
    with running(uploaded, RECOLLECT_LOG_LEVEL="warning", RECOLLECT_TEXT_CACHE_SIZE="100") as server:
        observed(server, 2 * CLIENTS, WARM_UP_S)  # the most is asked for first: larger batches than later
        samples = observed(server, CLIENTS, 60.0 * minutes)
    slope = np.polyfit([one.minutes for one in samples], [one.memory_mb for one in samples], 1)[0]
    assert slope <= 1, f"{slope:.2f} MB a minute: {[round(one.memory_mb) for one in samples]}"
    assert max(one.wal_mb for one in samples) <= 64
    first, last = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    assert max(one.open_files for one in last) <= max(one.open_files for one in first) + 5
    assert max(one.threads for one in last) <= max(one.threads for one in first) + 2
