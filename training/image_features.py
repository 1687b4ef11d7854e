"""Step 2: what the locked image tower sees, cached, since it never changes during training.

python -m training.image_features PHOTOS features/flickr8k_images.safetensors --view squash --view hflip
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from PIL import Image, ImageOps
from torch import Tensor

from app.services.embedded_encoder import IMAGE_SIZE, ImageTower
from training.feature_files import ImageFeatures

BATCH = 16
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
CROP_AREA = (0.45, 0.95)  # share of the photo that a random crop keeps
CROP_ASPECT = (3 / 4, 4 / 3)
RANDOM_VIEW = "random"  # random0, random1, …: each is another draw


def view(image: Image.Image, name: str) -> Image.Image:
    """The photo as one view of it, still to be squashed to the tower's size.

    squash: the whole photo, which is what the service embeds; hflip: its mirror image; center: the middle
    square; random…: a random crop, mirrored half of the time (drawn from torch's generator).
    Raises: ValueError for another name.
    """
    if name == "squash":
        return image
    if name == "hflip":
        return ImageOps.mirror(image)
    if name == "center":
        return ImageOps.fit(image, (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    if name.startswith(RANDOM_VIEW):
        return _random_crop(image)
    raise ValueError(f"no such view: {name}")


def image_features(tower: ImageTower, paths: Sequence[Path], views: Sequence[str], seed: int = 0) -> ImageFeatures:
    """Each view of each photo through the tower; random views depend on `seed`, not on what ran before.

    Raises: OSError for a file that cannot be read as a picture; ValueError if two share a name, or for an
    unknown view.
    """
    names = tuple(path.name for path in paths)
    if len(set(names)) < len(names):
        raise ValueError("two photos have the same file name; captions could not tell them apart")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = [_encode(tower, paths[start : start + BATCH], views) for start in range(0, len(paths), BATCH)]
    return ImageFeatures(names, {name: torch.cat([batch[name] for batch in batches]) for name in views})


def photos_below(folder: Path) -> list[Path]:
    """Every picture file in the folder and its subfolders, sorted. Raises: ValueError if there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"no photo in {folder}")
    return paths


def _encode(tower: ImageTower, paths: Iterable[Path], views: Iterable[str]) -> dict[str, Tensor]:
    photos = [_upright(path) for path in paths]
    encoded = {}
    for name in views:
        pixels = tower.pixels([view(photo, name) for photo in photos])
        encoded[name] = tower.features(pixels)[0].cpu()
    return encoded


def _upright(path: Path) -> Image.Image:
    with Image.open(path) as file:
        return ImageOps.exif_transpose(file).convert("RGB")


def _random_crop(image: Image.Image) -> Image.Image:
    from torchvision.transforms import RandomResizedCrop

    top, left, height, width = RandomResizedCrop.get_params(image, CROP_AREA, CROP_ASPECT)
    crop = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(crop) if torch.rand(()) < 0.5 else crop


def main(
    folder: Path,
    out: Path,
    views: Annotated[list[str], typer.Option("--view", help="squash, hflip, center, random0, …")],
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Encode every photo below FOLDER in each view and write the features to OUT."""
    features = image_features(ImageTower(device), photos_below(folder), views, seed)
    features.save(out)
    print(f"{len(features.files)} photos, {len(views)} views")


if __name__ == "__main__":
    typer.run(main)
