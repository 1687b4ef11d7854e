"""The image tower's network: EfficientNet (Tan & Le 2019) in the sizes of EfficientNet-Lite2, forward pass only.

The same as timm's `tf_efficientnet_lite2`, whose import takes four seconds, a third of a start.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from app.services.packed_convolutions import PackedConvolution
from app.services.packed_layers import has_kernels

STEM, FEATURES, CLASSES = 32, 1280, 1000
EXPANSION = 6  # of the channels inside a block; the first block has none
EPSILON = 1e-3  # of the batch norms
# Of bfloat16, the worst of 153 photos has a cosine similarity of 0.993 to its vector in float32, nearly all of it
# for the sake of these; with them in float32 it has 0.9995.
EXACT_BLOCKS = 2

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

    def __init__(
        self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, relu6: bool = True
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(before, after, kernel, stride, padding, groups=groups)
        self._relu6 = relu6
        self._packed: PackedConvolution | None = None

    def pack(self, dtype: torch.dtype) -> None:
        """From now on products are made in `dtype`, and the weights can be neither trained nor saved."""
        self._packed = PackedConvolution(self, dtype, relu6=self._relu6)
        self.weight = nn.Parameter(self.weight.new_empty(0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self._padded(x)
        if self._packed:
            return self._packed(x)
        products = super().forward(x)
        return F.relu6(products, inplace=True) if self._relu6 else products

    def _padded(self, x: Tensor) -> Tensor:
        if self.stride[0] == 1:
            return x
        missing = [(-(-size // 2) - 1) * 2 + self.kernel_size[0] - size for size in (x.shape[3], x.shape[2])]
        return F.pad(x, [*chain.from_iterable((total // 2, total - total // 2) for total in missing)])


class Block(nn.Module):
    """Channels are multiplied, mixed over the neighbourhood each for itself, and brought down to `after`."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        self.expand = Convolution(before, inside) if expansion > 1 else None
        self.depthwise = Convolution(inside, inside, kernel, stride, groups=inside)
        self.project = Convolution(inside, after, relu6=False)
        self.adds = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        inside = x if self.expand is None else self.expand(x)
        result = cast(Tensor, self.project(self.depthwise(inside)))
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

    def pack(self, dtype: torch.dtype) -> None:
        """From now on most products are made in `dtype`, on a CPU, and the model can be neither trained nor saved.

        Nothing is changed where oneDNN has no such kernels.
        """
        if not has_kernels(dtype):
            return
        exact = {self.stem, *self.blocks[:EXACT_BLOCKS].modules()}
        for layer in self.modules():
            if isinstance(layer, Convolution):
                layer.pack(torch.float32 if layer in exact else dtype)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, height, width) in −1..1 → pooled features (n, 1280), class logits (n, 1000), both float32."""
        pooled = self.head(self.blocks(self.stem(pixels))).mean((2, 3), dtype=torch.float32)
        return pooled, self.classifier(pooled)


def _blocks() -> Iterator[Block]:
    channels = [STEM, *(stage[-1] for stage in STAGES)]
    for (before, after), (count, kernel, stride, _) in zip(pairwise(channels), STAGES, strict=True):
        expansion = 1 if before == STEM else EXPANSION
        yield Block(before, after, kernel, stride, expansion)
        yield from (Block(after, after, kernel, 1, expansion) for _ in range(count - 1))
