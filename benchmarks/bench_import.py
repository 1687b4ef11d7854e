"""How near does an import come to what the encoder alone could do, and what does a large photo cost?

The limit is the same encoder, in the same process, given decoded pictures in full batches. Everything else of an
import (reading, decoding, tags, thumbnails, fsync, SQLite, the index) hides behind it where there is a core to
spare; where the encoder takes all cores, that work is added to its own, and counts the less the dearer the model
is. So there are several: the embedded one, and CLIP ViT-B/32 with random weights, which cost the same time.
Run: python -m benchmarks.bench_import [number of photos]
"""

import io
import logging
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.dependencies import build_services
from app.flows.services import Services
from app.flows.source_import import Ended, Options, SourceImport
from app.flows.warm_up import warm_up
from app.services.inference_thread import available_cores
from app.services.precision import image_dtype
from app.settings import Settings
from benchmarks import results

PHOTOS = Path(__file__).parent.parent / "app" / "samples"
ROUNDS = 3
WORKERS = 32
LARGE = (4000, 3000)  # 12 megapixels

Rates = list[tuple[float, float]]  # photos a second: of an import, and of the encoder alone


def main(count: int) -> None:
    """Print a table, and write results/import.json."""
    logging.disable(logging.WARNING)
    found: dict[str, dict[str, float]] = {}
    large: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, settings) in enumerate(models(Path(folder)).items()):
            place = Path(folder) / str(number)
            place.mkdir()
            services = started(place, settings)
            rates, busy = measure_rates(services, place, count)
            large = large or measure_large(services)
            services.close()
            found[name] = report(rates, busy)
            print(
                f"{name:24} import {found[name]['import']:5.1f} photos/s, encoder alone "
                f"{found[name]['encoder']:5.1f}: {found[name]['share']:.0%}; {busy:.0%} of the cores are busy",
                flush=True,
            )
    print(f"12 megapixels: decode {large['decode_ms']:.0f} ms (whole: {large['whole_ms']:.0f} ms), ", end="")
    print(f"encode {large['encode_ms']:.0f} ms")
    results.write("import", {"models": found, "large": large}, ["torch", "pillow", "open-clip-torch"])


def models(folder: Path) -> dict[str, dict[str, str]]:
    """Settings by name: each model in the number type of this processor, and in float32."""
    named = {"embedded": "embedded", "CLIP ViT-B/32": f"ViT-B-32/{random_clip(folder / 'clip.safetensors')}"}
    best = str(image_dtype("auto", "cpu")).removeprefix("torch.")
    return {
        f"{name} {precision}": {"model": model, "precision": precision}
        for name, model in named.items()
        for precision in dict.fromkeys([best, "float32"])
    }


def random_clip(path: Path) -> Path:
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = open_clip.create_model("ViT-B-32").state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def started(folder: Path, settings: Mapping[str, str]) -> Services:
    """Services that answer, without voice."""
    place = {"database_url": f"sqlite:///{folder}/recollect.db", "uploads_dir": folder}
    services = build_services(Settings.model_validate({**place, **settings}), voice=False)
    warm_up(services)
    services.serving.switch(services)
    return services


def report(rates: Rates, busy: float) -> dict[str, float]:
    """Medians: photos a second, and the share of the encoder's rate that an import reaches."""
    return {
        "import": statistics.median(done for done, _ in rates),
        "encoder": statistics.median(limit for _, limit in rates),
        "share": statistics.median(done / limit for done, limit in rates),
        "busy": busy,
    }


def measure_rates(services: Services, folder: Path, count: int) -> tuple[Rates, float]:
    """Photos a second, of an import and of the encoder alone, measured in turn; and the share of the cores that
    imports keep busy: where it is near 1, only less work could make them faster, not less waiting."""
    images = [services.decode(path.read_bytes()).image for path in sorted(PHOTOS.glob("*.jpg"))]
    rates, busy = [], []
    for number in range(ROUNDS):
        limit = len(images) * 4 / seconds(lambda: [services.encoder.encode_images(images) for _ in range(4)])
        source = folder / f"round {number}"
        write_photos(source, count, seed=number)
        before = time.process_time()
        took = seconds(lambda s=source: run_import(services, s))  # type: ignore[misc]
        rates.append((count / took, limit))
        busy.append((time.process_time() - before) / took / available_cores())
    return rates, statistics.median(busy)


def run_import(services: Services, source: Path) -> None:
    """Every photo of the folder; each must be new."""
    tally = Tally()
    SourceImport(services, source, Options(concurrency=WORKERS), tally).run(threading.Event())
    assert tally.statuses == {"ready"}, "a photo was not imported"


class Tally:
    """Which states entries ended in."""

    def __init__(self) -> None:
        self.statuses: set[str] = set()

    def found(self, count: int) -> None:
        """Nothing is counted."""

    def ended(self, entry: Ended) -> None:
        self.statuses.add(entry.status)


def write_photos(folder: Path, count: int, seed: int) -> None:
    """The test photos over and over, made different by a comment behind the picture."""
    folder.mkdir()
    originals = sorted(PHOTOS.glob("*.jpg"))
    for i in range(count):
        data = originals[i % len(originals)].read_bytes() + f"{seed} {i}".encode()
        (folder / f"{i}.jpg").write_bytes(data)


def measure_large(services: Services) -> dict[str, float]:
    """ms to decode and to encode a photo of 12 megapixels; median of five."""
    data = large_photo()
    image = services.decode(data).image
    return {
        "decode_ms": 1000 * statistics.median(seconds(lambda: services.decode(data)) for _ in range(5)),
        "whole_ms": 1000 * statistics.median(seconds(lambda: services.decoder.decode(data)) for _ in range(5)),
        "encode_ms": 1000
        * statistics.median(seconds(lambda: services.encoder.encode_images([image])) for _ in range(5)),
    }


def large_photo() -> bytes:
    """A test photo, scaled up, with the noise of a sensor."""
    with Image.open(next(iter(sorted(PHOTOS.glob("*.jpg"))))) as file:
        pixels = np.asarray(file.convert("RGB").resize(LARGE, Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
