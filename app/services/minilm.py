"""The text tower's network: BERT (Devlin et al. 2018) in the sizes of all-MiniLM-L6-v2, forward pass only.

One text takes two thirds of its time in transformers' BertModel, which looks after cases that are none here; and
importing that library takes seconds. PyTorch's own layer is one call into C++ where nothing is trained: beside
busy threads a text takes a quarter of the time that it takes when each operation waits for Python's lock.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

DIM, HEADS, LAYERS, INTERMEDIATE = 384, 12, 6, 1536
VOCABULARY, POSITIONS, SEGMENTS = 30522, 512, 2
EPSILON = 1e-12  # of the layer norms

# Our name of a layer's part, and the published ones that it is made of.
_PARTS = {
    "self_attn.in_proj_": tuple(f"attention.self.{name}" for name in ("query", "key", "value")),
    "self_attn.out_proj.": ("attention.output.dense",),
    "norm1.": ("attention.output.LayerNorm",),
    "linear1.": ("intermediate.dense",),
    "linear2.": ("output.dense",),
    "norm2.": ("output.LayerNorm",),
}


class MiniLM(nn.Module):
    """Token ids to hidden states; made from the published tensors by `MiniLM.of`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, DIM)
        self.positions = nn.Embedding(POSITIONS, DIM)
        self.segments = nn.Embedding(SEGMENTS, DIM)
        self.norm = nn.LayerNorm(DIM, EPSILON)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                DIM, HEADS, INTERMEDIATE, activation="gelu", layer_norm_eps=EPSILON, batch_first=True
            )
            for _ in range(LAYERS)
        )

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
        padding = None if bool(mask.all()) else mask == 0
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
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
                own[f"layers.{number}.{ours}{kind}"] = torch.cat(parts)
    return own
