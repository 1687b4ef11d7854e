"""The text tower's network: BERT (Devlin et al. 2018) in the sizes of all-MiniLM-L6-v2, forward pass only.

One text takes two thirds of its time in transformers' BertModel, which looks after cases that are none here; and
importing that library takes seconds.
"""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIM, HEADS, LAYERS, INTERMEDIATE = 384, 12, 6, 1536
VOCABULARY, POSITIONS, SEGMENTS = 30522, 512, 2
EPSILON = 1e-12  # of the layer norms

# Our name of a layer's part, and the published ones that it is made of.
_PARTS = {
    "qkv": tuple(f"attention.self.{name}" for name in ("query", "key", "value")),
    "attended": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
    "norm": ("output.LayerNorm",),
}


class Layer(nn.Module):
    """Self-attention, then two dense layers; each adds to its input, and is normalised after that."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.attended = nn.Linear(DIM, DIM)
        self.attention_norm = nn.LayerNorm(DIM, EPSILON)
        self.up = nn.Linear(DIM, INTERMEDIATE)
        self.down = nn.Linear(INTERMEDIATE, DIM)
        self.norm = nn.LayerNorm(DIM, EPSILON)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """(n, tokens, 384) → the same; `real` (n, 1, 1, tokens) is False at padding."""
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=real)
        x = self.attention_norm(x + self.attended(mixed.transpose(1, 2).reshape(n, tokens, DIM)))
        return cast(Tensor, self.norm(x + self.down(F.gelu(self.up(x)))))


class MiniLM(nn.Module):
    """Token ids to hidden states; made from the published tensors by `MiniLM.of`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, DIM)
        self.positions = nn.Embedding(POSITIONS, DIM)
        self.segments = nn.Embedding(SEGMENTS, DIM)
        self.norm = nn.LayerNorm(DIM, EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    @classmethod
    def of(cls, published: Mapping[str, Tensor]) -> "MiniLM":
        """Raises: KeyError (a tensor is missing), RuntimeError (a shape is wrong)."""
        model = cls()
        model.load_state_dict(_renamed(published), assign=True)
        return model.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, tokens) ids, and mask of 1 for tokens and 0 for padding → (n, tokens, 384)."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]] + self.segments.weight[0]
        x = self.norm(x)
        real = None if bool(mask.all()) else mask.bool()[:, None, None, :]
        for layer in self.layers:
            x = layer(x, real)
        return cast(Tensor, x)


def _renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under the names of MiniLM; query, key and value become one matrix."""
    tables = {"words": "word", "positions": "position", "segments": "token_type"}
    own = {
        f"{ours}.weight": published[f"embeddings.{theirs}_embeddings.weight"] for ours, theirs in tables.items()
    }
    for kind in ("weight", "bias"):
        own[f"norm.{kind}"] = published[f"embeddings.LayerNorm.{kind}"]
        for number in range(LAYERS):
            for ours, theirs in _PARTS.items():
                parts = [published[f"encoder.layer.{number}.{name}.{kind}"] for name in theirs]
                own[f"layers.{number}.{ours}.{kind}"] = torch.cat(parts)
    return own
