"""Photos with their captions, as heads.py trains on them."""

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from training.feature_files import CaptionFeatures, ImageFeatures

CAPTIONS_PER_PHOTO = 5
WHOLE_PHOTO = "squash"


@dataclass(frozen=True)
class Pairs:
    """captions[i] are five rows of `pooled` that describe the photo i; with fewer captions some come again."""

    views: Tensor  # (views, photos, 1280), the whole photo first
    pooled: Tensor  # (captions, 384)
    captions: Tensor  # (photos, 5)


def pair_up(images: ImageFeatures, texts: CaptionFeatures, left_out: Set[str] = frozenset()) -> Pairs:
    """Every photo that has captions and is not left out.

    Captions of left-out or absent photos are dropped too, so that nothing held out is ever looked at.
    Raises: ValueError if no photo remains, or there is no view `squash`.
    """
    if WHOLE_PHOTO not in images.views:
        raise ValueError(f"the features need the view {WHOLE_PHOTO}: it is what the service embeds")
    known = set(images.files) - left_out
    used = [row for row, name in enumerate(texts.files) if name in known]
    of_photo: defaultdict[str, list[int]] = defaultdict(list)
    for new_row, row in enumerate(used):
        of_photo[texts.files[row]].append(new_row)
    photos = [row for row, name in enumerate(images.files) if name in of_photo]
    if not photos:
        raise ValueError("no photo with a caption remains")
    captions = [(of_photo[images.files[row]] * CAPTIONS_PER_PHOTO)[:CAPTIONS_PER_PHOTO] for row in photos]
    views = torch.stack([images.views[name] for name in _whole_photo_first(images)])[:, photos]
    return Pairs(views, texts.pooled[used], torch.tensor(captions))


def join(sets: Sequence[Pairs]) -> Pairs:
    """One set of several; where one has fewer views than another, its views come again."""
    most = max(len(each.views) for each in sets)
    views = [each.views[torch.arange(most) % len(each.views)] for each in sets]
    offsets = [sum(len(each.pooled) for each in sets[:i]) for i in range(len(sets))]
    return Pairs(
        torch.cat(views, dim=1),
        torch.cat([each.pooled for each in sets]),
        torch.cat([each.captions + offset for each, offset in zip(sets, offsets, strict=True)]),
    )


def _whole_photo_first(images: ImageFeatures) -> list[str]:
    return [WHOLE_PHOTO, *sorted(set(images.views) - {WHOLE_PHOTO})]
