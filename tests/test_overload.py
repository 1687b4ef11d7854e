"""More searches than can be answered: those that are let in are answered soon, the others are told so at once."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.admission import AT_WORK
from app.dependencies import Models, assemble
from app.services.interfaces import ImageTextEncoder, Vectors
from tests.conftest import DATA, PHOTOS, Running
from tests.load import Answer, Load, percentile
from tests.server import Server, memory, running
from tests.test_audio import wav

WORDS = [
    "red",
    "old",
    "small",
    "wooden",
    "wet",
    "bus",
    "dog",
    "boat",
    "street",
    "garden",
    "table",
    "child",
    "night",
]


@dataclass
class Held:
    """The real encoder, which goes on only when it may: so that searches can be counted while they are at work."""

    encoder: ImageTextEncoder
    may_go_on: threading.Event

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        assert self.may_go_on.wait(60)
        return self.encoder.encode_texts(texts)


def test_who_comes_beyond_is_refused_at_once(start: Callable[..., Running], models: Models) -> None:
    may_go_on = threading.Event()
    may_go_on.set()
    held = replace(models, encoder=Held(models.encoder, may_go_on))
    app = start(partial(assemble, models=held), search_queue_size=4)
    may_go_on.clear()
    inside, beyond = AT_WORK + 4, 12

    def search(number: int) -> httpx2.Response:
        return app.client.get("/search", params={"q": f"words, number {number}"})

    with ThreadPoolExecutor(inside + beyond) as pool:
        answers = as_completed([pool.submit(search, number) for number in range(inside + beyond)], timeout=60)
        refused = list(islice(answers, beyond))
        posted = app.client.post("/search", json={"query": "a dog"})
        picture = app.client.post("/search/image", files={"file": next(PHOTOS.glob("*.jpg")).read_bytes()})
        assert app.client.get("/health").status_code == 200
        assert (
            app.client.post("/search/voice", files={"file": wav(16_000)}).status_code == 422
        )  # heard: nothing said
        may_go_on.set()
        answered = list(answers)
    for answer in [*(future.result() for future in refused), posted, picture]:
        assert (answer.status_code, answer.json()["type"]) == (503, "overloaded"), answer.text
        assert answer.headers["Retry-After"] == "1"
    assert [future.result().status_code for future in answered] == [200] * inside
    assert search(-1).status_code == 200


def queries(seed: int) -> Iterator[str]:
    """Never the same twice, so that no cache helps."""
    chosen = random.Random(seed)
    return (f"/search?q={'+'.join(chosen.sample(WORDS, 4))}+{number}" for number in count())


@pytest.fixture(scope="module")
def server(uploaded: Path) -> Iterator[Server]:
    with running(uploaded, RECOLLECT_LOG_LEVEL="warning") as server:
        yield server


@dataclass
class Course:
    """What was answered before, in and after the flood, and in it to another who asks for /health."""

    idle: list[Answer]
    per_s: float  # what 8 clients get answered
    flood: list[Answer]
    healths: list[Answer]
    after: list[Answer]
    growth: float  # of the memory, in the flood: 0.1 is a tenth


async def flooded(server: Server, seconds: float) -> Course:
    assert server.process is not None
    load, words, health = Load(server.port), queries(1), (f"/health?{number}" for number in count())
    idle = await load.by_clients(words, 1, 5)
    per_s, before = len(await load.by_clients(words, 8, 5)) / 5, memory(server.process)
    flood, healths = await asyncio.gather(
        load.at_rate(words, 4 * per_s, seconds), load.at_rate(health, 5, seconds)
    )
    await asyncio.sleep(10)
    after = await load.by_clients(words, 1, 5)
    load.close()
    return Course(idle, per_s, flood, healths, after, memory(server.process) / before - 1)


@pytest.mark.stress
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_four_times_what_can_be_answered(server: Server) -> None:
    course = asyncio.run(flooded(server, seconds=60))
    answered = [answer for answer in course.flood if answer.status == 200]
    refused = [answer for answer in course.flood if answer.status == 503]
    told = (
        f"{Counter(answer.status for answer in course.flood)} "
        f"{course.per_s:.0f}/s; {len(answered)} answered, p95 {percentile(answered, 0.95):.2f} s; {len(refused)} "
        f"refused, p95 {percentile(refused, 0.95):.3f} s; health p99 {percentile(course.healths, 0.99):.3f} s; "
        f"idle {percentile(course.idle, 0.5):.4f} s, after {percentile(course.after, 0.5):.4f} s"
    )
    assert [answer.headers for answer in course.flood if answer.status not in (200, 503)] == [], told
    assert percentile(answered, 0.95) < 4, told
    assert percentile(refused, 0.5) < 0.1, told
    assert percentile(course.healths, 0.9) < 1, told
    assert percentile(course.after, 0.5) < 1.5 * percentile(course.idle, 0.5) + 0.01, told
    assert all(b"retry-after: 1\r\n" in answer.headers for answer in refused)
    assert {answer.status for answer in course.healths} == {200}
    assert course.growth < 0.1


@pytest.mark.stress
@pytest.mark.alone
def test_fifty_voice_queries_at_once(server: Server) -> None:
    spoken = (DATA / "speech" / "cards_001.wav").read_bytes()

    def ask(_: int) -> httpx2.Response:
        return httpx2.post(f"{server.url}/search/voice", files={"file": ("spoken.wav", spoken)}, timeout=120)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 503)
    assert len({answer.json()["transcription"] for answer in answers if answer.status_code == 200}) == 1
