"""The image tower's network: EfficientNet (Tan & Le 2019) in the sizes of EfficientNet-Lite2, forward pass only.

The same as timm's `tf_efficientnet_lite2`, whose import takes four seconds, a third of a start.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

STEM, FEATURES, CLASSES = 32, 1280, 1000
EXPANSION = 6  # of the channels inside a block; the first block has none
EPSILON = 1e-3  # of the batch norms

# Blocks, kernel, stride of the first block, and channels of each stage.
STAGES = (
    (1, 3, 1, 16),
    (3, 3, 2, 24),
    (3, 5, 2, 48),
    (4, 3, 2, 88),
    (4, 5, 1, 120),
    (5, 5, 2, 208),
    (1, 3, 1, 352),
)


class Convolution(nn.Conv2d):
    """A convolution with the batch norm after it. With stride 2 it pads as TensorFlow does, more at the end."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(before, after, kernel, stride, padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            missing = [(-(-size // 2) - 1) * 2 + self.kernel_size[0] - size for size in (x.shape[3], x.shape[2])]
            x = F.pad(x, [*chain.from_iterable((total // 2, total - total // 2) for total in missing)])
        return super().forward(x)


class Block(nn.Module):
    """Channels are multiplied, mixed over the neighbourhood each for itself, and brought down to `after`."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        self.expand = Convolution(before, inside) if expansion > 1 else None
        self.depthwise = Convolution(inside, inside, kernel, stride, groups=inside)
        self.project = Convolution(inside, after)
        self.adds = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        inside = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        result = cast(Tensor, self.project(F.relu6(self.depthwise(inside), inplace=True)))
        return result.add_(x) if self.adds else result


class EfficientNetLite2(nn.Module):
    """Pictures to pooled features and class logits; made from the published tensors by `of`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, stride=2)
        self.blocks = nn.Sequential(*_blocks())
        self.head = Convolution(STAGES[-1][-1], FEATURES)
        self.classifier = nn.Linear(FEATURES, CLASSES)

    @classmethod
    def of(cls, published: Mapping[str, Tensor]) -> "EfficientNetLite2":
        """From the tensors in the order of the layers. Raises: ValueError, RuntimeError (they do not fit)."""
        model = cls()
        tensors = iter(published.values())
        for layer in model.modules():
            if isinstance(layer, Convolution):
                weight, scale, shift, mean, variance, _ = (next(tensors) for _ in range(6))
                weight, bias = fuse_conv_bn_weights(weight, None, mean, variance, EPSILON, scale, shift)
                layer.load_state_dict({"weight": weight, "bias": bias})
        model.classifier.load_state_dict(dict(zip(("weight", "bias"), tensors, strict=True)))
        return model.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, height, width) in −1..1 → pooled features (n, 1280), class logits (n, 1000)."""
        x = self.blocks(F.relu6(self.stem(pixels), inplace=True))
        pooled = F.relu6(self.head(x), inplace=True).mean((2, 3))
        return pooled, self.classifier(pooled)


def _blocks() -> Iterator[Block]:
    channels = [STEM, *(stage[-1] for stage in STAGES)]
    for (before, after), (count, kernel, stride, _) in zip(pairwise(channels), STAGES, strict=True):
        expansion = 1 if before == STEM else EXPANSION
        yield Block(before, after, kernel, stride, expansion)
        yield from (Block(after, after, kernel, 1, expansion) for _ in range(count - 1))
