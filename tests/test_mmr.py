"""Maximal marginal relevance against its definition, worked out by hand and by the plain loop of the paper."""

import numpy as np
import pytest

from app.flows.mmr import mmr_order
from app.services.interfaces import Scores, Vectors


def plainly(similarities: Scores, vectors: Vectors, lambda_: float, k: int) -> list[int]:
    """The definition, one candidate after the other."""
    order: list[int] = []
    while len(order) < min(k, len(similarities)):
        worth = {
            row: lambda_ * similarities[row]
            - (1 - lambda_) * max(vectors[row] @ vectors[shown] for shown in order)
            if order
            else similarities[row]
            for row in range(len(similarities))
            if row not in order
        }
        order.append(max(worth, key=lambda row: worth[row]))
    return order


@pytest.fixture
def candidates() -> tuple[Scores, Vectors]:
    random = np.random.default_rng(4)
    vectors = random.normal(size=(60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors[0], vectors


@pytest.mark.parametrize("lambda_", [0, 0.3, 0.7, 1])
def test_agrees_with_the_definition(candidates: tuple[Scores, Vectors], lambda_: float) -> None:
    assert mmr_order(*candidates, lambda_, 25) == plainly(*candidates, lambda_, 25)


def test_a_copy_of_what_was_shown_gives_way() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.6, 0.8]], np.float32)
    similarities = np.array([0.9, 0.9, 0.6], np.float32)
    assert mmr_order(similarities, vectors, 0.5, 3) == [0, 2, 1]
    assert mmr_order(similarities, vectors, 1, 3) == [0, 1, 2]


def test_lambda_one_is_the_plain_order(candidates: tuple[Scores, Vectors]) -> None:
    similarities, vectors = candidates
    assert mmr_order(similarities, vectors, 1, 60) == np.argsort(-similarities, kind="stable").tolist()


def test_each_comes_once_and_none_that_is_not_there(candidates: tuple[Scores, Vectors]) -> None:
    assert sorted(mmr_order(*candidates, 0.2, 1000)) == list(range(60))
    assert mmr_order(*candidates, 0.5, 0) == []
    assert mmr_order(np.empty(0, np.float32), np.empty((0, 8), np.float32), 0.5, 10) == []
