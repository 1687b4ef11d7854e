"""How fast is CLIP ViT-B/32 here, beside transformers' CLIPModel and ONNX Runtime?

All have random weights of the same architecture, which cost the same time as trained ones. Each case runs in a
process of its own (ONNX Runtime's threads spin on after a call), in turn, several times; the figure is the median.
Peers that are not installed (onnx, onnxruntime) are reported as missing. Run: python -m benchmarks.bench_clip
"""

import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.services.allocator import keep_large_blocks
from app.services.clip_encoder import encode_tokens
from app.services.inference_thread import available_cores
from app.services.packed_layers import pack
from app.services.precision import image_dtype
from benchmarks import results

PACKAGES = ("torch", "open-clip-torch", "transformers", "onnxruntime")
ROUNDS = 3
BATCHES = (1, 16, 64)
QUERIES = [f"a dog in the snow beside {number} trees" for number in range(max(BATCHES))]

Forward = Callable[[torch.Tensor], object]
Towers = tuple[Forward, Forward]  # of pictures (n, 3, 224, 224) and of tokens (n, 77)


def main() -> None:
    """Print a table, and write results/clip.json."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, found in runs.items():
            command = [sys.executable, "-m", "benchmarks.bench_clip", name]
            found.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    medians = {
        name: {kind: statistics.median(run[kind] for run in found) for kind in found[0]}
        for name, found in runs.items()
        if found[0]
    }
    print("".join(f"{name}: missing\n" for name in runs if name not in medians), end="")
    print(f"{'ms each':24}" + "".join(f"{kind:>12}" for kind in medians["ours"]))
    for name, ms in medians.items():
        print(f"{name:24}" + "".join(f"{value:12.1f}" for value in ms.values()))
    gain = {kind: medians["transformers float32"][kind] / medians["ours"][kind] for kind in medians["ours"]}
    print(f"{'ours, times as fast':24}" + "".join(f"{value:11.2f}×" for value in gain.values()))
    results.write("clip", {"median_ms": medians, "gain": gain}, PACKAGES)


def measure(case: str) -> dict[str, float]:
    """ms for one picture or text, by kind and batch; empty if the peer is not installed."""
    import open_clip

    warnings.simplefilter("ignore")
    keep_large_blocks()
    torch.set_num_threads(available_cores())
    try:
        pictures, texts = CASES[case]()
    except ImportError:
        return {}
    pixels, tokens = torch.randn(max(BATCHES), 3, 224, 224), open_clip.get_tokenizer("ViT-B-32")(QUERIES)
    with torch.inference_mode():
        return {
            f"{kind} ×{batch}": _ms(forward, inputs[:batch]) / batch
            for kind, forward, inputs in (("picture", pictures, pixels), ("text", texts, tokens))
            for batch in BATCHES
        }


def ours() -> Towers:
    """As app/services/clip_encoder.py calls open_clip."""
    import open_clip

    model: Any = open_clip.create_model("ViT-B-32").eval()
    dtype = image_dtype("auto", "cpu")
    model.visual.to(dtype)
    pack(model, dtype)
    return (lambda pixels: model.encode_image(pixels.to(dtype))), (lambda tokens: encode_tokens(model, tokens))


def transformers_clip() -> Towers:
    from transformers import CLIPConfig, CLIPModel

    model: Any = CLIPModel(CLIPConfig()).eval()
    return (
        lambda pixels: model.get_image_features(pixel_values=pixels),
        lambda tokens: model.get_text_features(input_ids=tokens),
    )


def onnx_runtime() -> Towers:
    """open_clip's model, exported. Raises: ImportError."""
    with tempfile.TemporaryDirectory() as folder:
        visual, text = export(Path(folder))
        return _runner(visual), _runner(text)


def onnx_runtime_int8() -> Towers:
    """The same with int8 weights, quantized dynamically. Raises: ImportError."""
    quantization = importlib.import_module("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        small = []
        for path in export(Path(folder)):
            small.append(path.with_suffix(".int8.onnx"))
            quantization.quantize_dynamic(path, small[-1], weight_type=quantization.QuantType.QInt8)
        return _runner(small[0]), _runner(small[1])


CASES: dict[str, Callable[[], Towers]] = {
    "ours": ours,
    "transformers float32": transformers_clip,
    "ONNX Runtime float32": onnx_runtime,
    "ONNX Runtime int8": onnx_runtime_int8,
}


def export(folder: Path) -> tuple[Path, Path]:
    """ONNX files of the picture and the text tower, for any number of inputs."""
    import open_clip

    class Text(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.model.encode_text(tokens)
            return features

    model: Any = open_clip.create_model("ViT-B-32").eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")(QUERIES[:2])
    visual, text = folder / "visual.onnx", folder / "text.onnx"
    for path, module, example in (
        (visual, model.visual, torch.randn(2, 3, 224, 224)),
        (text, Text(model), tokens),
    ):
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
    return visual, text


def _runner(path: Path) -> Forward:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    model = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: torch.Tensor) -> object:
        return model.run(None, {"x": np.ascontiguousarray(inputs.numpy())})

    return run


def _ms(forward: Forward, inputs: torch.Tensor) -> float:
    """The median of seven calls, after two that warm up."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        forward(inputs)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[2:])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
