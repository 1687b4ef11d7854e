"""Step 6: how often a caption finds its photo.

python -m training.evaluate heads.safetensors features/images.safetensors features/texts.safetensors
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from app.services.embedded_encoder import Heads, ImageTower, load_heads
from app.services.weight_files import file_sha256
from training.captions import read_names
from training.conse import Classifier, locked_classifier
from training.feature_files import CaptionFeatures, ImageFeatures
from training.pairs import WHOLE_PHOTO

CUT_OFFS = (1, 5, 10)


def recall(similarities: Tensor, right: Tensor) -> dict[int, float]:
    """Recall@k in percent, for each k of CUT_OFFS: queries whose photo is among the k most similar.

    similarities: (queries, photos); right: (queries,) the column of each query's one right photo.
    """
    of_right = similarities.gather(1, right[:, None])
    better = (similarities > of_right).sum(1)
    return {k: 100 * (better < k).float().mean().item() for k in CUT_OFFS}


@torch.inference_mode()
def evaluate(
    heads: Heads, classifier: Classifier, images: ImageFeatures, texts: CaptionFeatures, view: str = WHOLE_PHOTO
) -> dict[int, float]:
    """Text→image recall@k in percent, captions against all photos; captions of other photos are passed over.

    Raises: KeyError for a view that was not cached; ValueError if no caption belongs to a photo.
    """
    column = {name: i for i, name in enumerate(images.files)}
    rows = [row for row, name in enumerate(texts.files) if name in column]
    if not rows:
        raise ValueError("no caption belongs to one of the photos")
    features = images.views[view]
    photos = heads.image(features, classifier.logits(features))
    right = torch.tensor([column[texts.files[row]] for row in rows])
    return recall(heads.text(texts.pooled[rows]) @ photos.T, right)


def only(images: ImageFeatures, names: frozenset[str]) -> ImageFeatures:
    """The part of the photos that is named, in the same order."""
    rows = [row for row, name in enumerate(images.files) if name in names]
    views = {name: view[rows] for name, view in images.views.items()}
    return ImageFeatures(tuple(images.files[row] for row in rows), views)


def main(
    heads: Path,
    images: Path,
    texts: Path,
    only_names: Annotated[Path | None, typer.Option("--only", help="File names to keep, one a line.")] = None,
    view: Annotated[str, typer.Option(help="Which cached view of the photos.")] = WHOLE_PHOTO,
) -> None:
    """Print recall of HEADS on the cached features of IMAGES and TEXTS."""
    photos = ImageFeatures.load(images)
    if only_names:
        photos = only(photos, read_names(only_names))
    sha256 = file_sha256(heads)
    loaded = load_heads(heads, sha256)
    found = evaluate(loaded, locked_classifier(ImageTower()), photos, CaptionFeatures.load(texts), view)
    print(f"{heads.name}, SHA-256 {sha256}")
    print(f"{len(photos.files)} photos: " + ", ".join(f"R@{k} {percent:.1f}" for k, percent in found.items()))


if __name__ == "__main__":
    typer.run(main)
