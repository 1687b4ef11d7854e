"""What would it cost to decode ordinary pictures in a process of their own, as JPEG XL and RAW are?

Sample photos as a phone would send them, JPEG of 2 and 12 megapixels and PNG of 2, decoded to the size that the
encoder asks for, here and in another process that gets the file and sends the pixels back. Both ways take turns.

    python -m benchmarks.bench_isolation
"""

import io
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from PIL import Image

from app.flows.services import OVERSAMPLING
from app.services.decode import decode_image, set_up_pillow
from app.services.embedded_encoder import EmbeddedEncoder
from benchmarks import results

SAMPLES = Path(__file__).parent.parent / "app" / "samples"
MAX_PIXELS = 50_000_000
ROUNDS = 15
CASES = {"2 MP JPEG": (1600, 1200, "JPEG"), "12 MP JPEG": (4000, 3000, "JPEG"), "2 MP PNG": (1600, 1200, "PNG")}

Decode = Callable[[bytes], Image.Image]


def main() -> None:
    """Print a table, and write results/isolation.json."""
    set_up_pillow(MAX_PIXELS)
    at_least = OVERSAMPLING * EmbeddedEncoder.image_size
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, at_least), daemon=True)
    process.start()
    ways: dict[str, Decode] = {
        "here": lambda data: decode_image(data, MAX_PIXELS, at_least).image,
        "elsewhere": lambda data: ask(ours, data),
    }
    found = {case: compared(ways, picture(*shape)) for case, shape in CASES.items()}
    assert process.pid is not None
    memory_mb = psutil.Process(process.pid).memory_info().rss / 2**20
    process.kill()
    for case, ms in found.items():
        ratio = ms["elsewhere"] / ms["here"]
        print(f"{case:10}  here {ms['here']:6.1f} ms, elsewhere {ms['elsewhere']:6.1f} ms, {ratio:.2f} times")
    print(f"each such process takes {memory_mb:.0f} MB")
    results.write("isolation", {"ms": found, "process_mb": memory_mb}, ["pillow"])


def picture(width: int, height: int, kind: str) -> bytes:
    """A sample photo, enlarged."""
    with Image.open(next(SAMPLES.glob("*.jpg"))) as photo, io.BytesIO() as file:
        photo.resize((width, height), Image.Resampling.BICUBIC).save(file, kind)
        return file.getvalue()


def compared(ways: dict[str, Decode], data: bytes) -> dict[str, float]:
    """Median ms of each way; they must give the same picture."""
    pictures = {way: decode(data).tobytes() for way, decode in ways.items()}
    assert pictures["here"] == pictures["elsewhere"]
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, decode in ways.items():
            started = time.perf_counter()
            decode(data)
            times[way].append(1000 * (time.perf_counter() - started))
    return {way: statistics.median(taken) for way, taken in times.items()}


def ask(line: Connection, data: bytes) -> Image.Image:
    """As bytes: nothing that comes from the other process is unpickled."""
    line.send_bytes(data)
    width, height = (int(side) for side in line.recv_bytes().split())
    return Image.frombytes("RGB", (width, height), line.recv_bytes())


def serve(line: Connection, at_least: int) -> None:
    set_up_pillow(MAX_PIXELS)
    while True:
        image = decode_image(line.recv_bytes(), MAX_PIXELS, at_least).image
        line.send_bytes(f"{image.width} {image.height}".encode())
        line.send_bytes(image.tobytes())


if __name__ == "__main__":
    main()
