"""Dense layers whose weights lie as oneDNN's kernels read them.

PyTorch hands its kernels plain matrices, which they arrange anew in every call: for a lone picture or text, whose
few rows are little work, this costs about as much as the products. Here it is done once. benchmarks/bench_clip.py
"""

import platform
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 64  # for which oneDNN chooses the layout; the products are right, and fast, for any number
_SHORT = 64  # tokens


def pack(model: nn.Module, dtype: torch.dtype) -> None:
    """Every dense layer, self-attention and cut into patches inside `model`, in place.

    Their products are in `dtype` from then on; what comes in and goes out keeps its own type. The model can run,
    but neither trained nor saved after that. Nothing is changed where oneDNN has no such kernels.
    """
    if not has_kernels(dtype):
        return
    for parent, name, layer in list(_layers(model)):
        if type(layer) is nn.Linear and layer.weight.device.type == "cpu":
            gelu = _gelu_after(parent, name)
            if gelu:
                setattr(parent, gelu, nn.Identity())
            setattr(parent, name, PackedLinear(layer.weight, layer.bias, dtype, gelu=bool(gelu)))
        elif type(layer) is nn.Conv2d and _cuts_patches(layer):
            setattr(parent, name, PackedPatches(layer, dtype))
        elif isinstance(layer, nn.MultiheadAttention) and _of_itself(layer):
            setattr(parent, name, PackedAttention(layer, dtype))


class PackedLinear(nn.Linear):
    """Weights (out, in) and a bias (out) or none: (…, in) → (…, out); an nn.Linear to those who ask.

    With `gelu` that function of the products, made while they are still in the processor's cache.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, gelu: bool = False) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype), _ROWS)
        self._bias, self._dtype = None if bias is None else bias.detach().to(dtype), dtype
        self._after: tuple[str, list[float], str] = ("gelu", [], "none") if gelu else ("none", [], "")
        self.weight = nn.Parameter(
            weight.new_empty(0, dtype=dtype), requires_grad=False
        )  # models ask for its type

    def forward(self, x: Tensor) -> Tensor:
        product = torch.ops.mkldnn._linear_pointwise(x.to(self._dtype), self._packed, self._bias, *self._after)
        return cast(Tensor, product.to(x.dtype))

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self._dtype}"


class PackedPatches(nn.Module):
    """A convolution whose steps are as wide as its kernel, (n, in, h, w) → (n, out, h / side, w / side).

    It is a dense layer of each patch, and as such takes a third of the time.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.high, self.wide = cast(tuple[int, int], layer.kernel_size)
        self.dense = PackedLinear(layer.weight.flatten(1), layer.bias, dtype)
        self.weight = self.dense.weight  # models ask for its type

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        rows, columns = height // self.high, width // self.wide
        cut = x[:, :, : rows * self.high, : columns * self.wide]  # as a convolution leaves out what is left over
        patches = cut.reshape(n, channels, rows, self.high, columns, self.wide).permute(0, 2, 4, 1, 3, 5)
        made: Tensor = self.dense(patches.reshape(n, rows * columns, -1))
        return made.transpose(1, 2).reshape(n, -1, rows, columns)


class PackedAttention(nn.Module):
    """nn.MultiheadAttention of a sequence with itself, (n, tokens, dim) → the same."""

    def __init__(self, layer: nn.MultiheadAttention, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads, self.dtype = layer.num_heads, dtype
        self.qkv = PackedLinear(
            _query_scaled(cast(Tensor, layer.in_proj_weight), layer.num_heads),
            None if layer.in_proj_bias is None else _query_scaled(layer.in_proj_bias, layer.num_heads),
            dtype,
        )
        self.mixed = PackedLinear(layer.out_proj.weight, layer.out_proj.bias, dtype)

    def forward(self, x: Tensor, *_: Tensor, attn_mask: Tensor | None = None, **__: Any) -> tuple[Tensor, None]:
        """As the original's: query, key and value, all of which are `x`; its answer, and no weights."""
        n, tokens, dim = x.shape
        shape = n, tokens, 3, self.heads, dim // self.heads
        q, k, v = self.qkv(x.to(self.dtype)).view(shape).permute(2, 0, 3, 1, 4)
        mixed = attended(q, k, v, None if attn_mask is None else attn_mask.to(self.dtype))
        return self.mixed(mixed.transpose(1, 2).reshape(n, tokens, dim)).to(x.dtype), None


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q kᵀ + mask) v of (n, heads, tokens, size), as scaled_dot_product_attention with a scale of 1.

    For batches of short sequences in bfloat16 that takes twice as long as its parts one by one (torch 2.15, AMX).
    """
    n, _, tokens, _ = q.shape
    if q.dtype is not torch.bfloat16 or n == 1 or tokens > _SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    scores = q @ k.transpose(-1, -2)
    if mask is not None:
        scores += mask
    return scores.softmax(dim=-1) @ v


def _query_scaled(joined: Tensor, heads: int) -> Tensor:
    """The joined projections, (3 · dim, …), with 1 / √size in those of the query; exact in bfloat16 for 64."""
    dim = len(joined) // 3
    return torch.cat([joined[:dim] * (dim // heads) ** -0.5, joined[dim:]])


def has_kernels(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there, and multiplies this type."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch._C._has_mkldnn:
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each module inside, with its parent and its name there; what is inside an attention belongs to that."""
    for name, child in model.named_children():
        yield model, name, child
        if not isinstance(child, nn.MultiheadAttention):
            yield from _layers(child)


def _cuts_patches(layer: nn.Conv2d) -> bool:
    whole = layer.stride == layer.kernel_size and layer.padding == (0, 0) and layer.dilation == (1, 1)
    return whole and layer.groups == 1 and layer.weight.device.type == "cpu"


def _gelu_after(parent: nn.Module, name: str) -> str | None:
    """The name of the exact GELU that follows a layer of a sequence; other activations have no such kernel."""
    if isinstance(parent, nn.Sequential):
        # Not named_children(), which leaves out a layer that stands there twice.
        for (one, _), (following, layer) in pairwise(parent._modules.items()):
            if one == name and type(layer) is nn.GELU and layer.approximate == "none":
                return following
    return None


def _of_itself(layer: nn.MultiheadAttention) -> bool:
    """Query, key and value come from one matrix, and sequences are the second dimension."""
    return layer.in_proj_weight is not None and layer.batch_first and layer.in_proj_weight.device.type == "cpu"
