"""What a picture shows and what is written about it, as one score."""

from typing import Any, overload

import numpy as np

from app.services.interfaces import Scores

NATS = 14.0  # what it adds to the logarithm of a photo's odds that its words hold the whole query; measured


def text_weight(logit_scale: float) -> float:
    """Of words beside the cosines of a model with this trained scale, 0..1.

    Cosines times the scale are logarithms of likelihoods (Radford et al. 2021, 2.3), so one constant fits the wide
    cosines of the embedded model (scale 20.5, weight 0.68) and the narrow ones of CLIP (scale 100, weight 0.14).
    """
    return min(1.0, NATS / logit_scale)


TEXT_WEIGHT = text_weight(20.5)  # the embedded model's


@overload
def fused(similarity: float, text: float, weight: float = ...) -> float: ...
@overload
def fused(similarity: Scores, text: Scores, weight: float = ...) -> Scores: ...
def fused(similarity: float | Scores, text: float | Scores, weight: float = TEXT_WEIGHT) -> float | Scores:
    """1 − (1 − cosine)(1 − weight · text), of cosines −1..1 and text scores 0..1: 0..1, growing with both.

    Without a text match it is the cosine, clipped to 0..1: a photo about which nobody has written loses nothing,
    which it does where ranks are put together. What a match adds to a small cosine is weight · text, as in a
    convex combination (Bruch et al. 2023), and it cannot reach over 1. benchmarks/bench_fusion.py compares them.
    """
    seen: Any = similarity.clip(0, 1) if isinstance(similarity, np.ndarray) else min(1.0, max(0.0, similarity))
    score: float | Scores = seen + (1 - seen) * weight * text
    return score
