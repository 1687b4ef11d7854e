"""Packed layers against PyTorch's own, with the same weights."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.services.packed_layers import (
    PackedAttention,
    PackedLinear,
    PackedPatches,
    attended,
    has_kernels,
    pack,
)
from tests.conftest import DTYPES

pytestmark = pytest.mark.skipif(not has_kernels(torch.float32), reason="packed on x86 alone")


class Both(nn.Module):
    """A self-attention and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.after = nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 32, bias=False))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        made: Tensor = self.after(self.attention(x, x, x, need_weights=False, attn_mask=mask)[0])
        return made


def causal(tokens: int) -> Tensor:
    return torch.full((tokens, tokens), float("-inf")).triu(1)


def cosine(one: Tensor, other: Tensor) -> float:
    return float(nn.functional.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("tokens", [1, 11, 50, 130])
@pytest.mark.parametrize("masked", [False, True])
@torch.inference_mode()
def test_the_same_as_before(dtype: torch.dtype, n: int, tokens: int, masked: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(tokens)
        model, x = Both().eval(), torch.randn(n, tokens, 64)
    packed = copy.deepcopy(model)
    pack(packed, dtype)
    mask = causal(tokens) if masked else None
    expected, found = model(x, mask), packed(x, mask)
    assert found.dtype is torch.float32
    if dtype is torch.float32:
        assert torch.allclose(found, expected, atol=1e-5)
    else:
        assert cosine(found, expected) > 0.9999


def test_nothing_is_left_out() -> None:
    model = Both()
    pack(model, torch.float32)
    assert isinstance(model.attention, PackedAttention)
    assert [type(layer) for layer in model.after] == [PackedLinear, nn.Identity, PackedLinear]


@pytest.mark.parametrize("activation", [nn.GELU(), nn.GELU("tanh"), nn.SiLU()], ids=repr)
@torch.inference_mode()
def test_only_the_exact_gelu_becomes_a_part_of_the_layer(activation: nn.Module) -> None:
    model, x = nn.Sequential(nn.Linear(64, 96), activation, activation).eval(), torch.randn(5, 64)
    packed = copy.deepcopy(model)
    pack(packed, torch.float32)
    exact = activation.extra_repr() == "approximate='none'"
    assert [type(layer) for layer in packed] == [
        PackedLinear,
        nn.Identity if exact else type(activation),
        type(activation),
    ]
    assert torch.allclose(packed(x), model(x), atol=1e-5)


@torch.inference_mode()
def test_a_layer_that_stands_there_twice_keeps_its_place() -> None:
    dense, x = nn.Linear(16, 16), torch.randn(5, 16)
    model = nn.Sequential(dense, dense, nn.GELU()).eval()
    packed = copy.deepcopy(model)
    pack(packed, torch.float32)
    assert torch.allclose(packed(x), model(x), atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("high", "wide", "bias"), [(8, 8, False), (4, 2, True)])
@torch.inference_mode()
def test_patches_are_those_of_the_convolution(dtype: torch.dtype, high: int, wide: int, bias: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 24, (high, wide), (high, wide), bias=bias))
    x = torch.randn(5, 3, 35, 26)  # with a margin that fills no patch
    packed = copy.deepcopy(model)
    pack(packed, dtype)
    assert isinstance(packed[0], PackedPatches)
    assert packed(x).shape == model(x).shape
    assert cosine(packed(x), model(x)) > (0.9999 if dtype is torch.bfloat16 else 1 - 1e-9)


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"stride": 4, "padding": 1}, {"stride": 4, "groups": 3}], ids=str
)
def test_other_convolutions_stay_as_they_are(options: dict[str, int]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 24, 4, **options))  # type: ignore[arg-type]
    pack(model, torch.float32)
    assert type(model[0]) is nn.Conv2d


def test_what_has_no_kernels_stays_as_it_is() -> None:
    model = Both()
    pack(model, torch.float64)
    assert isinstance(model.attention, nn.MultiheadAttention)
    assert isinstance(model.after[0], nn.Linear)


def test_attention_between_two_sequences_is_not_packed() -> None:
    model = nn.ModuleList([nn.MultiheadAttention(64, 4, kdim=32, vdim=32, batch_first=True)])
    pack(model, torch.float32)
    assert isinstance(model[0], nn.MultiheadAttention)


@pytest.mark.parametrize("masked", [False, True])
@torch.inference_mode()
def test_short_sequences_in_bfloat16_attend_alike(masked: bool) -> None:
    q, k, v = torch.randn(3, 4, 2, 50, 16).bfloat16()
    mask = causal(50) if masked else None
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask, scale=1.0)
    assert cosine(attended(q, k, v, None if mask is None else mask.bfloat16()), exact) > 0.9999
