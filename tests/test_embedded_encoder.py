"""EmbeddedEncoder: the numbers of its model card, meaning, and refusal of weights that are not its own."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.services.embedded_encoder import HEADS_FILE, HEADS_SHA256, EmbeddedEncoder, load_heads, part_sizes
from app.services.interfaces import Vectors
from app.services.weight_files import WeightsRefused, checked, package_file
from tests.conftest import BUSES, DOG, DTYPES, PHOTOS, PIZZA, SKIER, assert_same, shared

PUBLISHED_RECALL = {1: 41.0, 5: 83.4, 10: 93.7}  # %, docs/model-card.md
BATCH = 32


def encode_files(encoder: EmbeddedEncoder, paths: list[Path]) -> Vectors:
    """(len(paths), 512), a batch at a time."""
    batches = []
    for start in range(0, len(paths), BATCH):
        images = [Image.open(path) for path in paths[start : start + BATCH]]
        batches.append(encoder.encode_images(images))
        for image in images:
            image.close()
    return np.concatenate(batches)


@pytest.fixture(scope="module")
def pictures(encoder: EmbeddedEncoder) -> dict[str, Vectors]:
    """The vectors of the test photos by file name."""
    paths = sorted(PHOTOS.glob("*.jpg"))
    return dict(zip([path.name for path in paths], encode_files(encoder, paths), strict=True))


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def measured(request: pytest.FixtureRequest) -> EmbeddedEncoder:
    """In each number type: whatever the processor has units for, the model card holds."""
    return EmbeddedEncoder(dtype=request.param)


@pytest.fixture(scope="module")
def reference_photos(measured: EmbeddedEncoder) -> tuple[list[str], Vectors]:
    """File names and vectors of the 153 photos that the model card's numbers are about."""
    paths = sorted(shared("photos/images").glob("*.jpg"))
    assert len(paths) == 153
    return [path.name for path in paths], encode_files(measured, paths)


@pytest.fixture(scope="module")
def reference_captions(measured: EmbeddedEncoder) -> tuple[list[str], list[str], Vectors]:
    """Photo, caption and vector of each of the 765 captions."""
    with shared("photos/captions.csv").open(newline="") as file:
        rows = [(row["image_filename"], row["caption"]) for row in csv.DictReader(file)]
    names, captions = [name for name, _ in rows], [caption for _, caption in rows]
    batches = [measured.encode_texts(captions[i : i + BATCH]) for i in range(0, len(captions), BATCH)]
    return names, captions, np.concatenate(batches)


def assert_unit(vectors: Vectors, count: int) -> None:
    assert vectors.shape == (count, 512)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_agrees_with_the_reference_vectors(
    reference_photos: tuple[list[str], Vectors], reference_captions: tuple[list[str], list[str], Vectors]
) -> None:
    with np.load(shared("models/embedded_reference.npz")) as file:
        reference = {name: file[name] for name in file.files}
    images = dict(zip(*reference_photos, strict=True))
    texts = dict(zip(reference_captions[1], reference_captions[2], strict=True))
    ours = [np.stack([images[name] for name in reference["files"]])]
    ours.append(np.stack([texts[caption] for caption in reference["captions"]]))
    for mine, theirs in zip(ours, (reference["image"], reference["text"]), strict=True):
        expected = theirs.astype(np.float32)
        cosines = (mine * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
        assert cosines.min() >= 0.999


def test_recall_is_what_the_model_card_says(
    reference_photos: tuple[list[str], Vectors], reference_captions: tuple[list[str], list[str], Vectors]
) -> None:
    names, images = reference_photos
    wanted, _, texts = reference_captions
    cosines = texts @ images.T
    own = np.array([names.index(name) for name in wanted])
    ranks = (cosines > cosines[np.arange(len(own)), own][:, None]).sum(axis=1)
    recall = {k: 100 * float((ranks < k).mean()) for k in PUBLISHED_RECALL}
    assert recall == pytest.approx(PUBLISHED_RECALL, abs=0.3)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("two city buses on a wet street", BUSES),
        ("a dog jumping for a frisbee in the yard", DOG),
        ("pizza on a plate", PIZZA),
        ("a woman on skis in the snow", SKIER),
        ("a brown bear", "coco_000000000285.jpg"),
        ("a bathroom with a toilet", "coco_000000111076.jpg"),
        ("people riding horses on the beach", "coco_000000214753.jpg"),
        ("bananas", "coco_000000006012.jpg"),
    ],
)
def test_words_find_their_photo(
    encoder: EmbeddedEncoder, pictures: dict[str, Vectors], words: str, name: str
) -> None:
    query = encoder.encode_texts([words])[0]
    assert max(pictures, key=lambda photo: float(pictures[photo] @ query)) == name


def test_captions_find_their_photo_among_sixteen(
    encoder: EmbeddedEncoder, pictures: dict[str, Vectors], captions: dict[str, list[str]]
) -> None:
    pairs = [(name, caption) for name, its in captions.items() for caption in its]
    cosines = encoder.encode_texts([caption for _, caption in pairs]) @ np.stack([pictures[n] for n in captions]).T
    names = list(captions)
    right = [names[best] == name for best, (name, _) in zip(cosines.argmax(axis=1), pairs, strict=True)]
    assert np.mean(right) >= 0.75


def test_what_means_the_same_is_near(encoder: EmbeddedEncoder) -> None:
    dog, puppy, bus = encoder.encode_texts(["a dog in the garden", "a puppy on the lawn", "a bus in traffic"])
    assert dog @ puppy > dog @ bus + 0.2


def test_vectors_are_unit_float32(encoder: EmbeddedEncoder, pictures: dict[str, Vectors]) -> None:
    assert_unit(np.stack(list(pictures.values())), 16)
    odd = ["", " ", "?", "ü", "🐕", "a" * 5000, "dog " * 2000, "\x00", "日本語"]
    assert_unit(encoder.encode_texts(odd), len(odd))
    pixels = [Image.new("RGB", size, "grey") for size in ((1, 1), (1, 3000), (3000, 1), (260, 260))]
    assert_unit(encoder.encode_images(pixels), 4)
    assert_unit(encoder.encode_texts([]), 0)
    assert_unit(encoder.encode_images([]), 0)


def test_a_picture_may_be_fitted_before(encoder: EmbeddedEncoder, pictures: dict[str, Vectors]) -> None:
    for name, vector in list(pictures.items())[:4]:
        with Image.open(PHOTOS / name) as image:
            fitted = encoder.fitted(image)
        assert fitted.size == (encoder.image_size, encoder.image_size)
        assert np.allclose(encoder.encode_images([fitted])[0], vector, atol=1e-5)


def test_one_input_alone_gives_the_same_as_in_a_batch(measured: EmbeddedEncoder) -> None:
    files = [PHOTOS / name for name in (BUSES, DOG, PIZZA)]
    alone = np.concatenate([encode_files(measured, [file]) for file in files])
    assert_same(alone, encode_files(measured, files))
    texts = ["a dog", "a very long text about a dog and about a bus that both wait in the rain", "bus", ""]
    assert_same(np.concatenate([measured.encode_texts([text]) for text in texts]), measured.encode_texts(texts))


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (7, [4, 2, 1]), (16, [16]), (45, [16, 16, 8, 4, 1]), (0, [])]
)
def test_batches_come_in_few_sizes(count: int, sizes: list[int]) -> None:
    assert part_sizes(count) == sizes


def test_text_past_64_tokens_is_cut(encoder: EmbeddedEncoder) -> None:
    one, other = encoder.encode_texts(["dog " * 80 + "bus", "dog " * 80 + "pizza"])
    assert np.allclose(one, other, atol=1e-6)


def test_case_does_not_matter(encoder: EmbeddedEncoder) -> None:
    shouted, said = encoder.encode_texts(["A Red BUS", "a red bus"])
    assert np.allclose(shouted, said, atol=1e-6)


def test_logit_scale_is_the_trained_one(encoder: EmbeddedEncoder) -> None:
    assert encoder.logit_scale == pytest.approx(20.5, abs=0.1)
    assert (encoder.space, encoder.dim, encoder.device) == ("embedded/compact-1", 512, "cpu")


def test_heads_with_another_sha256_are_refused(tmp_path: Path) -> None:
    changed = tmp_path / HEADS_FILE.name
    shutil.copy(HEADS_FILE, changed)
    with changed.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(WeightsRefused, match="expected " + HEADS_SHA256):
        load_heads(changed, HEADS_SHA256)
    with pytest.raises(WeightsRefused, match="SHA-256"):
        load_heads(HEADS_FILE, "0" * 64)
    assert load_heads(HEADS_FILE, HEADS_SHA256).fc2.out_features == 320


def test_an_encoder_is_not_made_from_wrong_heads() -> None:
    with pytest.raises(WeightsRefused, match="SHA-256"):
        EmbeddedEncoder(heads_sha256="0" * 64)


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused, match=r"Cannot read the weights file none\.safetensors"):
        checked(tmp_path / "none.safetensors", "0" * 64)
    with pytest.raises(WeightsRefused, match="not installed"):
        package_file("no_such_package_of_weights", "model.bin")
