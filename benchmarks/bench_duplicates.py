"""Are copies of a photo found, and different photos never taken for copies? How long does it take among 100,000?

Every photo is changed in the ways that copies differ, then compared with its original by the rules of the service;
then different photos with each other, and pictures that look nearly alike: shots of a burst, plain and near-plain
pictures, pages of text, screenshots.
Run: python -m benchmarks.bench_duplicates [folder of photos]
"""

import io
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from app.flows.duplicates import RULES, hash_distance, is_near
from app.schemas import DuplicateKind
from app.services.decode import decode_image, set_up_pillow
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import Vectors
from app.services.looks import PLAIN, look_of
from app.services.near_hashes import HashNeighbours
from benchmarks import results

FOLDER = Path(__file__).parent.parent / "app" / "samples"
MAX_PIXELS = 50_000_000
LIBRARY = 100_000
BATCH = 16
SAME, ALIKE = DuplicateKind.SAME_PICTURE, DuplicateKind.LOOK_ALIKE

Edges = tuple[float, float, float, float]  # left, top, right, bottom, as shares of the side


class Seen(NamedTuple):
    """What the service keeps of a picture."""

    phash: int
    vector: Vectors


def main(folder: Path) -> None:
    """Print tables, and write results/duplicates.json."""
    set_up_pillow(MAX_PIXELS)
    encoder = EmbeddedEncoder("cpu")
    photos = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))]
    originals = look_at(encoder, [picture_bytes(photo, quality=95) for photo in photos])
    copies = {
        name: recall(originals, look_at(encoder, [change(photo) for photo in photos]), SAME)
        for name, change in COPIES.items()
    }
    bursts = {}
    for name, (first, second) in BURSTS.items():
        one, other = (look_at(encoder, [window(photo, edges) for photo in photos]) for edges in (first, second))
        bursts[name] = {kind.value: recall(one, other, kind) for kind in (SAME, ALIKE)}
    different = {"photos": false_pairs(originals)}
    different |= {name: false_pairs(look_at(encoder, pictures)) for name, pictures in near_plain(photos).items()}
    speed = {kind.value: seconds_among(LIBRARY, kind) for kind in (SAME, ALIKE)}
    cost_ms = cost_of_a_look(photos[0].resize((694, 520)))
    show(copies, bursts, different, speed, cost_ms)
    found = {"photos": len(photos), "copies": copies, "bursts": bursts, "different": different}
    results.write(
        "duplicates", found | {"seconds": speed, "look_ms": cost_ms}, ["imagehash", "scipy", "numba", "pillow"]
    )


def picture_bytes(image: Image.Image, kind: str = "JPEG", quality: int = 75) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


def window(photo: Image.Image, edges: Edges) -> bytes:
    """The photo without its edges."""
    (left, top, right, bottom), (width, height) = edges, photo.size
    box = (int(width * left), int(height * top), int(width * (1 - right)), int(height * (1 - bottom)))
    return picture_bytes(photo.crop(box), quality=90)


def scaled(photo: Image.Image, factor: float) -> bytes:
    return picture_bytes(ImageOps.scale(photo, factor, Image.Resampling.LANCZOS), quality=85)


def bordered(photo: Image.Image) -> bytes:
    return picture_bytes(ImageOps.expand(photo, int(0.03 * photo.width), "white"), quality=90)


def brightened(photo: Image.Image, factor: float) -> bytes:
    return picture_bytes(ImageEnhance.Brightness(photo).enhance(factor), quality=90)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "50 %": lambda photo: scaled(photo, 0.5),
    "25 % (64 px)": lambda photo: scaled(photo, 0.25),
    "JPEG q 40": lambda photo: picture_bytes(photo, quality=40),
    "JPEG q 10": lambda photo: picture_bytes(photo, quality=10),
    "WebP": lambda photo: picture_bytes(photo, "WEBP", quality=60),
    "PNG": lambda photo: picture_bytes(photo, "PNG"),
    "lighter 10 %": lambda photo: brightened(photo, 1.1),
    "darker 10 %": lambda photo: brightened(photo, 0.9),
    "grey": lambda photo: picture_bytes(ImageOps.grayscale(photo), quality=90),
    "cropped 3 %": lambda photo: window(photo, (0.015, 0.015, 0.015, 0.015)),
    "cropped 6 %": lambda photo: window(photo, (0.03, 0.03, 0.03, 0.03)),
    "white border 3 %": bordered,
}
BURSTS: dict[str, tuple[Edges, Edges]] = {
    "moved 3 % both ways": ((0, 0, 0.06, 0.06), (0.03, 0.03, 0.03, 0.03)),
    "moved 6 %": ((0, 0, 0.06, 0), (0.06, 0, 0, 0)),
    "zoomed 10 %": ((0, 0, 0, 0), (0.05, 0.05, 0.05, 0.05)),
}


def near_plain(photos: list[Image.Image]) -> dict[str, list[bytes]]:
    """Different pictures with little in them."""
    rng = np.random.default_rng(0)
    words = (FOLDER / "captions.csv").read_text().split()
    plain = [Image.new("RGB", (800, 600), colour) for colour in ("white", "black", "gray", "skyblue", "ivory")]
    ends = rng.uniform(40, 240, (8, 2))
    slopes = [np.linspace(top, low, 600)[:, None] + rng.normal(0, 2, (600, 800)) for top, low in ends]
    skies = [photo.crop((0, 0, photo.width, photo.height // 5)).resize((1200, 800)) for photo in photos]
    return {
        "plain": [picture_bytes(each) for each in plain],
        "gradients": [picture_bytes(Image.fromarray(slope.clip(0, 255).astype(np.uint8))) for slope in slopes],
        "uppermost fifths": [picture_bytes(sky) for sky in skies],
        "pages of 30 lines": [page(words, rng, 30) for _ in range(12)],
        "pages of 4 lines": [page(words, rng, 4) for _ in range(12)],
        "screenshots of lists": [screenshot(words, rng) for _ in range(12)],
    }


def page(words: list[str], rng: np.random.Generator, lines: int) -> bytes:
    image = Image.new("RGB", (1240, 1754), "white")
    for line in range(lines):
        write(image, (100, 120 + 50 * line), rng.choice(words, 9))
    return picture_bytes(image, "PNG")


def screenshot(words: list[str], rng: np.random.Generator) -> bytes:
    """The same app every time, with other words."""
    image = Image.new("RGB", (1080, 1920), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 1080, 220), fill="#075e54")
    for entry in range(10):
        top = 260 + 145 * entry
        draw.ellipse((40, top, 150, top + 110), fill=("brown", "green", "navy", "gold", "teal")[entry % 5])
        write(image, (190, top + 10), rng.choice(words, 3))
        write(image, (190, top + 60), rng.choice(words, 6))
    return picture_bytes(image, "PNG")


def write(image: Image.Image, place: tuple[int, int], words: Iterable[str]) -> None:
    ImageDraw.Draw(image).text(place, " ".join(words), fill="black", font=ImageFont.load_default(28))


def look_at(encoder: EmbeddedEncoder, files: list[bytes]) -> list[Seen]:
    images = [decode_image(data, MAX_PIXELS, 2 * encoder.image_size).image for data in files]
    vectors = np.concatenate([encoder.encode_images(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])
    return [Seen(look_of(image).phash, vector) for image, vector in zip(images, vectors, strict=True)]


def taken_for(kind: DuplicateKind, one: Seen, other: Seen) -> bool:
    if PLAIN in (one.phash, other.phash):
        return False
    return is_near(kind, hash_distance(one.phash, other.phash), float(one.vector @ other.vector))


def recall(originals: list[Seen], copies: list[Seen], kind: DuplicateKind) -> float:
    """Share of the copies that are found."""
    found = [taken_for(kind, one, other) for one, other in zip(originals, copies, strict=True)]
    return sum(found) / len(found)


def false_pairs(pictures: list[Seen]) -> dict[str, int]:
    """Pairs of different pictures taken for copies, or look-alikes; `too_plain` were not compared at all."""
    pairs = list(itertools.combinations(pictures, 2))
    found = {kind.value: sum(taken_for(kind, *pair) for pair in pairs) for kind in (SAME, ALIKE)}
    return {"pairs": len(pairs), **found, "too_plain": sum(seen.phash == PLAIN for seen in pictures)}


def seconds_among(count: int, kind: DuplicateKind) -> float:
    """To find all near pairs among so many random hashes."""
    hashes = np.random.default_rng(0).integers(0, 2**64, count, np.uint64)
    limit = max(bits for bits, _ in RULES[kind])
    HashNeighbours(hashes[:100], limit)  # compiled now
    started = time.perf_counter()
    HashNeighbours(hashes, limit).crowded()
    return time.perf_counter() - started


def cost_of_a_look(image: Image.Image) -> float:
    """ms at an upload, for a picture as the decoder hands it over."""
    started = time.perf_counter()
    for _ in range(100):
        look_of(image)
    return 10 * (time.perf_counter() - started)


def show(
    copies: dict[str, float],
    bursts: dict[str, dict[str, float]],
    different: dict[str, dict[str, int]],
    speed: dict[str, float],
    cost_ms: float,
) -> None:
    for name, share in copies.items():
        print(f"copy  {name:20} found {share:.1%}")
    for name, shares in bursts.items():
        print(f"burst {name:20} same picture {shares[SAME]:.1%}, look alike {shares[ALIKE]:.1%}")
    for name, counts in different.items():
        print(f"different {name:20} {counts}")
    print(f"{LIBRARY:,} hashes: {speed[SAME]:.2f} s, look-alikes {speed[ALIKE]:.2f} s; a look {cost_ms:.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
