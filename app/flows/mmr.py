"""Variety among results: each next one is near the query and unlike what has been shown already."""

import numpy as np

from app.services.interfaces import Scores, Vectors


def mmr_order(similarities: Scores, vectors: Vectors, lambda_: float, k: int) -> list[int]:
    """Rows of the first min(k, n) candidates by maximal marginal relevance (Carbonell & Goldstein 1998).

    similarities (n,) to the query, vectors (n, dim) unit rows; lambda_ 0 is variety only, 1 similarity only. First
    comes the most similar one, and then each time the row with the greatest lambda_ · similarity − (1 − lambda_) ·
    (its greatest cosine to those before it); of equal ones the first. Takes O(n · k · dim).
    """
    wanted = min(k, len(similarities))
    if not wanted:
        return []
    order = [int(np.argmax(similarities))]
    left = np.ones(len(similarities), np.bool_)
    likeness = np.full(len(similarities), -np.inf)
    while len(order) < wanted:
        left[order[-1]] = False
        likeness = np.maximum(likeness, vectors @ vectors[order[-1]])
        worth = lambda_ * similarities - (1 - lambda_) * likeness
        order.append(int(np.argmax(np.where(left, worth, -np.inf))))
    return order
