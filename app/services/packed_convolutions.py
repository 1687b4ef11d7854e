"""Convolutions whose weights lie as oneDNN's kernels read them, and which end with the clamp that follows them.

PyTorch arranges the weights anew in every call, and clamps in a pass of its own over the results, which by then
have left the processor's cache. benchmarks/bench_encode.py
"""

from typing import Any

import torch
from torch import Tensor, nn

BATCH = 8  # whose layout suits every batch; a lone picture is half as fast with it, and has its own


class PackedConvolution:
    """The products of an nn.Conv2d in `dtype`, (n, in, h, w) → (n, out, h', w') in `dtype`, channels last.

    With relu6 they are kept within 0..6. Only where oneDNN has kernels: see packed_layers.has_kernels.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype, *, relu6: bool) -> None:
        self._dtype = dtype
        self._weight = layer.weight.detach().to(dtype)
        # Not in `dtype`: rounding the biases would cost more than rounding all the weights.
        self._bias = None if layer.bias is None else layer.bias.detach()
        self._how: tuple[Any, ...] = layer.padding, layer.stride, layer.dilation, layer.groups
        self._after: tuple[str, list[float], str] = ("hardtanh", [0.0, 6.0], "") if relu6 else ("none", [], "")
        self._arranged: dict[tuple[int, ...], Tensor] = {}  # by OpenMP threads and the shape of what comes in

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        made: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._arranged_for(x), self._bias, *self._how, *self._after
        )
        return made

    def _arranged_for(self, x: Tensor) -> Tensor:
        """As oneDNN wants them for so many pictures and threads: with another layout it takes twice as long."""
        shape = (1 if len(x) == 1 else BATCH, *x.shape[1:])
        key = (torch.get_num_threads(), *shape)
        if key not in self._arranged:
            self._arranged[key] = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, *self._how, list(shape)
            )
        return self._arranged[key]
