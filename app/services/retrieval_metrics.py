"""How well a search finds the one right photo of each question, and how sure that is.

Everything follows from the rank of the right photo: 1 if it came first, infinite if it was not among the results.
Several captions of one photo are not independent of each other, so photos are what is drawn anew for the
confidence intervals (cluster bootstrap, percentile method: Efron & Tibshirani 1993, chapters 8 and 13).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.services.interfaces import Ids, Scores

Ranks = NDArray[np.float64]  # (questions,) from 1

RESAMPLES = 2000
SEED = 1993
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Estimate:
    """A value, or a difference of values, and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def recall(ranks: Ranks, k: int) -> float:
    """Share of questions whose right photo is among the first k."""
    return float(np.mean(ranks <= k))


def ndcg(ranks: Ranks, k: int) -> float:
    """Mean normalised discounted cumulative gain of the first k (Järvelin & Kekäläinen 2002), binary relevance.

    A right photo at rank r gains 1 / log2(1 + r). With one right photo the best possible gain is 1, at rank 1.
    """
    return float(np.mean((ranks <= k) / np.log2(1 + ranks)))


def mean_reciprocal_rank(ranks: Ranks) -> float:
    """Mean of 1 / r; 0 for what was not found."""
    return float(np.mean(1 / ranks))


METRICS: dict[str, Callable[[Ranks], float]] = {
    "recall@1": lambda ranks: recall(ranks, 1),
    "recall@5": lambda ranks: recall(ranks, 5),
    "recall@10": lambda ranks: recall(ranks, 10),
    "ndcg@10": lambda ranks: ndcg(ranks, 10),
    "mrr": mean_reciprocal_rank,
    "median_rank": lambda ranks: float(np.median(ranks)),
}


def ranks_by_score(scores: Scores, right: Ids) -> Ranks:
    """Ranks from (questions, photos) scores and the (questions,) column of each one's right photo.

    A photo that scores the same as the right one counts as before it: who tells nothing apart finds nothing.
    """
    own = np.take_along_axis(scores, right[:, None], axis=1)
    ranks: Ranks = (scores >= own).sum(axis=1).astype(np.float64)
    return ranks


def estimates(ranks: Ranks, photos: Ids) -> dict[str, Estimate]:
    """Every metric of `ranks`; `photos` (questions,) names the photo of each, 0 … n − 1."""
    return _intervals(_values(ranks), _resampled(ranks, photos))


def differences(first: Ranks, second: Ranks, photos: Ids) -> dict[str, Estimate]:
    """First minus second, both asked the same questions: each resample draws the same photos for both."""
    drawn = zip(_resampled(first, photos), _resampled(second, photos), strict=True)
    return _intervals(_minus(_values(first), _values(second)), [_minus(a, b) for a, b in drawn])


def _values(ranks: Ranks) -> dict[str, float]:
    return {name: metric(ranks) for name, metric in METRICS.items()}


def _resampled(ranks: Ranks, photos: Ids) -> list[dict[str, float]]:
    """Every metric for each resample of photos, with replacement; the same draws in every call."""
    count = int(photos.max()) + 1
    times_drawn = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return [_values(np.repeat(ranks, times[photos])) for times in times_drawn]


def _intervals(value: dict[str, float], resampled: list[dict[str, float]]) -> dict[str, Estimate]:
    """Percentiles that are values of resamples, not between two of them: ranks may be infinite."""
    found = {}
    for name in METRICS:
        low, high = np.percentile([one[name] for one in resampled], INTERVAL, method="inverted_cdf").tolist()
        found[name] = Estimate(value[name], low, high)
    return found


def _minus(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """Two infinite ranks differ by nothing."""
    return {name: 0.0 if a[name] == b[name] else a[name] - b[name] for name in a}
