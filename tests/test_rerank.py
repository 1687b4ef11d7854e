"""Reranking with BLIP's own classes of transformers.

The weights are random, in a small configuration of our own: they serve to compare numbers, never to judge.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    BlipProcessor,
)

from app.dependencies import Models, assemble, load_matcher
from app.errors import EncoderFailed
from app.flows.rerank import Result, reranked
from app.services.blip_reranker import WEIGHTS, BlipMatcher, weights_folder
from app.services.inference_thread import InferenceThreads
from app.services.interfaces import ImageTextMatcher, Scores
from app.services.timed_reranker import BATCH, TimedReranker
from app.services.weight_files import WeightsRefused, file_sha256
from app.settings import Settings
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, SKIER, Running

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "pizza", "in", "the", "snow", "plate", "##s"]
TEXT = "a dog in the snow"
NAMES = (BUSES, DOG, PIZZA, SKIER, "coco_000000000285.jpg", "coco_000000006012.jpg")
ENDLESS_S = 600

StartWith = Callable[..., Running]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small BLIP, the same in every run, saved as a user would have them."""
    made = tmp_path_factory.mktemp("blip")
    (made / "vocab.txt").write_text("\n".join(WORDS))
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BlipConfig(
        vision_config=small | {"image_size": 48, "patch_size": 16, "initializer_range": 0.3},
        text_config=small
        | {"vocab_size": len(WORDS), "encoder_hidden_size": 32, "max_position_embeddings": 24}
        | {"bos_token_id": 2, "sep_token_id": 3, "initializer_range": 0.3},
        image_text_hidden_size=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(22)
        model = BlipForImageTextRetrieval(config)
    model.save_pretrained(made)
    images = BlipImageProcessor(size={"height": 48, "width": 48})
    BlipProcessor(images, BertTokenizer(str(made / "vocab.txt"))).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def matcher(folder: Path) -> BlipMatcher:
    return BlipMatcher(weights_folder(str(folder)), name=str(folder), device="cpu")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    opened = []
    for name in NAMES:
        with Image.open(PHOTOS / name) as file:
            opened.append(file.convert("RGB"))
    return opened


def test_probabilities_are_those_of_transformers(
    folder: Path, matcher: BlipMatcher, pictures: list[Image.Image]
) -> None:
    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    processor = BlipProcessor.from_pretrained(folder)
    with torch.inference_mode():
        direct = [
            model(**processor(images=picture, text=TEXT, return_tensors="pt")).itm_score.softmax(-1)[0, 1].item()
            for picture in pictures
        ]
    assert max(direct) - min(direct) > 0.01
    assert matcher.probabilities(TEXT, pictures) == pytest.approx(direct, abs=1e-5)


def test_a_long_text_is_cut_and_other_words_score_otherwise(
    matcher: BlipMatcher, pictures: list[Image.Image]
) -> None:
    longest = matcher.probabilities("dog " * 22, pictures)
    assert matcher.probabilities("dog " * 900, pictures) == pytest.approx(longest, abs=1e-5)
    assert not np.allclose(matcher.probabilities("pizza", pictures), longest, atol=1e-3)


def test_weights_that_are_not_whole_or_not_the_expected_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    whole = file_sha256(folder / WEIGHTS)
    assert weights_folder(str(folder), whole) == folder
    with pytest.raises(WeightsRefused, match="SHA-256"):
        weights_folder(str(folder), "0" * 64)
    with pytest.raises(WeightsRefused, match=WEIGHTS):
        weights_folder(str(tmp_path))
    model = BlipForImageTextRetrieval.from_pretrained(folder)
    state = {name: tensor for name, tensor in model.state_dict().items() if "itm_head" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    BlipProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(WeightsRefused, match="2 tensors are missing"):
        BlipMatcher(tmp_path, name="cut", device="cpu")


class Recorded:
    """A matcher that can be slow; transformers' own would not be so reliably."""

    name = "recorded"

    def __init__(self, seconds_each: float = 0) -> None:
        self.seconds_each = seconds_each
        self.error: Exception | None = None
        self.batches: list[int] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def probabilities(self, _text: str, images: Sequence[Image.Image]) -> Scores:
        if self.error:
            raise self.error
        self.batches.append(len(images))
        self.meanwhile()
        time.sleep(self.seconds_each * len(images))
        return np.array([image.width / 1000 for image in images], np.float32)


@pytest.fixture
def threads() -> Iterator[InferenceThreads]:
    made = InferenceThreads.on(1)
    yield made
    made.close()


def widths(*values: int) -> list[Image.Image]:
    return [Image.new("RGB", (value, 8)) for value in values]


def test_batches_change_nothing(
    matcher: BlipMatcher, pictures: list[Image.Image], threads: InferenceThreads
) -> None:
    assert len(pictures) > BATCH
    found = TimedReranker(matcher, threads).match(TEXT, pictures, time.monotonic() + ENDLESS_S)
    assert found == pytest.approx(matcher.probabilities(TEXT, pictures), abs=1e-5)


def test_it_is_in_time_or_gives_nothing(threads: InferenceThreads) -> None:
    slow = Recorded(seconds_each=0.05)
    timed, images = TimedReranker(slow, threads), widths(*range(1, 13))
    began = time.monotonic()
    assert timed.match("dog", images, began + 0.3) is None
    assert time.monotonic() - began < 0.5
    assert slow.batches == [BATCH]  # the first told that there was no time for the others
    assert timed.match("dog", images, time.monotonic() + 0.3) is None
    assert slow.batches == [BATCH]  # and from then on none is tried in vain
    found = timed.match("dog", images, time.monotonic() + ENDLESS_S)
    assert found == pytest.approx([image.width / 1000 for image in images])


def test_one_slow_batch_does_not_switch_it_off_for_good(threads: InferenceThreads) -> None:
    matcher = Recorded(seconds_each=0.1)
    timed, images = TimedReranker(matcher, threads), widths(1, 2, 3, 4, 5)
    assert timed.match("dog", images, time.monotonic() + 0.3) is None
    matcher.seconds_each = 0
    tries = [timed.match("dog", images, time.monotonic() + 0.3) is not None for _ in range(10)]
    assert tries[0] is False
    assert tries[-1] is True


def test_a_search_does_not_wait_behind_other_heavy_work_nor_others_behind_all_of_it(
    threads: InferenceThreads,
) -> None:
    """The heavy thread is busy past the deadline: the answer comes at the deadline, and nothing is done late."""
    busy, matcher = Event(), Recorded()
    other = Thread(target=threads.heavy.run, args=(lambda event: event.wait(10), busy))
    other.start()
    began = time.monotonic()
    assert TimedReranker(matcher, threads).match("dog", widths(1), began + 0.2) is None
    assert time.monotonic() - began < 0.5
    assert threads.short.run(str, 1) == "1"
    busy.set()
    other.join()
    threads.heavy.run(str, 1)
    assert matcher.batches == []


@pytest.fixture
def start_with(start: Callable[..., Running], models: Models) -> Callable[..., Running]:
    """start_with(matcher, rerank_top=…) runs an app that reranks with it."""

    def start_app(matcher: ImageTextMatcher, **changes: Any) -> Running:
        return start(partial(assemble, models=replace(models, matcher=matcher)), **changes)

    return start_app


def results_of(app: Running, names: Sequence[str], scores: Sequence[float]) -> list[Result]:
    """Uploaded, and as a search has them."""
    photos = [app.upload(name) for name in names]
    return [(photo["id"], photo["sha256"], score) for photo, score in zip(photos, scores, strict=True)]


def test_the_first_results_are_judged_anew_and_the_others_stay_behind(
    start_with: StartWith, matcher: BlipMatcher
) -> None:
    app = start_with(matcher, rerank_top=3, rerank_budget_ms=60_000)
    results = results_of(app, NAMES[:5], [0.9, 0.8, 0.7, 0.6, 0.5])
    looked_at = []
    for _, sha256, _ in results[:3]:
        with Image.open(app.services.thumbnails.path(str(sha256), 640)) as file:
            looked_at.append(file.convert("RGB"))
    found = reranked(app.services, TEXT, results)
    assert found is not None
    expected = 0.7 * matcher.probabilities(TEXT, looked_at) + 0.3 * np.array([0.9, 0.8, 0.7])
    assert found == pytest.approx([*expected, 0.18, 0.15], abs=1e-5)
    assert min(found[:3]) > found[3] > found[4]


def test_a_search_shows_the_new_order(start_with: StartWith, matcher: BlipMatcher, start: StartWith) -> None:
    app = start_with(matcher, rerank_top=3, rerank_budget_ms=60_000)
    for name in NAMES[:5]:
        app.upload(name)
    plain = start().search(TEXT, k=5)
    hits = app.search(TEXT, k=5)
    assert {hit["photo_id"] for hit in hits[:3]} == {hit["photo_id"] for hit in plain[:3]}
    assert [hit["photo_id"] for hit in hits[3:]] == [hit["photo_id"] for hit in plain[3:]]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    similarity = {hit["photo_id"]: hit["similarity"] for hit in plain}
    for hit in hits[:3]:
        match = (hit["score"] - 0.3 * similarity[hit["photo_id"]]) / 0.7
        assert 0 <= match <= 1
        assert hit["similarity"] == pytest.approx(similarity[hit["photo_id"]])


def test_what_has_no_picture_keeps_its_score(start_with: StartWith) -> None:
    app = start_with(Recorded())
    (dog,) = results_of(app, [DOG], [0.4])
    found = reranked(app.services, TEXT, [(77, None, 0.8), (78, "0" * 64, 0.5), dog])
    with Image.open(PHOTOS / DOG) as file:
        assert found == pytest.approx([0.8, 0.5, 0.7 * file.width / 1000 + 0.3 * 0.4])


def test_without_time_the_order_stays(start_with: StartWith) -> None:
    matcher = Recorded()
    app = start_with(matcher, rerank_budget_ms=0)
    warmed = len(matcher.batches)
    assert reranked(app.services, TEXT, results_of(app, [DOG, PIZZA], [0.4, 0.3])) is None
    assert len(matcher.batches) == warmed


def test_a_model_that_fails_costs_nothing_but_the_new_order(start_with: StartWith) -> None:
    matcher = Recorded()
    app = start_with(matcher)
    matcher.error = EncoderFailed("out of memory")
    assert reranked(app.services, TEXT, results_of(app, [DOG], [0.4])) is None


def free_turns(app: Running) -> int:
    """How many more searches could be in work now."""
    turns, free = app.services.search_turns, 0
    while turns.acquire(blocking=False):
        free += 1
    turns.release(free)
    return free


def test_others_rank_while_a_search_waits_for_the_reranker(start_with: StartWith) -> None:
    matcher, free = Recorded(), list[int]()
    app = start_with(matcher)
    app.upload(DOG)
    idle = free_turns(app)
    matcher.meanwhile = lambda: free.append(free_turns(app))
    app.search(TEXT)
    assert {*free, free_turns(app)} == {idle}


def test_without_a_reranker_nothing_changes(app: Running) -> None:
    assert reranked(app.services, TEXT, results_of(app, [DOG], [0.4])) is None
    assert app.client.get("/health").json()["reranker"] is None


def test_the_setting_loads_it_or_tells_why_not(
    settings: Settings, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = settings.model_copy(update={"reranker": str(folder)})
    loaded = load_matcher(good, "cpu")
    assert loaded is not None
    assert loaded.name == str(folder)
    assert load_matcher(good.model_copy(update={"reranker_sha256": "0" * 64}), "cpu") is None
    assert "no reranking: model.safetensors has SHA-256" in caplog.text
    assert load_matcher(settings.model_copy(update={"reranker": str(tmp_path)}), "cpu") is None
    assert "has no model.safetensors" in caplog.text


def test_health_names_it(start_with: StartWith) -> None:
    assert start_with(Recorded()).client.get("/health").json()["reranker"] == "recorded"
