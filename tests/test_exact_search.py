"""Which photos are found, in which order, to the last bit: for any vectors, any filter and both kinds of index.

The expected order is computed in float64 from the definition: cosine rounded to float32, best first, then by id.
"""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from app.services.faiss_index import FaissIndex
from app.services.int8_codes import Int8Codes
from app.services.interfaces import Ids, Scores, Vectors
from app.services.row_table import ABSENT, MAX_ID, RowTable
from app.services.scan import ROWS_A_THREAD, Scanner, keep_best

Random = np.random.Generator
KINDS = pytest.mark.parametrize("int8", [False, True], ids=["flat", "flat8"])


def unit(vectors: NDArray[np.floating]) -> Vectors:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    rows: Vectors = (vectors / lengths).astype(np.float32)
    return rows


def spread(random: Random, count: int, dim: int) -> Vectors:
    return unit(random.standard_normal((count, dim)))


def repeated(random: Random, count: int, dim: int) -> Vectors:
    """Few different vectors, so that nearly every score is shared."""
    return spread(random, 5, dim)[random.integers(5, size=count)]


def nearly_equal(random: Random, count: int, dim: int) -> Vectors:
    """All within the rounding of float32 and of the codes; only exact scores tell them apart."""
    return unit(spread(random, 1, dim) + 1e-7 * random.standard_normal((count, dim)))


def one_large_component(random: Random, count: int, dim: int) -> Vectors:
    """As CLIP's have: without the rotation, 8 bits would leave nothing of the others."""
    vectors = 0.02 * random.standard_normal((count, dim))
    vectors[:, dim // 3] = 1
    return unit(vectors)


def axes(random: Random, count: int, dim: int) -> Vectors:
    return np.eye(dim, dtype=np.float32)[random.integers(dim, size=count)]


def tiny_components(random: Random, count: int, dim: int) -> Vectors:
    """Components over forty powers of two."""
    return unit(random.standard_normal((count, dim)) * 2.0 ** random.integers(-40, 1, (count, dim)))


VECTORS = [spread, repeated, nearly_equal, one_large_component, axes, tiny_components]


def expected_order(vectors: Vectors, ids: Ids, query: Scores) -> tuple[Ids, Scores]:
    """All of them, best first."""
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]


@KINDS
@pytest.mark.parametrize("made", VECTORS, ids=lambda made: made.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition(made: Callable[[Random, int, int], Vectors], seed: int, int8: bool) -> None:
    random = np.random.default_rng(seed)
    dim, count = int(random.choice([1, 7, 32, 100, 512])), int(random.choice([1, 50, 3000]))
    vectors, ids = made(random, count, dim), random.permutation(4 * count)[:count]
    index = FaissIndex(dim, int8=int8)
    index.add(ids, vectors)
    queries = np.concatenate([spread(random, 1, dim), vectors[:1], unit(vectors[-1:] + vectors[:1] * 0.5)])
    orders = [expected_order(vectors, ids, query) for query in queries]
    for share, k in ((None, 10), (None, count + 1), (1.0, 1), (0.5, 20), (0.1, 10), (0.003, count), (0.0, 1)):
        allowed = None if share is None else random.permutation(4 * count)[: int(share * 4 * count)]
        together = index.search(queries, k, allowed)
        for i, (best_ids, best_scores) in enumerate(orders):
            inside = np.ones(count, bool) if allowed is None else np.isin(best_ids, allowed)
            alone = index.search(queries[i : i + 1], k, allowed)
            for found_ids, found_scores in ((together[0][i], together[1][i]), (alone[0][0], alone[1][0])):
                assert np.array_equal(found_ids, best_ids[inside][:k])
                assert np.array_equal(found_scores, best_scores[inside][:k])


@KINDS
def test_equals_the_definition_after_removing_many(int8: bool) -> None:
    random = np.random.default_rng(1)
    vectors = spread(random, 20_000, 64)
    ids = np.concatenate([[3], 10**9 + random.permutation(19_999)])  # one id far from the others
    index = FaissIndex(64, int8=int8)
    index.add(ids, vectors)
    kept = random.random(20_000) < 0.4
    index.remove(ids[~kept])
    assert sorted(index.ids().tolist()) == sorted(ids[kept].tolist())
    query = spread(random, 1, 64)
    found = index.search(query, 50)
    expected = expected_order(vectors[kept], ids[kept], query[0])
    assert np.array_equal(found[0][0], expected[0][:50])
    assert np.array_equal(found[1][0], expected[1][:50])


@pytest.mark.parametrize("made", VECTORS, ids=lambda made: made.__name__)
@pytest.mark.parametrize("length", [1.0, 30.0, 1e-3])
def test_bounds_hold_for_every_row(made: Callable[[Random, int, int], Vectors], length: float) -> None:
    random = np.random.default_rng(2)
    vectors = made(random, 2000, 384)
    scanner = Scanner()
    codes = Int8Codes(384, scanner)
    codes.put(0, vectors)
    every = np.arange(2000)
    for query in np.concatenate([spread(random, 3, 384), vectors[:3]]) * np.float32(length):
        scores = scanner.scores(vectors, query, every)
        for low, high in (scanner.bounds(vectors, query, every), codes.bounds(query, every)):
            assert (low <= scores).all()
            assert (scores <= high).all()


def test_the_codes_leave_few_rows_to_score_again() -> None:
    """Else the first pass would gain nothing; large components must not spoil it."""
    random = np.random.default_rng(3)
    scanner = Scanner()
    for made in (spread, one_large_component):
        vectors = made(random, 50_000, 512)
        codes = Int8Codes(512, scanner)
        codes.put(0, vectors)
        assert len(keep_best(codes.bounds(spread(random, 1, 512)[0], np.arange(50_000)), 10)) < 2500


@KINDS
def test_the_number_of_threads_changes_nothing(int8: bool) -> None:
    random = np.random.default_rng(4)
    vectors, query = spread(random, 5 * ROWS_A_THREAD + 3, 24), spread(random, 1, 24)[0]
    every = np.arange(len(vectors))
    found = []
    for threads in (1, 2, 5):
        scanner = Scanner(threads)
        codes = Int8Codes(24, scanner)
        codes.put(0, vectors)
        found.append(np.array([*(codes if int8 else _Floats(scanner, vectors)).bounds(query, every)]))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


class _Floats:
    def __init__(self, scanner: Scanner, vectors: Vectors) -> None:
        self._scanner, self._vectors = scanner, vectors

    def bounds(self, query: Scores, rows: Ids) -> tuple[Scores, Scores]:
        return self._scanner.bounds(self._vectors, query, rows)


@KINDS
def test_searches_at_the_same_time_do_not_mix(int8: bool) -> None:
    random = np.random.default_rng(5)
    index = FaissIndex(48, int8=int8)
    index.add(range(40_000), spread(random, 40_000, 48))
    queries = spread(random, 12, 48)
    alone = [index.search(query[None], 20)[0].tolist() for query in queries]
    found: dict[int, list[list[int]]] = {}

    def search(number: int) -> None:
        found[number] = index.search(queries[number][None], 20)[0].tolist()

    threads = [threading.Thread(target=search, args=[i]) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(12)] == alone


def test_row_table_equals_a_dictionary() -> None:
    random, table, known = np.random.default_rng(6), RowTable(), dict[int, int]()
    for largest in (10, 5000, 10**6, MAX_ID):
        ids = np.unique(random.integers(0, largest, 300))
        rows = random.integers(0, 10**6, len(ids))
        table.put(ids, rows)
        known.update(zip(ids.tolist(), rows.tolist(), strict=True))
        gone = random.choice(list(known), len(known) // 3, replace=False)
        table.remove(gone)
        for i in gone.tolist():
            del known[i]
        asked = np.concatenate([ids, gone, random.integers(-5, 2**62, 300), [0, -1, MAX_ID, 2**62]])
        assert table.rows(asked).tolist() == [known.get(i, ABSENT) for i in asked.tolist()]
    assert table.rows(np.empty(0, np.int64)).tolist() == []
