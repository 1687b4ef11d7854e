"""Tags by the real encoder: right words for real photos, silence for pictures that show nothing."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import Suggestion, Vectors
from app.services.tagger import (
    Concept,
    Tagger,
    VocabularyRefused,
    anchors_file,
    caption,
    closure,
    encode_anchors,
    read_vocabulary,
)
from app.services.vector_cache import SHIPPED
from tests.conftest import PHOTOS

VOCABULARY = Path(__file__).parent.parent / "app" / "weights" / "tag_vocabulary.csv"
CATEGORIES = {
    *("animals", "art", "buildings", "electronics", "events", "food", "home", "music", "nature", "objects"),
    *("people", "places", "sports", "vehicles"),
}
MIN_PROBABILITY = 0.4

SMALL_VOCABULARY = """tag,phrase,category,broader
animal,an animal,animals,
dog,a dog,animals,animal
cat,a cat,animals,animal
pizza,a pizza,food,
bus,a bus,vehicles,
"""


class CountingEncoder:
    """The real encoder, counting what is asked of it."""

    def __init__(self, encoder: EmbeddedEncoder) -> None:
        self.space, self.dim, self.device = encoder.space, encoder.dim, encoder.device
        self.logit_scale, self.image_size = encoder.logit_scale, encoder.image_size
        self.inputs = 0
        self._encoder = encoder

    def fitted(self, image: Image.Image) -> Image.Image:
        return self._encoder.fitted(image)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        self.inputs += len(images)
        return self._encoder.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.inputs += len(texts)
        return self._encoder.encode_texts(texts)


@pytest.fixture(scope="module")
def tagger(encoder: EmbeddedEncoder) -> Tagger:
    return Tagger(encoder, VOCABULARY, min_probability=MIN_PROBABILITY, max_count=5)


@pytest.fixture
def small_vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "small.csv"
    path.write_text(SMALL_VOCABULARY)
    return path


@pytest.fixture
def make(encoder: EmbeddedEncoder, small_vocabulary: Path, tmp_path: Path) -> Callable[..., tuple[Tagger, int]]:
    """A tagger of the small vocabulary that caches, and how many inputs its anchors took to encode."""

    def build(vocabulary: Path = small_vocabulary, space: str = encoder.space) -> tuple[Tagger, int]:
        counting = CountingEncoder(encoder)
        counting.space = space
        cache_dir = tmp_path / "cache"
        tagger = Tagger(counting, vocabulary, min_probability=0.4, max_count=5, cache_dir=cache_dir)
        assert set(tagger.anchors) == {"concepts", "nothing"}
        return tagger, counting.inputs

    return build


def test_the_shipped_anchors_are_those_that_would_be_encoded(tagger: Tagger) -> None:
    encoder = EmbeddedEncoder(dtype=torch.float32)
    phrases = [concept.phrase for concept in tagger.concepts]
    assert [path.name for path in SHIPPED.glob("tags-*")] == [anchors_file(encoder, phrases)]
    fresh = encode_anchors(encoder, phrases)
    for name, vectors in tagger.anchors.items():
        assert (fresh[name] * vectors).sum(axis=1).min() > 0.9999


def suggest(tagger: Tagger, encoder: EmbeddedEncoder, image: Image.Image) -> Suggestion:
    return tagger.suggest(encoder.encode_images([image.convert("RGB")]))[0]


def photo(number: int) -> Image.Image:
    return Image.open(PHOTOS / f"coco_{number:012}.jpg")


@pytest.mark.parametrize(
    ("number", "tag", "category"),
    [
        (121647, "pizza", "food"),
        (423617, "bus", "vehicles"),
        (13348, "airplane", "vehicles"),
        (565778, "train", "vehicles"),
        (285, "bear", "animals"),
        (785, "skiing", "sports"),
        (885, "tennis", "sports"),
        (6012, "banana", "food"),
        (111076, "bathroom", "home"),
    ],
)
def test_a_photo_gets_the_tag_of_what_it_shows(
    tagger: Tagger, encoder: EmbeddedEncoder, number: int, tag: str, category: str
) -> None:
    suggestion = suggest(tagger, encoder, photo(number))
    assert suggestion.tags[0] == tag
    assert suggestion.category == category
    phrase = next(concept.phrase for concept in tagger.concepts if concept.tag == tag)
    assert suggestion.caption == f"A photo of {phrase}."


def test_the_broader_tags_follow_from_narrow_to_wide(tagger: Tagger, encoder: EmbeddedEncoder) -> None:
    assert suggest(tagger, encoder, photo(6012)).tags == ("banana", "fruit", "food")


def test_where_the_kind_of_animal_is_not_sure_it_is_an_animal(tagger: Tagger, encoder: EmbeddedEncoder) -> None:
    """A small dog in the air: no kind of animal is likelier than not, but an animal it is."""
    suggestion = suggest(tagger, encoder, photo(17029))
    assert suggestion == Suggestion(tags=("animal",), caption="A photo of an animal.", category="animals")


@pytest.mark.parametrize("level", ["black", "white", "gray", "red", "navy", "skyblue"])
def test_a_blank_picture_gets_no_tag(tagger: Tagger, encoder: EmbeddedEncoder, level: str) -> None:
    blank = Image.new("RGB", (320, 240), level)
    assert suggest(tagger, encoder, blank) == Suggestion(tags=(), caption=None, category=None)


@pytest.mark.parametrize("ends", [("black", "white"), ("skyblue", "white"), ("red", "blue"), ("navy", "orange")])
@pytest.mark.parametrize("upright", [True, False])
def test_a_gradient_gets_no_tag(
    tagger: Tagger, encoder: EmbeddedEncoder, ends: tuple[str, str], upright: bool
) -> None:
    ramp = Image.linear_gradient("L")
    gradient = Image.composite(Image.new("RGB", ramp.size, ends[1]), Image.new("RGB", ramp.size, ends[0]), ramp)
    image = gradient if upright else gradient.transpose(Image.Transpose.ROTATE_90)
    assert suggest(tagger, encoder, image).tags == ()


@pytest.mark.parametrize("size", [16, 40, 96, 200, 224, 300, 640])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_noise_gets_no_tag(tagger: Tagger, encoder: EmbeddedEncoder, size: int, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(size)
    loud = random.integers(0, 256, (size, size, *shape), np.uint8)
    faint = np.clip(random.normal(128, 10, (size, size, *shape)), 0, 255).astype(np.uint8)
    for pixels in (loud, faint):
        assert suggest(tagger, encoder, Image.fromarray(pixels)).tags == ()


def test_noise_is_refused_because_it_is_like_noise_and_not_by_the_threshold(
    tagger: Tagger, encoder: EmbeddedEncoder
) -> None:
    noise = Image.fromarray(np.random.default_rng(224).integers(0, 256, (224, 224, 3), np.uint8))
    vectors = encoder.encode_images([noise, photo(121647)])
    likeliest = tagger.probabilities(vectors).max(axis=1)
    assert likeliest[0] == 0
    assert likeliest[1] > MIN_PROBABILITY


def test_probabilities_are_a_softmax_whose_shares_add_up_in_broader_tags(
    encoder: EmbeddedEncoder, make: Callable[..., tuple[Tagger, int]]
) -> None:
    tagger, _ = make()
    p = tagger.probabilities(encoder.encode_images([photo(17029)]))[0]
    animal, dog, cat, pizza, bus = p
    assert animal + pizza + bus == pytest.approx(1, abs=1e-5)
    assert animal > dog + cat
    assert dog > cat


def test_settings_limit_what_is_given(encoder: EmbeddedEncoder, small_vocabulary: Path, tmp_path: Path) -> None:
    vectors = encoder.encode_images([photo(121647)])

    def tags(min_probability: float, max_count: int) -> tuple[str, ...]:
        tagger = Tagger(
            encoder, small_vocabulary, min_probability=min_probability, max_count=max_count, cache_dir=tmp_path
        )
        return tagger.suggest(vectors)[0].tags

    assert tags(0.4, 5) == ("pizza",)
    assert tags(1, 5) == ()
    assert tags(0.4, 0) == ()
    assert len(tags(0, 2)) == 2


def test_no_pictures_give_no_suggestions(tagger: Tagger, encoder: EmbeddedEncoder) -> None:
    assert tagger.suggest(encoder.encode_images([])) == []


def test_the_second_start_reads_the_cache(
    encoder: EmbeddedEncoder, make: Callable[..., tuple[Tagger, int]]
) -> None:
    first, encoded = make()
    second, encoded_again = make()
    assert encoded > 0
    assert encoded_again == 0
    vectors = encoder.encode_images([photo(17029), photo(423617)])
    assert first.suggest(vectors) == second.suggest(vectors)


def test_another_space_or_vocabulary_has_a_cache_of_its_own(
    make: Callable[..., tuple[Tagger, int]], tmp_path: Path
) -> None:
    make()
    other = tmp_path / "other.csv"
    other.write_text(SMALL_VOCABULARY.replace("a bus", "a green bus"))
    assert make(vocabulary=other)[1] > 0
    assert make(space="embedded/another")[1] > 0
    assert len(list((tmp_path / "cache").iterdir())) == 3


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _filled_with(value: float) -> Callable[[Path], None]:
    def fill(path: Path) -> None:
        save_file({name: np.full_like(tensor, value) for name, tensor in load_file(path).items()}, path)

    return fill


def _without_a_row(path: Path) -> None:
    save_file({name: tensor[1:].copy() for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize(
    "damage",
    [_cut_short, _filled_with(np.nan), _filled_with(0), _without_a_row],
    ids=["cut short", "not a number", "zeros", "a row missing"],
)
def test_a_damaged_cache_is_made_again(
    encoder: EmbeddedEncoder,
    make: Callable[..., tuple[Tagger, int]],
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    make()
    (cache,) = (tmp_path / "cache").iterdir()
    whole = cache.read_bytes()
    damage(cache)
    tagger, encoded = make()
    assert encoded > 0
    assert cache.read_bytes() == whole
    assert suggest(tagger, encoder, photo(121647)).tags == ("pizza",)


def test_a_cache_that_cannot_be_written_does_not_stop_the_start(
    encoder: EmbeddedEncoder, make: Callable[..., tuple[Tagger, int]], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    tagger, _ = make()
    assert suggest(tagger, encoder, photo(121647)).tags == ("pizza",)


def test_the_vocabulary_is_sane() -> None:
    concepts = read_vocabulary(VOCABULARY)
    tags, phrases = [c.tag for c in concepts], [c.phrase for c in concepts]
    assert 250 <= len(concepts) <= 400
    assert len(set(tags)) == len(tags)
    assert len(set(phrases)) == len(phrases)
    assert {c.category for c in concepts} == CATEGORIES
    assert all(tag == tag.strip().lower() and len(tag) <= 40 for tag in tags)
    assert all(phrase == phrase.strip() and not phrase.endswith(".") for phrase in phrases)
    closure(concepts)


def test_the_vocabulary_knows_everyday_words() -> None:
    tags = {concept.tag for concept in read_vocabulary(VOCABULARY)}
    assert {"dog", "cat", "snow", "beach", "kitchen", "street", "birthday", "skiing", "bus", "woman"} <= tags


@pytest.mark.parametrize(
    "rows",
    [
        "tag,phrase,category\ndog,a dog,animals\n",
        "tag,phrase,category,broader\n",
        "tag,phrase,category,broader\ndog,a dog,animals\n",
        "tag,phrase,category,broader\ndog,a dog,animals,\ndog,a hound,animals,\n",
        "tag,phrase,category,broader\ndog,a dog,animals,animal\n",
        "tag,phrase,category,broader\ndog,,animals,\n",
    ],
    ids=["no broader column", "no row", "short row", "twice", "broader unknown", "no phrase"],
)
def test_a_wrong_vocabulary_is_refused(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "vocabulary.csv"
    path.write_text(rows)
    with pytest.raises(VocabularyRefused):
        read_vocabulary(path)


def test_closure_goes_all_the_way_up_and_refuses_a_circle() -> None:
    kitten = Concept("kitten", "a kitten", "animals", ("cat",))
    cat = Concept("cat", "a cat", "animals", ("animal",))
    animal = Concept("animal", "an animal", "animals", ())
    assert closure([kitten, cat, animal]).tolist() == [[True] * 3, [False, True, True], [False, False, True]]
    with pytest.raises(VocabularyRefused, match="Broader than itself"):
        closure([kitten, cat, Concept("animal", "an animal", "animals", ("kitten",))])


def test_a_caption_reads_as_a_sentence() -> None:
    assert caption(["a dog"]) == "A photo of a dog."
    assert caption(["a dog", "a frisbee"]) == "A photo of a dog and a frisbee."
    assert caption(["a dog", "a frisbee", "snow"]) == "A photo of a dog, a frisbee and snow."


def test_most_tags_of_the_corpus_are_in_its_captions(tagger: Tagger, encoder: EmbeddedEncoder) -> None:
    """Of the sixteen test photos; benchmarks/bench_tags.py does all 153 with synonyms."""
    broad = {"animal", "food", "vehicle", "person", "sport", "room", "furniture", "landscape", "water", "fruit"}
    same = {"airplane": "plane", "skiing": "skis", "snow": "skis", "bus": "buses", "desk": "computer"}
    with (PHOTOS / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    given = said = 0
    for name in sorted({row["image_filename"] for row in rows}):
        words = " ".join(row["caption"].lower() for row in rows if row["image_filename"] == name)
        for tag in set(suggest(tagger, encoder, Image.open(PHOTOS / name)).tags) - broad:
            given += 1
            said += tag in words or same.get(tag, tag) in words
    assert given >= 10
    assert said / given >= 0.75
