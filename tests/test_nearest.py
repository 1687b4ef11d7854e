"""Both ways to search under a filter give the true nearest photos, in order."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.flows.filters import PhotoFilter
from app.flows.nearest import SMALL, nearest, passing
from app.services.interfaces import Vectors
from tests.conftest import Running
from tests.test_live_index import store

COUNT = SMALL + 1000


@pytest.fixture
def large(app: Running) -> tuple[Running, Vectors, list[str]]:
    """An app of many photos; the category of photo i + 1 is at i."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((COUNT, app.services.encoder.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    far = vectors @ vectors[0] < np.quantile(vectors @ vectors[0], 0.2)
    names = random.choice(["most", "some", "few", "one"], COUNT, p=[0.8, 0.19, 0.0099, 0.0001])
    categories = np.where(far, "far", names).tolist()
    store(app.services.database, vectors, app.services.encoder.space, categories.__getitem__)
    app.services.live_index.catch_up()
    assert len(app.services.index) == COUNT
    return app, vectors, categories


def expected(vectors: Vectors, query: Vectors, allowed: NDArray[np.bool_], k: int) -> list[int]:
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    rows = np.flatnonzero(allowed)
    best: list[int] = (rows[np.lexsort((rows, -scores[rows]))][:k] + 1).tolist()
    return best


def test_equals_brute_force(large: tuple[Running, Vectors, list[str]]) -> None:
    """Of "far" there are many, but none among the nearest: too few of those checked pass, and all are listed."""
    app, vectors, categories = large
    for category in ("most", "some", "few", "one", "far", "none"):
        for k in (1, 20, 2000):
            found = nearest(app.services, vectors[0], k, PhotoFilter(category=category))
            assert list(found) == expected(vectors, vectors[0], np.array(categories) == category, k)
            assert all(found[i] == pytest.approx(float(vectors[i - 1] @ vectors[0]), abs=1e-5) for i in found)
    assert list(nearest(app.services, vectors[5], 7, PhotoFilter())) == expected(
        vectors, vectors[5], np.ones(COUNT, bool), 7
    )


def test_passing_takes_any_number_of_ids(large: tuple[Running, Vectors, list[str]]) -> None:
    app, _, categories = large
    with app.services.database.read() as session:
        found = passing(session, range(-5, COUNT + 5), PhotoFilter(category="some"))
    assert found == {i + 1 for i, category in enumerate(categories) if category == "some"}
