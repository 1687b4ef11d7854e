"""Metrics of retrieval against values worked out by hand and, where it is installed, against scikit-learn."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from app.services.retrieval_metrics import (
    METRICS,
    differences,
    estimates,
    mean_reciprocal_rank,
    ndcg,
    ranks_by_score,
    recall,
)

RANKS = np.array([1, 2, 11, math.inf])


def test_metrics_are_those_worked_out_by_hand() -> None:
    assert (recall(RANKS, 1), recall(RANKS, 10), recall(RANKS, 11)) == (0.25, 0.5, 0.75)
    assert ndcg(RANKS, 10) == pytest.approx((1 + 1 / math.log2(3)) / 4)
    assert mean_reciprocal_rank(RANKS) == pytest.approx((1 + 1 / 2 + 1 / 11) / 4)
    assert METRICS["median_rank"](RANKS) == 6.5
    assert METRICS["median_rank"](np.array([3, math.inf, math.inf])) == math.inf


def test_ranks_count_those_before_and_ties_against() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.2, 0.2]], np.float32)
    assert ranks_by_score(scores, np.array([0, 2, 1])).tolist() == [1, 3, 3]


def test_ndcg_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    scores, right = random.normal(size=(50, 30)).astype(np.float32), random.integers(30, size=50)
    relevance = np.eye(30)[right]
    ranks = ranks_by_score(scores, right)
    assert ndcg(ranks, 10) == pytest.approx(metrics.ndcg_score(relevance, scores, k=10))
    assert mean_reciprocal_rank(ranks) == pytest.approx(
        metrics.label_ranking_average_precision_score(relevance, scores)
    )
    assert recall(ranks, 5) == pytest.approx(metrics.top_k_accuracy_score(right, scores, k=5, labels=range(30)))


def test_the_interval_is_that_of_a_share_of_independent_photos() -> None:
    """Of 400 photos each with one caption the interval is that of the normal approximation."""
    ranks = np.where(np.arange(400) < 240, 1.0, 20.0)
    found = estimates(ranks, np.arange(400))["recall@1"]
    half = 1.96 * math.sqrt(0.6 * 0.4 / 400)
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half), abs=0.006)


def test_more_captions_of_the_same_photos_make_nothing_surer() -> None:
    ranks, photos = np.array([1.0, 4, 1, 12, 3, 1, 7, 2]), np.arange(8)
    once, five_times = estimates(ranks, photos), estimates(np.repeat(ranks, 5), np.repeat(photos, 5))
    for name in METRICS:
        assert astuple(five_times[name]) == pytest.approx(astuple(once[name]))


def test_a_small_difference_is_seen_because_the_same_photos_are_drawn_for_both() -> None:
    """One rank better at every photo: sure, although the two models' own intervals overlap widely."""
    second = np.random.default_rng(2).integers(3, 30, size=60).astype(np.float64)
    first, photos = second - 1, np.arange(60)
    assert estimates(first, photos)["mrr"].low < estimates(second, photos)["mrr"].high
    assert differences(first, second, photos)["mrr"].low > 0
    assert differences(second, first, photos)["median_rank"].value == 1


def test_a_model_does_not_differ_from_itself_even_where_nothing_is_found() -> None:
    found = differences(RANKS, RANKS, np.arange(4))
    assert all((one.value, one.low, one.high) == (0, 0, 0) for one in found.values())
    assert estimates(np.full(3, math.inf), np.arange(3))["median_rank"].low == math.inf
