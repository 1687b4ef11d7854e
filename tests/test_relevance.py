"""Relevance by the real encoder: what is there is matched, what is not there is not, whatever the cosines are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from app.dependencies import VOCABULARY
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import Vectors
from app.services.relevance import (
    MATCH,
    RANK,
    QueryForm,
    Relevance,
    background_captions,
    background_file,
    encode_background,
)
from app.services.tagger import read_vocabulary
from app.services.vector_cache import SHIPPED
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, SKIER, Running

PLANE, TRAIN, HORSES = "coco_000000013348.jpg", "coco_000000565778.jpg", "coco_000000214753.jpg"
FILES = sorted(path.name for path in PHOTOS.glob("*.jpg"))
PHRASES = [concept.phrase for concept in read_vocabulary(VOCABULARY)]


@pytest.fixture(scope="module")
def relevance(encoder: EmbeddedEncoder) -> Relevance:
    return Relevance(encoder, PHRASES)


@pytest.fixture(scope="module")
def photos(encoder: EmbeddedEncoder) -> Vectors:
    """(16, dim), in the order of FILES."""
    return encoder.encode_images([Image.open(PHOTOS / name).convert("RGB") for name in FILES])


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("a dog", DOG),
        ("a pizza on a plate", PIZZA),
        ("a woman on skis", SKIER),
        ("an airplane", PLANE),
        ("two buses on a city street", BUSES),
        ("people riding horses on the beach", HORSES),
    ],
)
def test_what_is_there_is_matched(
    relevance: Relevance, encoder: EmbeddedEncoder, photos: Vectors, words: str, name: str
) -> None:
    found = relevance.of(encoder.encode_texts([words])[0], photos)
    assert FILES[found.argmax()] == name
    assert found.max() >= MATCH
    assert np.median(found) < 0.1


@pytest.mark.parametrize(
    "words",
    [
        "an x-ray of a knee",
        "quarterly tax form",
        "a violin",
        "asdf qwer",
        "penguins on an iceberg",
        "an astronaut",
    ],
)
def test_what_is_not_there_is_not_matched(
    relevance: Relevance, encoder: EmbeddedEncoder, photos: Vectors, words: str
) -> None:
    assert relevance.of(encoder.encode_texts([words])[0], photos).max() < MATCH


def test_no_fixed_cosine_tells_these_two_apart(
    relevance: Relevance, encoder: EmbeddedEncoder, photos: Vectors
) -> None:
    there, absent = encoder.encode_texts(["a dog", "a chess board"])
    assert (photos @ there).max() < (photos @ absent).max()
    assert relevance.of(there, photos).max() > MATCH > relevance.of(absent, photos).max()


def test_another_size_of_a_picture_is_the_same_and_other_pictures_are_not(
    relevance: Relevance, encoder: EmbeddedEncoder, photos: Vectors
) -> None:
    for row, name in enumerate(FILES):
        with Image.open(PHOTOS / name) as image:
            half = image.convert("RGB").resize((image.width // 2, image.height // 2))
        found = relevance.of(encoder.encode_images([half])[0], photos, QueryForm.PICTURE)
        assert found[row] > 0.9
        assert np.sort(found)[-3] < MATCH  # one other may be of the same kind


def test_relevance_rises_with_the_cosine_and_is_a_probability(relevance: Relevance, photos: Vectors) -> None:
    for form in QueryForm:
        towards = np.stack([photos[0] * (1 - t) + photos[1] * t for t in np.linspace(0, 1, 5, dtype=np.float32)])
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        found = np.array([relevance.of(query, photos[1:2], form)[0] for query in towards])
        assert found.dtype == np.float32
        assert (np.diff(found) > 0).all()
        assert 0 <= found.min() < found.max() <= 1
        assert relevance.of(photos[0], photos[:0], form).shape == (0,)


def test_exclusion_leaves_what_shows_something_else(
    relevance: Relevance, encoder: EmbeddedEncoder, photos: Vectors
) -> None:
    traffic, bus = encoder.encode_texts(["traffic on a wet road", "a bus"])
    kept = relevance.kept_after(photos, bus)
    assert kept[FILES.index(BUSES)] < 0.2
    assert kept[FILES.index(DOG)] > 0.9
    scores = photos @ traffic
    assert FILES[scores.argmax()] == BUSES
    assert FILES[(scores * kept).argmax()] != BUSES


def test_texts_are_alike_by_meaning_not_by_form(relevance: Relevance, encoder: EmbeddedEncoder) -> None:
    query, *others = encoder.encode_texts(["a photo of a cat", "kitty", "a photo of a bus", "a photo of a violin"])
    cat, *different = relevance.likeness_of_texts(query, np.stack(others))
    assert cat > 0.5
    assert max(different) < 0.2


def test_the_shipped_background_is_the_one_that_would_be_encoded(relevance: Relevance) -> None:
    encoder, captions = EmbeddedEncoder(dtype=torch.float32), background_captions(PHRASES)
    assert [path.name for path in SHIPPED.glob("background-*")] == [background_file(encoder, captions)]
    fresh, shipped = encode_background(encoder, captions), relevance.background
    new, old = (background["spread"].T @ background["spread"] for background in (fresh, shipped))
    assert np.allclose(new, old, atol=1e-5)
    for name in ("mean", "blank"):
        assert np.allclose(fresh[name], shipped[name], atol=1e-3)


def test_a_background_of_other_words_is_kept_in_the_cache(encoder: EmbeddedEncoder, tmp_path: Path) -> None:
    phrases = PHRASES[:12]
    made = Relevance(encoder, phrases, tmp_path).background
    (file,) = tmp_path.glob("background-*")
    assert made["spread"].shape == (min(RANK, 6), encoder.dim)
    save_file({name: tensor + 0.5 for name, tensor in made.items()}, file)
    assert Relevance(encoder, phrases, tmp_path).background["mean"] == pytest.approx(made["mean"] + 0.5)


@pytest.mark.parametrize("damage", ["cut", "other tensors", "other width", "nan"])
def test_a_damaged_cache_is_made_again(encoder: EmbeddedEncoder, tmp_path: Path, damage: str) -> None:
    phrases = PHRASES[:4]
    made = Relevance(encoder, phrases, tmp_path).background
    (file,) = tmp_path.glob("background-*")
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "other tensors":
            save_file({"mean": made["mean"]}, file)
        case "other width":
            save_file({name: tensor[:, :-1].copy() for name, tensor in made.items()}, file)
        case _:
            save_file(made | {"mean": made["mean"] * np.float32("nan")}, file)
    assert np.array_equal(Relevance(encoder, phrases, tmp_path).background["mean"], made["mean"])
    assert np.array_equal(load_file(file)["mean"], made["mean"])


def test_captions_pair_things_that_have_nothing_to_do_with_each_other() -> None:
    captions = background_captions(PHRASES)
    assert captions[:2] == ["a photo of a person with fruit", "a woman next to a fireplace"]
    assert len(set(captions)) == len(captions) >= RANK


@pytest.mark.parametrize(("words", "matched"), [("a dog", True), ("an x-ray of a knee", False)])
def test_an_answer_says_whether_anything_fits(library: Running, words: str, matched: bool) -> None:
    answer = library.client.get("/search/text", params={"q": words}).json()
    assert answer["matched"] is matched
    assert answer["results"], "the nearest are shown nonetheless"
