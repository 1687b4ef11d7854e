"""Vectors of texts in Redis: a real server, which is killed, frozen, and filled with rubbish."""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from app.services.batching import BatchedEncoder
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.inference_thread import InferenceThreads
from app.services.interfaces import ImageTextEncoder, Vectors
from tests.conftest import DOG, Running
from tests.server import free_port

pytest.importorskip("redis")
if shutil.which("redis-server") is None:
    pytest.skip("needs redis-server (apt-get install redis-server)", allow_module_level=True)

from redis import ConnectionError as RedisConnectionError
from redis import Redis

from app.services import shared_vectors
from app.services.shared_vectors import TIMEOUT_S, SharedVectors


class RedisServer:
    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self._port), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url) as client:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except RedisConnectionError:
                    time.sleep(0.02)
                else:
                    return
        raise AssertionError("redis-server did not start")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
        if number is signal.SIGKILL:
            self._process.wait(30)

    def stored(self) -> list[bytes]:
        with Redis.from_url(self.url) as client:
            return cast(list[bytes], client.keys("*"))


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    monkeypatch.setattr(shared_vectors, "PAUSE_S", 0.3)
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.signal(signal.SIGKILL)


class Counting:
    """The real encoder, and what it was asked for."""

    def __init__(self, encoder: EmbeddedEncoder) -> None:
        self.space, self.dim, self.device = encoder.space, encoder.dim, encoder.device
        self.image_size, self.logit_scale = encoder.image_size, encoder.logit_scale
        self.fitted, self.encode_images = encoder.fitted, encoder.encode_images
        self._encoder = encoder
        self.texts: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return self._encoder.encode_texts(texts)


Make = Callable[[], tuple[BatchedEncoder, Counting]]


@pytest.fixture
def process(redis: RedisServer, encoder: EmbeddedEncoder) -> Iterator[Make]:
    """As many as are asked for, each as if in a process of its own."""
    threads, made = InferenceThreads.on(1), list[BatchedEncoder]()

    def make() -> tuple[BatchedEncoder, Counting]:
        counting = Counting(encoder)
        batched = BatchedEncoder(
            cast(ImageTextEncoder, counting), threads, max_batch=16, max_queue=64, timeout_s=30, text_cache_size=8
        )
        batched.shared = SharedVectors(redis.url, encoder.space, encoder.dim)
        made.append(batched)
        return made[-1], counting

    yield make
    for batched in made:
        batched.close()
    threads.close()


def test_what_one_process_has_encoded_another_need_not(
    process: Make, redis: RedisServer, encoder: EmbeddedEncoder
) -> None:
    (first, _), (second, counting) = process(), process()
    texts = ["a dog", "zwei Busse 🚌", "a dog"]
    expected = first.encode_texts(texts)
    assert second.encode_texts([*texts, "a cat"])[:3].tobytes() == expected.tobytes()
    assert counting.texts == ["a cat"]
    assert not any(b"dog" in key for key in redis.stored())
    with Redis.from_url(redis.url) as client:
        assert 0 < cast(int, client.ttl(redis.stored()[0])) <= shared_vectors.EXPIRY_S
    elsewhere = SharedVectors(redis.url, "other/model", encoder.dim)
    assert elsewhere.get(["a dog"]) == {}
    elsewhere.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_without_redis_searches_go_on(
    process: Make, redis: RedisServer, how: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    batched, counting = process()
    batched.encode_texts(["a dog"])
    redis.signal(how)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING, "app.services.shared_vectors"):
        for number in range(20):
            assert batched.encode_texts([f"{number} dogs"]).shape == (1, batched.dim)
    assert time.monotonic() - begun < 20 * TIMEOUT_S  # most of them did not even try
    assert 1 <= len(caplog.messages) < 10
    if how is signal.SIGKILL:
        redis.start()
    else:
        redis.signal(signal.SIGCONT)
    time.sleep(shared_vectors.PAUSE_S + 0.1)
    batched.encode_texts(["back again"])
    other, other_counting = process()
    other.encode_texts(["back again"])
    assert other_counting.texts == []
    assert "back again" in counting.texts


def test_rubbish_is_passed_over(process: Make, redis: RedisServer, encoder: EmbeddedEncoder) -> None:
    batched, _ = process()
    expected = batched.encode_texts(["a dog"])
    rubbish = [b"", b"short", np.full(encoder.dim, np.nan, np.float32).tobytes(), bytes(4 * encoder.dim)]
    for value in rubbish:
        with Redis.from_url(redis.url) as client:
            client.set(redis.stored()[0], value)
        other, counting = process()
        assert other.encode_texts(["a dog"]).tobytes() == expected.tobytes()
        assert counting.texts == ["a dog"]


def test_a_search_fills_it(redis: RedisServer, start: Callable[..., Running]) -> None:
    app = start(redis_url=redis.url)
    app.upload(DOG)
    before = len(redis.stored())
    app.search("a dog on a sofa")
    assert len(redis.stored()) == before + 1
