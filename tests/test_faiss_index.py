"""FaissIndex against brute force, what it refuses, and searches beside adds and removes."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from app.services.faiss_index import FaissIndex
from app.services.interfaces import Vectors
from app.services.row_table import MAX_ID

DIM = 32
COUNT = 4000
STRESS_S = 3.0
STRESS_PROBES = 50
STRESS_CHUNK = 40
# Ids of stored photos are neither dense nor in order.
IDS = [int(i) for i in np.random.default_rng(0).permutation(10 * COUNT)[:COUNT]]


def unit_vectors(count: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


VECTORS = unit_vectors(COUNT, seed=1)
QUERIES = unit_vectors(6, seed=2)
NEW = 10 * COUNT + 1


@pytest.fixture(params=[False, True], ids=["flat", "flat8"])
def index(request: pytest.FixtureRequest) -> FaissIndex:
    made = FaissIndex(DIM, int8=request.param)
    made.add(IDS, VECTORS)
    return made


def assert_equals_brute_force(
    index: FaissIndex, stored: dict[int, Vectors], k: int, allowed: Sequence[int] | None = None
) -> None:
    """Top k of every query, up to the order of scores that differ by rounding only."""
    searchable = sorted(stored if allowed is None else set(stored) & set(allowed))
    matrix = np.array([stored[i] for i in searchable], np.float64).reshape(-1, DIM)
    cosines = QUERIES.astype(np.float64) @ matrix.T
    expected = -np.sort(-cosines, axis=1)[:, :k]
    ids, scores = index.search(QUERIES, k, allowed)
    assert ids.shape == scores.shape == expected.shape
    assert np.allclose(scores, expected, atol=1e-5)
    column = {photo_id: i for i, photo_id in enumerate(searchable)}
    for query, found in enumerate(ids.tolist()):
        assert len(set(found)) == len(found)
        assert np.allclose(cosines[query, [column[i] for i in found]], scores[query], atol=1e-5)


def everything() -> dict[int, Vectors]:
    return dict(zip(IDS, VECTORS, strict=True))


@pytest.mark.parametrize("k", [1, 10, 500, COUNT, COUNT + 5])
def test_without_a_filter(index: FaissIndex, k: int) -> None:
    assert_equals_brute_force(index, everything(), k)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.11, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("k", [1, 10, 1000])
def test_with_a_filter_of_any_selectivity(index: FaissIndex, share: float, k: int) -> None:
    allowed = np.random.default_rng(3).choice(IDS, int(share * COUNT), replace=False).tolist()
    assert_equals_brute_force(index, everything(), k, allowed)


def test_a_filter_that_leaves_out_the_best_of_all(index: FaissIndex) -> None:
    best = set(index.search(QUERIES, 100)[0].ravel().tolist())
    for allowed in ([i for i in IDS if i not in best], [i for i in IDS if i not in best][:50]):
        ids, _ = index.search(QUERIES, 100, allowed)
        assert not best & set(ids.ravel().tolist())
        assert_equals_brute_force(index, everything(), 100, allowed)


def test_unknown_and_repeated_ids_in_a_filter_count_for_nothing(index: FaissIndex) -> None:
    unknown = [10 * COUNT + 1, -1, 2**62]
    assert_equals_brute_force(index, everything(), 10, IDS[:7] + unknown + IDS[:7])
    assert_equals_brute_force(index, everything(), 10, IDS[: COUNT // 2] + unknown + IDS[:7])
    assert index.search(QUERIES, 10, unknown)[0].shape == (6, 0)


def test_an_empty_filter_allows_nothing(index: FaissIndex) -> None:
    ids, scores = index.search(QUERIES, 10, [])
    assert ids.shape == scores.shape == (6, 0)


def test_read_only_arrays_and_views_do_as_well(index: FaissIndex) -> None:
    locked = np.frombuffer(QUERIES.tobytes(), np.float32).reshape(-1, DIM)
    index.add([NEW, NEW + 1], locked[:4:2])
    assert index.search(locked[2:3], 1)[0][0, 0] == NEW + 1
    assert index.search(locked[:1].astype(np.float64), 1, [NEW, NEW + 1])[0][0, 0] == NEW


def test_ids_may_come_as_an_array(index: FaissIndex) -> None:
    ids, scores = index.search(QUERIES, 10, np.array(IDS[:500]))
    expected, expected_scores = index.search(QUERIES, 10, IDS[:500])
    assert np.array_equal(ids, expected)
    assert np.array_equal(scores, expected_scores)


@pytest.mark.parametrize("allowed", [None, [], [1, 2]])
def test_an_empty_index_finds_nothing(allowed: list[int] | None) -> None:
    ids, scores = FaissIndex(DIM).search(QUERIES, 10, allowed)
    assert ids.shape == scores.shape == (6, 0)


def test_equal_vectors_are_all_found(index: FaissIndex) -> None:
    copies = [10 * COUNT + i for i in range(5)]
    index.add(copies, np.repeat(QUERIES[:1], 5, axis=0))
    assert set(index.search(QUERIES[:1], 5)[0][0].tolist()) == set(copies)
    assert set(index.search(QUERIES[:1], 5, copies)[0][0].tolist()) == set(copies)


@pytest.mark.parametrize(
    "positions",
    [
        pytest.param([0], id="first"),
        pytest.param([COUNT - 1], id="last"),
        pytest.param([COUNT // 2], id="middle"),
        pytest.param([0, COUNT - 1, COUNT // 2, COUNT - 2], id="ends and middle"),
        pytest.param(range(0, COUNT, 2), id="every second"),
        pytest.param(range(COUNT - 1, 0, -1), id="all but one, from the back"),
        pytest.param(range(COUNT), id="all"),
    ],
)
def test_after_removing(index: FaissIndex, positions: Sequence[int]) -> None:
    gone = [IDS[i] for i in positions]
    index.remove([*gone, *gone, 10 * COUNT + 1])  # what is not there, or not any more, is passed over
    left = {i: v for i, v in everything().items() if i not in set(gone)}
    assert (len(index), set(index.ids().tolist())) == (len(left), set(left))
    assert not any(i in index for i in gone)
    assert_equals_brute_force(index, left, 10)
    assert_equals_brute_force(index, left, 10, IDS)
    assert_equals_brute_force(index, left, 10, IDS[:100])


def test_an_id_may_come_back_with_another_vector(index: FaissIndex) -> None:
    index.remove(IDS[:3])
    index.add([IDS[1]], QUERIES[:1])
    stored = {i: v for i, v in everything().items() if i not in IDS[:3]} | {IDS[1]: QUERIES[0]}
    assert_equals_brute_force(index, stored, 10)
    assert index.search(QUERIES[:1], 1)[0][0, 0] == IDS[1]


@pytest.mark.parametrize("int8", [False, True])
def test_a_long_mixture_of_adds_and_removes_stays_exact(int8: bool) -> None:
    random = np.random.default_rng(4)
    index, stored = FaissIndex(DIM, int8=int8), dict[int, Vectors]()
    for step in range(60):
        fresh = list(range(step * 50, step * 50 + int(random.integers(1, 50))))
        vectors = unit_vectors(len(fresh), seed=step)
        index.add(fresh, vectors)
        stored.update(zip(fresh, vectors, strict=True))
        gone = random.choice(list(stored), min(len(stored), int(random.integers(0, 40))), replace=False).tolist()
        index.remove(gone)
        stored = {i: v for i, v in stored.items() if i not in set(gone)}
    assert len(index) == len(stored) > 100
    assert_equals_brute_force(index, stored, 20)
    assert_equals_brute_force(index, stored, 20, list(stored)[::2])
    assert_equals_brute_force(index, stored, 20, list(stored)[:10])


def test_reserving_changes_nothing(index: FaissIndex) -> None:
    index.reserve(3 * COUNT)
    index.reserve(10)
    assert_equals_brute_force(index, everything(), 10)
    index.add([NEW], QUERIES[:1])
    assert index.search(QUERIES[:1], 1)[0][0, 0] == NEW


def test_holds_means_this_id_with_this_vector(index: FaissIndex) -> None:
    ids = np.array([IDS[0], IDS[1], NEW])
    assert index.holds(ids, VECTORS[[0, 2, 0]]).tolist() == [True, False, False]


def test_vector_gives_a_copy(index: FaissIndex) -> None:
    vector = index.vector(IDS[5])
    assert vector is not None
    assert np.array_equal(vector, VECTORS[5])
    vector[:] = 0
    assert_equals_brute_force(index, everything(), 10)
    assert index.vector(-1) is None


@pytest.mark.parametrize(
    ("ids", "vectors"),
    [
        pytest.param([NEW], np.ones((1, DIM + 1), np.float32) / (DIM + 1) ** 0.5, id="too many dimensions"),
        pytest.param([NEW], QUERIES[:2], id="more vectors than ids"),
        pytest.param([NEW, NEW + 1], QUERIES[:1], id="fewer vectors than ids"),
        pytest.param([NEW], QUERIES[0], id="one row without its axis"),
        pytest.param([NEW, NEW + 1], np.stack([QUERIES[0], np.full(DIM, np.nan, np.float32)]), id="NaN"),
        pytest.param([NEW, NEW + 1], np.stack([QUERIES[0], np.full(DIM, np.inf, np.float32)]), id="infinite"),
        pytest.param([NEW, NEW + 1], QUERIES[:2] * np.array([[1], [1.01]], np.float32), id="too long"),
        pytest.param([NEW], np.zeros((1, DIM), np.float32), id="zero"),
        pytest.param([NEW, NEW], QUERIES[:2], id="one id twice"),
        pytest.param([NEW, IDS[0]], QUERIES[:2], id="known id"),
        pytest.param([NEW, -1], QUERIES[:2], id="negative id"),
        pytest.param([NEW, MAX_ID], QUERIES[:2], id="id beyond 32 bits"),
    ],
)
def test_what_is_refused_changes_nothing(index: FaissIndex, ids: list[int], vectors: Vectors) -> None:
    with pytest.raises(ValueError, match=r"Expected vectors|Every"):
        index.add(ids, vectors)
    assert (len(index), set(index.ids().tolist())) == (COUNT, set(IDS))
    assert_equals_brute_force(index, everything(), 10)
    index.add([NEW], QUERIES[:1])  # and the lock is free again
    assert index.search(QUERIES[:1], 1)[0][0, 0] == NEW


@pytest.mark.parametrize(
    "queries", [QUERIES[0], QUERIES[:, :-1], np.full((1, DIM), np.nan, np.float32)], ids=["1-d", "short", "NaN"]
)
def test_refused_queries(index: FaissIndex, queries: Vectors) -> None:
    with pytest.raises(ValueError, match="Queries must be finite"):
        index.search(queries, 10)


def test_searches_beside_adds_and_removes() -> None:
    """In a process of its own: without the lock FAISS ends it with a segmentation fault."""
    process = multiprocessing.get_context("spawn").Process(target=stress)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def stress() -> None:
    """Eight threads search while two add and remove; raises if one of them saw what it must not."""
    index, gone, failures = FaissIndex(DIM, int8=True), set[int](), list[Exception]()
    probes = unit_vectors(STRESS_PROBES, seed=5)
    index.add(range(STRESS_PROBES), probes)
    ends = time.monotonic() + STRESS_S
    rounds = dict.fromkeys(range(10), 0)

    def repeat(number: int, step: Callable[[np.random.Generator], None]) -> None:
        random = np.random.default_rng(number)
        try:
            while time.monotonic() < ends and not failures:
                step(random)
                rounds[number] += 1
        except Exception as error:
            failures.append(error)

    writers = [Writer(index, gone, first_id=10**9 * (n + 1)) for n in range(2)]
    steps = [writer.step for writer in writers] + [lambda r: search_once(index, gone, probes, r)] * 8
    threads = [threading.Thread(target=repeat, args=item) for item in enumerate(steps)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert min(rounds.values()) >= 5, f"a thread was starved: {rounds}"
    assert len(index) == STRESS_PROBES + sum(len(writer.alive) for writer in writers)


class Writer:
    """Adds new ids and removes old ones; `gone` holds what was removed for good."""

    def __init__(self, index: FaissIndex, gone: set[int], first_id: int) -> None:
        self.alive: list[int] = []
        self._index, self._gone, self._next = index, gone, first_id

    def step(self, random: np.random.Generator) -> None:
        fresh = list(range(self._next, self._next + STRESS_CHUNK))
        self._next += STRESS_CHUNK
        self._index.add(fresh, unit_vectors(STRESS_CHUNK, seed=self._next))
        self.alive += fresh
        random.shuffle(self.alive)
        if len(self.alive) > 1000:
            leaving, self.alive = self.alive[:500], self.alive[500:]
            self._index.remove(leaving)
            self._gone.update(leaving)


def search_once(index: FaissIndex, gone: set[int], probes: Vectors, random: np.random.Generator) -> None:
    """A vector that never leaves finds itself, with no filter, a narrow one and a wide one."""
    before = gone.copy()
    probe = int(random.integers(STRESS_PROBES))
    everyone = index.ids()
    for allowed in (None, list(range(STRESS_PROBES)), everyone):
        ids, scores = index.search(probes[probe : probe + 1], 20, allowed)
        found = ids[0].tolist()
        assert found[0] == probe, "a photo must find itself"
        assert scores[0, 0] > 0.999
        assert -1 not in found
        assert len(set(found)) == 20
        assert not before.intersection(found), "a removed photo was found"
        assert allowed is None or np.isin(found, allowed).all()
