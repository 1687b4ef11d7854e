"""The steps of training/, one by one and end to end, with the real towers on a small set."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F  # the name torch's own documentation uses
import typer
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from app.services.embedded_encoder import (
    HEADS_FILE,
    HEADS_SHA256,
    EmbeddedEncoder,
    Heads,
    ImageTower,
    TextTower,
    load_heads,
)
from app.services.weight_files import file_sha256
from training import class_prompts, evaluate, export, heads, image_features, text_features
from training.captions import read_csv, read_flickr8k
from training.class_prompts import Prompt, imagenet_classes, read_synsets
from training.conse import Classifier, Conse, build_conse, class_directions, locked_classifier
from training.feature_files import CaptionFeatures, ImageFeatures, PromptFeatures
from training.pairs import join, pair_up
from training.synthetic import PromptTable, class_features

ROOT = Path(__file__).parent.parent
SHARED_PHOTOS = ROOT.parent / "shared" / "photos"
SAMPLES = ROOT / "app" / "samples"
WORDNET = Path(__file__).parent / "data" / "wordnet" / "data.noun.gz"
GOLDEN_RETRIEVER, TABBY, CRANE_BIRD, CRANE_MACHINE, BURRITO = 207, 281, 134, 517, 965
TRAINING_PHOTOS = 100


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Many small steps: on a busy machine, threads that wait for each other take longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos() -> Path:
    if not SHARED_PHOTOS.is_dir():
        pytest.skip("the 153 photos with captions are not part of the repository")
    return SHARED_PHOTOS


@pytest.fixture(scope="module")
def data_noun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wordnet") / "data.noun"
    path.write_bytes(gzip.decompress(WORDNET.read_bytes()))
    return path


@pytest.fixture(scope="module")
def prompts(data_noun: Path) -> list[Prompt]:
    return class_prompts.class_prompts(read_synsets(data_noun), imagenet_classes())


@pytest.fixture(scope="module")
def image_tower() -> ImageTower:
    return ImageTower()


@pytest.fixture(scope="module")
def text_tower() -> TextTower:
    return TextTower()


@pytest.fixture(scope="module")
def classifier(image_tower: ImageTower) -> Classifier:
    return locked_classifier(image_tower)


@pytest.fixture(scope="module")
def prompt_features(prompts: list[Prompt], text_tower: TextTower) -> PromptFeatures:
    """One sentence for each class and for each larger group: all 22,000 would take a minute."""
    few = [p for p in prompts if p.text.startswith("a photo of the ")]
    first = {i: p for p in reversed(few) if p.kind != "hypernym" for i in p.classes}
    groups = [p for p in few if p.kind == "hypernym" and len(p.classes) > 19]
    return text_features.prompt_features(text_tower, [*dict.fromkeys(first.values()), *groups])


@pytest.fixture(scope="module")
def features(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with images.safetensors and texts.safetensors of the 153 photos, made by the steps themselves."""
    folder = tmp_path_factory.mktemp("features")
    image_features.main(photos / "images", folder / "images.safetensors", ["squash"])
    text_features.main(photos / "captions.csv", folder / "texts.safetensors", text_features.Source.csv)
    return folder


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# the command lines


def documented_commands() -> list[tuple[str, list[str]]]:
    """(step, its options) for each command of training/README.md."""
    block = (ROOT / "training" / "README.md").read_text(encoding="utf-8").split("```")[1]
    commands = re.findall(r"-m training\.(\w+)(.*)", block.replace("\\\n", " "))
    return [(step, re.findall(r"--[\w-]+", rest)) for step, rest in commands]


@pytest.mark.parametrize("step", [class_prompts, image_features, text_features, heads, export, evaluate])
def test_every_step_has_its_documented_options(step: ModuleType) -> None:
    app = typer.Typer()
    app.command()(step.main)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    options = [set(options) for name, options in documented_commands() if step.__name__ == f"training.{name}"]
    assert options, "not in the README"
    assert set.union(*options) <= set(re.findall(r"--[\w-]+", shown.output))


# captions


def test_flickr8k_captions_belong_to_their_photo(tmp_path: Path) -> None:
    path = written(tmp_path / "token.txt", "a_1.jpg#0\tA dog runs .\na_1.jpg#1\tDog\nb_2.jpg#0\tTwo #1 boys\n")
    captions = read_flickr8k(path)
    assert captions.files == ("a_1.jpg", "a_1.jpg", "b_2.jpg")
    assert captions.texts == ("A dog runs .", "Dog", "Two #1 boys")


def test_csv_captions_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", 'caption,image_filename\n"a cup, blue\nand full",x.jpg\n')
    captions = read_csv(path)
    assert (captions.files, captions.texts) == (("x.jpg",), ("a cup, blue\nand full",))


@pytest.mark.parametrize("line", ["a.jpg\tno number", "a.jpg#0 no tab", "a.jpg#0\t ", "#0\tno name"])
def test_a_bad_flickr8k_line_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "token.txt", f"a.jpg#0\tfine\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        read_flickr8k(path)


@pytest.mark.parametrize("text", ["file,text\na.jpg,hello\n", "image_filename,caption\na.jpg,\n"])
def test_a_table_without_captions_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"c\.csv"):
        read_csv(written(tmp_path / "c.csv", text))


# class prompts


def test_prompts_name_every_class_with_its_article(prompts: list[Prompt]) -> None:
    by_text = {prompt.text: prompt for prompt in prompts}
    assert by_text["a photo of a golden retriever"] == Prompt(
        "a photo of a golden retriever", (GOLDEN_RETRIEVER,), "name"
    )
    assert by_text["a picture of an orangutan"].kind == "name"
    assert len(by_text) == len(prompts) > 20_000
    named = {i for prompt in prompts if prompt.kind in ("name", "lemma") for i in prompt.classes}
    assert named == set(range(1000))


def test_a_name_of_two_classes_is_true_of_both(prompts: list[Prompt]) -> None:
    crane = next(prompt for prompt in prompts if prompt.text == "a photo of a crane")
    assert set(crane.classes) >= {CRANE_BIRD, CRANE_MACHINE}


def test_hypernyms_are_true_of_what_is_below_and_nothing_else(prompts: list[Prompt]) -> None:
    above = {prompt.text: set(prompt.classes) for prompt in prompts if prompt.kind == "hypernym"}
    assert GOLDEN_RETRIEVER in above["dog"]
    assert len(above["dog"]) == 118  # ImageNet's dog breeds
    assert TABBY in above["feline"]
    assert above["feline"].isdisjoint(above["dog"])
    assert BURRITO in above["dish"]


def test_what_is_too_general_is_left_out(prompts: list[Prompt]) -> None:
    texts = {prompt.text for prompt in prompts}
    assert texts.isdisjoint({"entity", "a photo of an artifact", "animal", "a vertebrate"})


def test_prompts_survive_their_file(data_noun: Path, prompts: list[Prompt], tmp_path: Path) -> None:
    class_prompts.main(data_noun, tmp_path / "new" / "prompts.json")
    assert text_features.read_prompts(tmp_path / "new" / "prompts.json") == prompts


# features


def test_views_show_what_they_say() -> None:
    image = Image.new("RGB", (600, 200), "red")
    image.paste((0, 255, 0), (200, 0, 400, 200))
    image.paste((0, 0, 255), (400, 0, 600, 200))
    assert image_features.view(image, "squash").getpixel((0, 0)) == (255, 0, 0)
    assert image_features.view(image, "hflip").getpixel((0, 0)) == (0, 0, 255)
    centre = image_features.view(image, "center")
    assert centre.getpixel((5, 130)) == centre.getpixel((254, 130)) == (0, 255, 0)
    with pytest.raises(ValueError, match="sideways"):
        image_features.view(image, "sideways")


def test_random_views_differ_from_each_other_and_come_again(image_tower: ImageTower) -> None:
    paths = image_features.photos_below(SAMPLES)[:1]
    names = ["squash", "random0", "random1"]
    first = image_features.image_features(image_tower, paths, names, seed=1)
    again = image_features.image_features(image_tower, paths, names, seed=1)
    other = image_features.image_features(image_tower, paths, ["random0"], seed=2)
    assert all(torch.equal(first.views[name], again.views[name]) for name in names)
    assert not torch.allclose(first.views["random0"], other.views["random0"], atol=1e-2)
    assert not torch.allclose(first.views["random0"], first.views["random1"], atol=1e-2)


def test_two_photos_of_one_name_are_refused(image_tower: ImageTower, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "same.png")
    with pytest.raises(ValueError, match="same file name"):
        image_features.image_features(image_tower, image_features.photos_below(tmp_path), ["squash"])


def test_texts_keep_their_order(text_tower: TextTower) -> None:
    texts = ["a dog running over a wide green field in the sun", "cat", "two men"]
    together = text_features.pooled_texts(text_tower, texts)
    alone = torch.cat([text_features.pooled_texts(text_tower, [text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


def test_features_that_lost_their_list_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.safetensors"
    CaptionFeatures(("a.jpg", "b.jpg"), ("one", "two"), torch.eye(2, 384)).save(path)
    assert CaptionFeatures.load(path).texts == ("one", "two")
    written(path.with_suffix(".json"), json.dumps({"files": ["a.jpg"], "texts": ["one"]}))
    with pytest.raises(ValueError, match="disagree"):
        CaptionFeatures.load(path)


# pairs, ConSE and class supervision


def some_pairs() -> tuple[ImageFeatures, CaptionFeatures]:
    images = ImageFeatures(("a", "b", "lonely"), {"hflip": torch.full((3, 4), 2.0), "squash": torch.ones(3, 4)})
    texts = CaptionFeatures(("b", "gone", "a", "b"), ("b1", "g", "a1", "b2"), torch.arange(4.0)[:, None])
    return images, texts


def test_each_photo_meets_its_own_captions_only() -> None:
    pairs = pair_up(*some_pairs())
    assert pairs.pooled[pairs.captions].squeeze(-1).tolist() == [[2, 2, 2, 2, 2], [0, 3, 0, 3, 0]]
    assert set(pairs.views[0].flatten().tolist()) == {1.0}  # the whole photo comes first


def test_left_out_photos_leave_nothing_behind() -> None:
    pairs = pair_up(*some_pairs(), left_out=frozenset({"b"}))
    assert (pairs.views.shape[1], pairs.pooled.flatten().tolist()) == (1, [2.0])
    with pytest.raises(ValueError, match="no photo"):
        pair_up(*some_pairs(), left_out=frozenset({"a", "b"}))


def test_joined_sets_keep_their_captions() -> None:
    pairs = pair_up(*some_pairs())
    one_view = replace(pairs, views=pairs.views[:1] * 5, pooled=pairs.pooled + 10)
    both = join([pairs, one_view])
    assert both.pooled[both.captions].squeeze(-1)[:, 0].tolist() == [2, 0, 12, 10]
    assert both.views[1, :, 0].tolist() == [2, 2, 5, 5]


@pytest.fixture(scope="module")
def conse(classifier: Classifier, prompt_features: PromptFeatures) -> Conse:
    return build_conse(classifier, prompt_features, prompt_features.pooled)


def test_class_directions_are_those_of_the_published_heads(prompt_features: PromptFeatures) -> None:
    """From one sentence a class instead of all: close to the published row, and nearest to the right one."""
    published = load_heads(HEADS_FILE, HEADS_SHA256)
    rows = F.normalize(published.cls @ published.pca.T)
    similarities = class_directions(prompt_features) @ rows.T
    assert similarities.diagonal().mean() > 0.85  # 0 by chance
    assert (similarities.argmax(1) == torch.arange(1000)).float().mean() > 0.9


def test_the_fixed_projection_has_the_published_form(conse: Conse) -> None:
    published = load_heads(HEADS_FILE, HEADS_SHA256)
    assert conse.classes.shape == published.cls.shape
    assert conse.pca.shape == published.pca.shape
    assert conse.centre.shape == published.centre.shape
    torch.testing.assert_close(conse.pca.T @ conse.pca, torch.eye(192), atol=1e-4, rtol=0)


def test_conse_puts_a_class_weight_beside_its_name(conse: Conse, text_tower: TextTower) -> None:
    names = ["golden retriever", "tabby cat", "burrito"]
    photos = conse.image(conse.classifier.weight[[GOLDEN_RETRIEVER, TABBY, BURRITO]] * 10)
    texts = conse.text(text_features.pooled_texts(text_tower, [f"a photo of a {name}" for name in names]))
    assert (photos @ texts.T).argmax(1).tolist() == [0, 1, 2]


def test_a_class_without_a_name_is_refused(prompt_features: PromptFeatures) -> None:
    with pytest.raises(ValueError, match="1000 classes"):
        class_directions(replace(prompt_features, kinds=("gloss",) * len(prompt_features.kinds)))


@pytest.mark.stress
def test_prototypes_are_recognised_as_their_class(classifier: Classifier, features: Path) -> None:
    photos = ImageFeatures.load(features / "images.safetensors").views["squash"]
    made = class_features(classifier, photos)
    recognised = classifier.logits(made.prototypes.clamp(min=0)).argmax(1) == torch.arange(1000)
    assert recognised.float().mean() > 0.5  # 0.001 by chance; more photos give a better covariance
    synthetic, classes = made.draw_synthetic(64, noise=0.0)
    torch.testing.assert_close(synthetic, made.prototypes[classes].clamp(min=0))


def test_prompts_drawn_for_a_class_are_true_of_it() -> None:
    prompts = PromptFeatures(((0,), (1,), (0, 1), (2,)), ("name", "lemma", "hypernym", "gloss"), torch.eye(4, 384))
    table = PromptTable(prompts)
    assert table.draw(torch.tensor([0, 1, 2]), hypernym_share=0.0).tolist() == [0, 1, 3]
    assert table.draw(torch.tensor([0, 1, 2]), hypernym_share=1.0).tolist() == [2, 2, 3]
    also_true = table.also_true(torch.tensor([0, 1, 2]), torch.tensor([2, 1, 3]))
    assert also_true.tolist() == [[False, False, False], [True, False, False], [False, False, False]]


# losses, recall and export


def test_losses_by_hand() -> None:
    assert heads.symmetric_cross_entropy(torch.zeros(4, 4)).item() == pytest.approx(torch.tensor(4.0).log().item())
    assert heads.symmetric_cross_entropy(50 * torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    config = heads.Config(epochs=10, warmup_epochs=2)
    factors = [heads.learning_rate_factor(step, 5, config) for step in (0, 9, 25, 49)]
    assert factors == pytest.approx([0.1, 0.9222, 0.5, 0.001], abs=1e-3)


def test_recall_by_hand() -> None:
    similarities = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.1, 0.2]] + [[0.0, 1.0, 0.5]] * 2)
    assert evaluate.recall(similarities, torch.tensor([0, 1, 1, 2])) == {1: 50.0, 5: 100.0, 10: 100.0}


@pytest.mark.stress
def test_published_heads_have_their_published_recall(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main(HEADS_FILE, features / "images.safetensors", features / "texts.safetensors")
    said = capsys.readouterr().out
    assert HEADS_SHA256 in said
    percent = [float(part.split()[-1]) for part in said.strip().split(", ")[-3:]]
    assert percent == pytest.approx([41.0, 83.4, 93.7], abs=0.3)


def test_the_standardisation_is_folded_into_the_first_layer(conse: Conse) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        photos = 3 * torch.rand(50, 1280)
        head = heads.ImageHead(photos, dropout=0.5).eval()
        trained = {**head.state_dict(), **heads.TextHead().state_dict()}
    trained |= {"cls": conse.classes, "pca": conse.pca, "centre": conse.centre}
    trained |= {name: torch.tensor(1.0) for name in ("temp", "lam", "scale")}
    folded = export.export(trained)
    hidden = F.gelu(F.linear(photos, folded["fc1.weight"].float(), folded["fc1.bias"].float()))
    out = F.normalize(F.linear(hidden, folded["fc2.weight"].float(), folded["fc2.bias"].float()))
    torch.testing.assert_close(out, head(photos), atol=2e-3, rtol=0)


def test_an_incomplete_set_of_weights_is_not_exported() -> None:
    with pytest.raises(KeyError, match="deviation"):
        export.export({"fc1.weight": torch.zeros(1024, 1280)})


@pytest.fixture(scope="module")
def trained(features: Path, prompt_features: PromptFeatures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with trained.safetensors and heads.safetensors, of the first 100 photos; the others are left out."""
    folder = tmp_path_factory.mktemp("trained")
    prompt_features.save(folder / "class_texts.safetensors")
    names = ImageFeatures.load(features / "images.safetensors").files
    with redirect_stdout(StringIO()) as log:
        heads.main(
            folder / "class_texts.safetensors",
            folder / "trained.safetensors",
            [features / "images.safetensors"],
            [features / "texts.safetensors"],
            uncaptioned=features / "images.safetensors",
            leave_out=written(folder / "left_out.txt", "\n".join(names[TRAINING_PHOTOS:])),
            epochs=25,
        )
    written(folder / "log.txt", log.getvalue())
    export.main(folder / "trained.safetensors", folder / "heads.safetensors")
    return folder


@pytest.mark.stress
def test_exported_heads_have_the_published_names_and_shapes(trained: Path) -> None:
    def form(path: Path) -> dict[str, tuple[torch.dtype, torch.Size]]:
        return {name: (tensor.dtype, tensor.shape) for name, tensor in load_file(path).items()}

    assert form(trained / "heads.safetensors") == form(HEADS_FILE)


@pytest.mark.stress
def test_training_lowers_both_losses(trained: Path) -> None:
    lines = (trained / "log.txt").read_text(encoding="utf-8").splitlines()
    losses = [[float(number) for number in re.findall(r"\d+\.\d+", line)] for line in lines]
    (first_captions, first_classes), (last_captions, last_classes) = losses[0], losses[-1]
    assert len(losses) == 25
    assert last_captions < 0.7 * first_captions
    assert last_classes < 0.9 * first_classes


def trained_part_alone(path: Path) -> Heads:
    """Without the ConSE part, which finds photos without any training."""
    loaded = load_heads(path, file_sha256(path))
    loaded.lam.zero_()
    return loaded


@pytest.mark.stress
def test_the_trained_part_finds_photos_it_saw_and_some_it_never_saw(
    trained: Path, features: Path, classifier: Classifier
) -> None:
    images = ImageFeatures.load(features / "images.safetensors")
    texts = CaptionFeatures.load(features / "texts.safetensors")
    loaded = trained_part_alone(trained / "heads.safetensors")
    seen = evaluate.only(images, frozenset(images.files[:TRAINING_PHOTOS]))
    unseen = evaluate.only(images, frozenset(images.files[TRAINING_PHOTOS:]))
    assert evaluate.evaluate(loaded, classifier, seen, texts)[1] > 50  # 1 by chance
    assert evaluate.evaluate(loaded, classifier, unseen, texts)[5] > 30  # 9.4 by chance


@pytest.mark.stress
def test_the_service_loads_exported_heads_and_finds_photos_with_them(trained: Path, photos: Path) -> None:
    path = trained / "heads.safetensors"
    encoder = EmbeddedEncoder(heads_file=path, heads_sha256=file_sha256(path))
    captions = read_csv(photos / "captions.csv")
    names = sorted(set(captions.files))[:8]
    pictures = [Image.open(photos / "images" / name).convert("RGB") for name in names]
    first_captions = [captions.texts[captions.files.index(name)] for name in names]
    similarities = encoder.encode_texts(first_captions) @ encoder.encode_images(pictures).T
    assert sum(row.argmax() == i for i, row in enumerate(similarities)) >= 7
