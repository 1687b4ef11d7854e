"""Models are used before the first request, and again while nobody asks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from app.dependencies import Models, assemble
from app.errors import EncoderFailed
from app.flows.services import Services
from app.services.interfaces import ImageTextEncoder, Vectors
from app.settings import Settings
from tests.conftest import Running
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
    assert counted.asked == ["warm-up", "a dog"]


def test_what_is_searched_to_stay_warm_is_counted_nowhere(
    start: Start, build: Callable[[Settings], Services], counted: Counted
) -> None:
    app = start(build, keep_warm_s=0.02)
    app.upload_all()
    counted.asked.clear()
    assert eventually(lambda: len(counted.asked) > 3)
    assert app.client.get("/stats").json()["queries"]["total"] == 0
    assert 'recollect_step_seconds_count{step="rank"}' not in app.client.get("/metrics").text
    app.search("a dog")
    assert app.client.get("/stats").json()["queries"]["total"] == 1
    assert 'recollect_step_seconds_count{step="rank"} 1.0' in app.client.get("/metrics").text
