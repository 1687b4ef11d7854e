"""What a picture shows and what is written about it, as one score."""

from typing import Any, overload

import numpy as np

from app.services.interfaces import Scores

WEIGHT = 14.0  # nats: how much a photo that holds all words of the query is likelier, all else being equal


@overload
def fused(similarity: float, text_score: float, logit_scale: float) -> float: ...
@overload
def fused(similarity: Scores, text_score: Scores, logit_scale: float) -> Scores: ...
def fused(similarity: float | Scores, text_score: float | Scores, logit_scale: float) -> float | Scores:
    """1 − (1 − cosine)(1 − w · text), of cosines −1..1 and text scores 0..1: 0..1, growing with both.

    Without a text match it is the cosine, clipped to 0..1: a photo about which nobody has written loses nothing,
    which it does where ranks are put together. w = WEIGHT / logit_scale: a model's cosines times its trained scale
    are logarithms of likelihoods (Radford et al. 2021, 2.3), so one constant fits the wide cosines of the embedded
    model (scale 20.5, w 0.68) and the narrow ones of CLIP (scale 100, w 0.14). To small similarities it adds
    w · text, the convex combination of Bruch et al. 2023, but without going over 1.

    Measured by benchmarks/bench_fusion.py; its table is in benchmarks/README.md.
    """
    weight = min(1.0, WEIGHT / logit_scale)
    clipped: Any = np.clip(similarity, 0, 1)
    score: float | Scores = 1 - (1 - clipped) * (1 - weight * text_score)
    return score
