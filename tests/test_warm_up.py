"""Models are used before the first request, and again while nobody asks."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import SecretStr
from sqlmodel import select
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from app.dependencies import Models, assemble
from app.errors import EncoderFailed
from app.flows import search
from app.flows.search import Answer, Scope
from app.flows.services import Services
from app.flows.warm_up import words_to_rehearse
from app.rehearsal import Rehearsal
from app.search_schemas import SearchOptions
from app.services.interfaces import ImageTextEncoder, Vectors
from app.settings import Settings
from app.tables import FrozenRanking, SearchQuery
from tests.conftest import PHOTOS, Running
from tests.test_live_index import eventually

Start = Callable[..., Running]


class Counted:
    """The encoder itself, with a list of what texts it was asked for; it fails while `broken`."""

    def __init__(self, encoder: ImageTextEncoder) -> None:
        self.encoder = encoder
        self.asked: list[str] = []
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.asked.extend(texts)
        if self.broken:
            raise EncoderFailed("broken for a while")
        return self.encoder.encode_texts(texts)


@pytest.fixture
def counted(models: Models) -> Counted:
    return Counted(models.encoder)


@pytest.fixture
def build(models: Models, counted: Counted) -> Callable[[Settings], Services]:
    return lambda settings: assemble(settings, replace(models, encoder=cast(ImageTextEncoder, counted)))


def test_models_are_used_again_and_again_also_after_a_failure(
    start: Start, build: Callable[[Settings], Services], counted: Counted
) -> None:
    app = start(build, keep_warm_s=0.02)
    assert eventually(lambda: len(counted.asked) > 3)
    counted.broken = True
    counted.asked.clear()
    assert eventually(lambda: len(counted.asked) > 3)
    counted.broken = False
    assert app.client.get("/search", params={"q": "a dog"}).status_code == 200


def test_with_no_interval_they_are_used_once(
    start: Start, build: Callable[[Settings], Services], counted: Counted
) -> None:
    app = start(build, keep_warm_s=0)
    app.client.get("/search", params={"q": "a dog"})
    assert counted.asked == ["warm-up"] * 3 + ["a dog"]  # the models, and a search, without and with its request


def test_what_is_searched_to_stay_warm_is_counted_nowhere(
    start: Start, build: Callable[[Settings], Services], counted: Counted
) -> None:
    app = start(build, keep_warm_s=0.02)
    app.upload_all()
    counted.asked.clear()
    assert eventually(lambda: len(counted.asked) > 3)
    assert app.client.get("/search/rehearsal", params={"q": "warm-up"}).json()["query_id"] is None
    assert app.client.get("/stats").json()["queries"]["total"] == 0
    assert 'recollect_step_seconds_count{step="rank"}' not in app.client.get("/metrics").text
    app.search("a dog")
    assert app.client.get("/stats").json()["queries"]["total"] == 1
    assert 'recollect_step_seconds_count{step="rank"} 1.0' in app.client.get("/metrics").text


@pytest.mark.parametrize("max_results", [5, 1000])
def test_a_whole_request_is_rehearsed_and_not_counted(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, max_results: int
) -> None:
    rehearse, answers = search.rehearse, []

    def watched(*arguments: Any) -> Answer:  # and really rehearsed
        answers.append(rehearse(*arguments))
        return answers[-1]

    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(search, "rehearse", watched)  # what the route calls
    app = start(keep_warm_s=0.02, max_results=max_results)
    assert len(answers) >= 1, "once before anybody is served"
    app.upload_all()
    assert eventually(lambda: len(answers[-1].results) == min(16, max_results))
    assert "/search/rehearsal" not in app.client.get("/metrics").text
    assert "rehears" not in caplog.text


def test_words_that_are_rehearsed_are_of_photos_and_of_questions(
    start: Start, build: Callable[[Settings], Services], counted: Counted
) -> None:
    """A rehearsal in the same words each time keeps little of the database warm."""
    app = start(build, keep_warm_s=0.02, max_query_chars=30)
    assert words_to_rehearse(app.services) == "warm-up", "without either"
    pictures = sorted(path.name for path in PHOTOS.glob("*.jpg"))
    app.upload(pictures[0], caption="  a red bus in front of the old town hall")
    app.upload(pictures[1], title="our cat")
    app.search("two dogs")
    app.client.post("/search/image-to-image", params={"reference_photo_id": 1})
    expected = {"a red bus in front of the old", "our cat", "two dogs"}
    assert {words_to_rehearse(app.services) for _ in range(100)} == expected
    counted.asked.clear()
    assert eventually(lambda: len(expected & set(counted.asked)) > 1)
    assert words_to_rehearse(app.services.of("somebody else")) == "warm-up"


def test_nothing_of_a_rehearsal_stays(
    start: Start, build: Callable[[Settings], Services], counted: Counted
) -> None:
    app = start(build, keep_warm_s=0)
    app.upload_all()
    answer = search.rehearse(app.services, "a dog", Scope(3, options=SearchOptions(paged=True)))
    assert len(answer.results) == 3
    with app.services.database.read() as session:
        assert not session.exec(select(SearchQuery)).all()
        assert not session.exec(select(FrozenRanking)).all()
    counted.asked.clear()
    search.rehearse(app.services, "a dog", Scope(3))
    app.search("a dog")
    assert counted.asked == ["a dog"] * 2, "a cache has learned of it, or has answered it"
    app.search("a dog")
    assert counted.asked == ["a dog"] * 2


def test_a_rehearsal_needs_no_key_but_whoever_else_asks_does(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    app = start(admin_key=SecretStr("a key of the administrator"), keep_warm_s=0.02)
    del app.client.headers["X-API-Key"]
    assert app.client.get("/search/rehearsal", params={"q": "warm-up"}).status_code == 401
    assert "rehearsed was answered" not in caplog.text


@pytest.mark.parametrize(
    ("status", "logged"), [(200, ""), (503, ""), (401, "was answered 401"), (0, "could not be")]
)
def test_a_rehearsal_that_fails_is_logged(status: int, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)  # a command that ran before may have left another

    async def app(scope: ASGIScope, receive: Receive, send: Send) -> None:  # the real one answers as it likes
        if not status:
            raise ConnectionError
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def twice_and_once_more_when_closed() -> None:
        rehearsal = Rehearsal(app, Settings())
        await rehearsal.once("default", "a dog")
        rehearsal.soon("default", "a dog")
        await asyncio.sleep(0)
        await rehearsal.close()
        await rehearsal.once("default", "a dog")

    asyncio.run(twice_and_once_more_when_closed())
    assert len(caplog.records) <= 2
    assert logged in caplog.text if logged else not caplog.records
