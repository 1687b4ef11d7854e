"""One query vector of several weighted terms."""

from collections.abc import Sequence

import numpy as np

from app.services.interfaces import Vectors

LEAST_LENGTH = 1e-6  # of the sum; below, nothing is left to look for


def combined(vectors: Vectors, weights: Sequence[float]) -> Vectors:
    """(dim,) unit vector of the weighted sum of (n, dim) unit vectors.

    Raises: ValueError if the terms cancel each other.
    """
    total: Vectors = np.asarray(weights, np.float32) @ vectors
    length = float(np.linalg.norm(total))
    if length < LEAST_LENGTH:
        raise ValueError("The terms cancel each other: nothing is left to look for.")
    return total / np.float32(length)
