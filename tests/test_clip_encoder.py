"""OpenClipEncoder against open_clip itself.

The weights are random, in small architectures of our own: they serve to compare numbers, never to search.
"""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import tokenizers
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from app.errors import EncoderFailed
from app.services.clip_encoder import OpenClipEncoder, encode_tokens
from app.services.interfaces import Vectors
from app.services.model_choice import ClipWeights, tag_config
from app.services.precision import image_dtype
from app.services.weight_files import WeightsRefused
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA

NARROW, WIDE, DEEP = "recollect-test-narrow", "recollect-test-wide", "recollect-test-deep"
REFUSED = (WeightsRefused, RuntimeError, AssertionError)  # the last two are open_clip's own words for a misfit
TEXTS = ["two buses in the rain", "", "a dog", "word " * 500, "ü 🐕"]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def architecture(width: int, layers: int) -> dict[str, Any]:
    vision = {"image_size": 64, "layers": layers, "width": width, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": width, "heads": 2, "layers": layers}
    return {"embed_dim": width, "vision_cfg": vision, "text_cfg": text}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three architectures that open_clip knows from now on."""
    made = tmp_path_factory.mktemp("open_clip")
    for name, width, layers in ((NARROW, 64, 2), (WIDE, 128, 2), (DEEP, 64, 3)):
        (made / f"{name}.json").write_text(json.dumps(architecture(width, layers)))
    open_clip.add_model_config(made)
    return made


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    """Random weights of the narrow one, the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        model = open_clip.create_model(NARROW)
    save_file(model.state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Upright RGB, of three shapes."""
    opened = []
    for name, box in ((BUSES, (0, 0, 300, 200)), (DOG, (0, 0, 100, 250)), (PIZZA, (0, 0, 64, 64))):
        with Image.open(PHOTOS / name) as file:
            opened.append(file.convert("RGB").crop(box))
    return opened


def made_from(
    weights: Path, name: str = NARROW, dtype: torch.dtype = torch.float32, **trained_with: Any
) -> OpenClipEncoder:
    return OpenClipEncoder(
        name, weights, space="test/narrow", device="cpu", trained_with=trained_with, dtype=dtype
    )


def directly(weights: Path, images: list[Image.Image], **options: Any) -> tuple[Vectors, Vectors]:
    """What open_clip's own example does: unit vectors of the images and of TEXTS."""
    model, _, preprocess = open_clip.create_model_and_transforms(NARROW, pretrained=str(weights), **options)
    model.eval()
    with torch.inference_mode():
        pixels = torch.stack([preprocess(image) for image in images])
        image_vectors = F.normalize(model.encode_image(pixels), dim=-1).numpy()
        text_vectors = F.normalize(model.encode_text(open_clip.get_tokenizer(NARROW)(TEXTS)), dim=-1).numpy()
    return image_vectors, text_vectors


@pytest.mark.parametrize(
    ("trained_with", "options"),
    [
        pytest.param({}, {}, id="as the architecture says"),
        pytest.param({"quick_gelu": True}, {"force_quick_gelu": True}, id="QuickGELU"),
        pytest.param(IMAGENET, {"image_mean": IMAGENET["mean"], "image_std": IMAGENET["std"]}, id="mean and std"),
        pytest.param(
            {"interpolation": "bilinear", "resize_mode": "squash"},
            {"image_interpolation": "bilinear", "image_resize_mode": "squash"},
            id="squashed, not cropped",
        ),
        pytest.param({"resize_mode": "longest"}, {"image_resize_mode": "longest"}, id="padded, not cropped"),
    ],
)
def test_equals_a_direct_call(
    weights: Path, images: list[Image.Image], trained_with: Mapping[str, Any], options: dict[str, Any]
) -> None:
    encoder = made_from(weights, **trained_with)
    expected_images, expected_texts = directly(weights, images, **options)
    fitted = [encoder.fitted(image) for image in images]
    assert {image.size for image in fitted} == {(encoder.image_size, encoder.image_size)}
    for pictures in (images, fitted):
        assert np.abs(encoder.encode_images(pictures) - expected_images).max() < 1e-5
    assert np.abs(encoder.encode_texts(TEXTS) - expected_texts).max() < 1e-5


def test_how_the_weights_were_trained_makes_a_difference(weights: Path, images: list[Image.Image]) -> None:
    """Else the comparison above would prove nothing."""
    plain = made_from(weights).encode_images(images)
    for trained_with in ({"quick_gelu": True}, IMAGENET, {"resize_mode": "squash"}):
        assert np.abs(made_from(weights, **trained_with).encode_images(images) - plain).max() > 1e-4


def test_vectors_are_unit_float32_and_do_not_depend_on_the_batch(weights: Path, images: list[Image.Image]) -> None:
    encoder = made_from(weights)
    for together, alone in (
        (encoder.encode_images(images), [encoder.encode_images([image])[0] for image in images]),
        (encoder.encode_texts(TEXTS), [encoder.encode_texts([text])[0] for text in TEXTS]),
    ):
        assert together.dtype == np.float32
        assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
        assert np.allclose(np.stack(alone), together, atol=1e-5)
    assert encoder.encode_images([]).shape == encoder.encode_texts([]).shape == (0, 64)
    assert (encoder.dim, encoder.space, encoder.device) == (64, "test/narrow", "cpu")


@pytest.mark.parametrize("text", ["", "a dog", "word " * 500])
def test_a_text_without_its_padding_has_the_vector_of_the_padded_one(weights: Path, text: str) -> None:
    model = open_clip.create_model(NARROW, pretrained=str(weights)).eval()
    tokens = open_clip.get_tokenizer(NARROW)([text])
    with torch.inference_mode():
        assert torch.allclose(encode_tokens(model, tokens), model.encode_text(tokens, normalize=True), atol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_moves_no_vector_noticeably(
    weights: Path, images: list[Image.Image], precision: str
) -> None:
    exact, half = made_from(weights), made_from(weights, dtype=image_dtype(precision, "cpu"))
    for one, other in (
        (exact.encode_images(images), half.encode_images(images)),
        (exact.encode_texts(TEXTS), half.encode_texts(TEXTS)),
    ):
        assert 0.999 < (one * other).sum(axis=1).min() <= (one * other).sum(axis=1).max() < 1.0001
    assert not np.array_equal(exact.encode_images(images), half.encode_images(images))


@pytest.mark.parametrize(
    ("device", "capabilities", "expected"),
    [
        ("cpu", {"avx2": True}, torch.float32),
        ("cpu", {"avx512_bf16": True}, torch.bfloat16),
        ("cpu", {"amx_bf16": True}, torch.bfloat16),
        ("mps", {"amx_bf16": True}, torch.float32),
        ("cuda:1", {}, torch.float16),
    ],
)
def test_half_precision_only_where_hardware_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, device: str, capabilities: dict[str, bool], expected: torch.dtype
) -> None:
    # No machine has all of these processors, so what torch says of them is played.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert image_dtype("auto", device) == expected
    assert image_dtype("float32", device) == torch.float32


def test_the_logit_scale_is_that_of_the_weights(weights: Path) -> None:
    assert made_from(weights).logit_scale == pytest.approx(1 / 0.07, rel=1e-5)  # where CLIP's training begins


@pytest.mark.parametrize("name", [WIDE, DEEP, "ViT-S-32-alt"])
def test_weights_of_another_architecture_are_refused(weights: Path, name: str) -> None:
    with pytest.raises(REFUSED):
        made_from(weights, name)


def test_weights_that_are_missing_damaged_or_in_part_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(REFUSED):
        made_from(tmp_path / "missing.safetensors")
    state = load_file(weights)
    save_file({name: t for name, t in state.items() if name != "text_projection"}, tmp_path / "part.safetensors")
    with pytest.raises(REFUSED):
        made_from(tmp_path / "part.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(Exception, match=r"(?i)safetensor|incomplete|header|fit"):
        made_from(tmp_path / "cut.safetensors")


def test_vectors_that_are_not_numbers_are_an_error(
    weights: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    state = load_file(weights)
    state["visual.proj"] = torch.full_like(state["visual.proj"], float("nan"))
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(EncoderFailed, match="not finite"):
        made_from(tmp_path / "nan.safetensors").encode_images(images)


def unigram_tokenizer(folder: Path, pad: str) -> int:
    """Stands in for SigLIP's, which have to be fetched: the same kind, but of few words. Returns its size."""
    tokenizer = Tokenizer(tokenizers.models.Unigram())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]  # ids 0, 1, 2, as in SigLIP's
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text for text in TEXTS if text] * 5, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token="</s>", unk_token="<unk>", padding_side="right"
    ).save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def small_siglip(base: str, folder: Path, tokenizer: str, words: int) -> str:
    """open_clip's own description of a SigLIP, with smaller towers and another tokenizer."""
    described = json.loads((Path(open_clip.__file__).parent / "model_configs" / f"{base}.json").read_text())
    described["embed_dim"] = 64
    described["vision_cfg"] |= {"timm_model_name": "test_vit", "image_size": 160}
    described["text_cfg"] |= {
        "vocab_size": words, "width": 64, "heads": 2, "layers": 2, "hf_tokenizer_name": tokenizer
    }  # fmt: skip
    name = f"recollect-test-{base}-{folder.name}"
    (folder / f"{name}.json").write_text(json.dumps(described))
    open_clip.add_model_config(folder / f"{name}.json")
    return name


def random_weights(name: str, path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(8)
        state = open_clip.create_model(name).state_dict()
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


@pytest.mark.parametrize(("base", "pad"), [("ViT-B-16-SigLIP", "</s>"), ("ViT-B-16-SigLIP2", "<pad>")])
def test_siglip_with_random_weights_equals_a_direct_call(
    base: str, pad: str, tmp_path: Path, images: list[Image.Image]
) -> None:
    words = unigram_tokenizer(tmp_path / "tokenizer", pad)
    name = small_siglip(base, tmp_path, str(tmp_path / "tokenizer"), words)
    path = random_weights(name, tmp_path / "weights.safetensors")
    encoder = made_from(path, name, **tag_config(base, "webli"))
    model, _, preprocess = open_clip.create_model_and_transforms(
        name,
        pretrained=str(path),
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
        image_interpolation="bicubic",
        image_resize_mode="squash",
    )
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    assert tokens.shape == (len(TEXTS), 64)
    assert tokens[0, -1] == {"</s>": 1, "<pad>": 0}[pad]
    with torch.inference_mode():
        model.eval()
        expected_images = F.normalize(model.encode_image(torch.stack([preprocess(i) for i in images])), dim=-1)
        expected_texts = F.normalize(model.encode_text(tokens), dim=-1)
        otherwise = F.normalize(model.encode_text(torch.where(tokens == tokens[0, -1], 2, tokens)), dim=-1)
    assert np.abs(encoder.encode_images(images) - expected_images.numpy()).max() < 1e-5
    assert np.abs(encoder.encode_texts(TEXTS) - expected_texts.numpy()).max() < 1e-5
    assert (otherwise - expected_texts).abs().max() > 1e-3  # padding is read: else this would prove nothing


def test_siglip_without_its_tokenizer_is_refused_and_no_network_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    name = small_siglip("ViT-B-16-SigLIP", tmp_path, "timm/ViT-B-16-SigLIP", words=80)
    path = random_weights(name, tmp_path / "weights.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: tried.append(address))
    with pytest.raises(WeightsRefused, match="timm/ViT-B-16-SigLIP"):
        made_from(path, name)
    assert tried == []


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "ViT-SO400M-14-SigLIP", "ViT-B-32-SigLIP2-256"])
def test_a_siglip_checkpoint_of_your_own_is_preprocessed_as_siglip(name: str, tmp_path: Path) -> None:
    own = ClipWeights(name, None, tmp_path / "mine.safetensors").trained_with
    assert (own["mean"], own["std"], own["resize_mode"]) == ((0.5,) * 3, (0.5,) * 3, "squash")
    assert "hf_hub" not in own


class Payload:
    """What a hostile checkpoint would hold: unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_checkpoint_is_not_run(weights: Path, tmp_path: Path) -> None:
    state: dict[str, Any] = dict(load_file(weights))
    torch.save(state, tmp_path / "good.pt")
    assert made_from(tmp_path / "good.pt").dim == 64
    torch.save(state | {"visual.proj": Payload(tmp_path / "ran")}, tmp_path / "hostile.pt")
    with pytest.raises(Exception, match=r"(?i)weights.only|fit"):
        made_from(tmp_path / "hostile.pt")
    assert not (tmp_path / "ran").exists()


def test_the_hub_is_left_as_it_was(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for offline in (False, True):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        made_from(weights)
        assert huggingface_hub.constants.HF_HUB_OFFLINE is offline
