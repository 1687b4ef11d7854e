"""Step 5: turn trained heads into the file that the service loads.

python -m training.export features/trained.safetensors embedded_heads_fp16.safetensors
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import typer
from safetensors.torch import load_file, save
from torch import Tensor

from app.services.embedded_encoder import Heads
from app.services.weight_files import file_sha256


def export(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names of embedded_encoder.Heads; matrices and vectors in float16, numbers in float32.

    The standardisation goes into the first layer: W ((x − m) / s) + b = (W / s) x + (b − (W / s) m).
    Raises: KeyError for a missing tensor; RuntimeError if one does not fit Heads.
    """
    weight = trained["fc1.weight"] / trained["deviation"]
    folded = {name: tensor for name, tensor in trained.items() if name not in ("mean", "deviation")}
    folded["fc1.weight"] = weight
    folded["fc1.bias"] = trained["fc1.bias"] - weight @ trained["mean"]
    Heads().load_state_dict(folded)
    return {name: tensor.to(torch.float16) if tensor.ndim else tensor for name, tensor in folded.items()}


def main(trained: Path, out: Path) -> None:
    """Write the heads of TRAINED to OUT in the service's form, and print the SHA-256 to pin."""
    out.write_bytes(save(export(load_file(trained))))
    print(f"{file_sha256(out)}  {out.name}")


if __name__ == "__main__":
    typer.run(main)
