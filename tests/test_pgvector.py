"""The index in PostgreSQL: what it finds, and by which plan, for plans are easily lost without a sign."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, insert, select
from sqlmodel import col, delete

from app.database import Database
from app.errors import InvalidRequest
from app.flows import pgvector_index
from app.flows.live_index import LiveIndex
from app.flows.pgvector_index import PgvectorIndex, vector_table
from app.id_lists import among
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.faiss_index import FaissIndex
from app.services.interfaces import Ids, Vectors
from app.tables import Embedding, Photo
from tests import postgres
from tests.conftest import Running, shared
from tests.test_exact_search import spread

DIM = 512
SPACE = "test"

pytestmark = pytest.mark.usefixtures("on_postgres")


@pytest.fixture
def database(on_postgres: None, tmp_path: Path) -> Iterator[Database]:
    made = Database(postgres.database_of(tmp_path))
    yield made
    made.dispose()


def fill(database: Database, vectors: Vectors, owner: str = "default") -> None:
    """A photo for each vector."""
    with database.write() as session:
        rows = [{"filename": str(i), "owner": owner, "tags": []} for i in range(len(vectors))]
        ids = session.scalars(insert(Photo).returning(col(Photo.id), sort_by_parameter_order=True), rows).all()
        pairs = zip(ids, vectors, strict=True)
        session.execute(insert(Embedding), [{"photo_id": i, "space": SPACE, "vector": v} for i, v in pairs])


def opened(database: Database, ef_search: int = 200) -> LiveIndex:
    """As a process would at its start."""
    table = vector_table(database, SPACE, DIM)
    live = LiveIndex(
        database, lambda owner: PgvectorIndex(database, table, SPACE, DIM, owner, ef_search), SPACE, 1.0
    )
    live.rebuild()
    return live


def in_memory(database: Database) -> FaissIndex:
    index = FaissIndex(DIM)
    LiveIndex(database, lambda _: index, SPACE, 1.0).rebuild()
    return index


@pytest.fixture
def hnsw(monkeypatch: pytest.MonkeyPatch) -> None:
    """HNSW also for the small libraries of tests, if PostgreSQL takes it for the quickest way."""
    monkeypatch.setattr(pgvector_index, "EXACT_ROWS", 100)


@pytest.fixture
def only_hnsw(hnsw: None, database: Database) -> None:
    """Even where PostgreSQL would rather compare all: it knows how small these tables are."""
    for name in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
        set_off = f"ALTER DATABASE {database.engine.url.database} SET {name} = off"
        with database.write() as session:
            session.connection().exec_driver_sql(set_off)
    database.engine.dispose()  # connections to come have these settings


@contextmanager
def plans(database: Database) -> Iterator[list[str]]:
    """How PostgreSQL runs each query that orders by a distance meanwhile, as it says beforehand itself."""
    seen: list[str] = []

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "<#>" in statement:
            cursor.execute(f"EXPLAIN {statement}", parameters)
            seen.append("\n".join(line for (line,) in cursor.fetchall()))

    event.listen(database.engine, "before_cursor_execute", explain)
    yield seen
    event.remove(database.engine, "before_cursor_execute", explain)


def test_small_sets_are_compared_one_by_one(database: Database) -> None:
    vectors = spread(np.random.default_rng(1), 500, DIM)
    fill(database, vectors)
    index, exact = opened(database).of("default"), in_memory(database)
    with plans(database) as seen:
        for query in spread(np.random.default_rng(2), 5, DIM):
            for allowed in (None, np.arange(7, 500, 5)):
                ids, scores = index.search(query[None], 10, allowed)
                wanted_ids, wanted = exact.search(query[None], 10, allowed)
                assert ids.tolist() == wanted_ids.tolist()
                np.testing.assert_allclose(scores, wanted, atol=1e-6)
    assert len(seen) == 10
    assert not any("hnsw" in plan for plan in seen)


@pytest.mark.stress
def test_the_graph_is_used_for_large_sets_and_after_many_runs(database: Database, hnsw: None) -> None:
    """psycopg could go on with a plan of before the graph, and an order by ids would need a sort."""
    vectors = spread(np.random.default_rng(3), 2500, DIM)
    fill(database, vectors)
    table = vector_table(database, SPACE, DIM)
    index = PgvectorIndex(database, table, SPACE, DIM, "default", 40)
    index.add(np.arange(1, 2501), vectors)
    query = spread(np.random.default_rng(4), 1, DIM)
    for _ in range(8):
        index.search(query, 10)
    index.reserve(2500)
    with database.log() as session:
        session.connection().exec_driver_sql(f"ANALYZE {table.name}")
    with plans(database) as seen:
        index.search(query, 10)
    assert "_hnsw" in seen[0]
    assert "Sort" not in seen[0]
    with database.engine.connect() as connection:
        prepared = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar()
    assert prepared == 0


def test_a_filter_leaves_as_many_as_asked_for(database: Database, only_hnsw: None) -> None:
    """The graph alone gives ef_search rows, of which a filter of 1 % leaves one or none."""
    vectors = spread(np.random.default_rng(5), 2000, DIM)
    fill(database, vectors)
    index, query, allowed = (
        opened(database, ef_search=40).of("default"),
        vectors[1700:1701],
        np.arange(2, 2000, 15),
    )
    with plans(database) as seen:
        ids, _ = index.search(query, 10, allowed)
    assert "_hnsw" in seen[0]
    assert len(ids[0]) == 10
    assert set(ids[0]) <= set(allowed)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("SET hnsw.iterative_scan = off")
        connection.exec_driver_sql("SET hnsw.ef_search = 40")
        found = connection.execute(nearest_allowed(database, query[0], allowed)).all()
    assert len(found) < 10, "this is why it is iterative"


def nearest_allowed(database: Database, query: Vectors, allowed: Ids) -> Any:
    table = vector_table(database, SPACE, DIM)
    by_distance = select(table.c.photo_id).order_by(table.c.vector.max_inner_product(query))
    return by_distance.where(among(table.c.photo_id, allowed)).limit(10)


def test_vectors_lie_in_their_rows(database: Database) -> None:
    """vector(512) has 2 KB, and PostgreSQL would put it aside (TOAST)."""
    fill(database, spread(np.random.default_rng(6), 50, DIM))
    opened(database)
    table = vector_table(database, SPACE, DIM)
    aside = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = %s"
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql(aside, (table.name,)).scalar() in (None, 0)


def test_the_index_follows_the_rows(database: Database) -> None:
    vectors = spread(np.random.default_rng(7), 30, DIM)
    fill(database, vectors)
    live, other = opened(database), opened(database)
    index = live.of("default")
    assert sorted(index.ids()) == list(range(1, 31))
    assert index.holds(np.array([1, 2, 99]), vectors[[0, 2, 3]]).tolist() == [True, False, False]
    np.testing.assert_array_equal(index.vectors([5, 99, 3])[1], vectors[[4, 2]])
    live.replace(1, vectors[29], "default")
    live.forget([2])
    assert other.of("default").holds(np.array([1]), vectors[29:]).all()
    with database.write() as session:
        session.exec(delete(Photo).where(col(Photo.id) == 3))
    assert not {2, 3} & set(other.of("default").ids())
    live.add(3, vectors[2], "default")
    assert 3 not in live.of("default"), "a photo that is gone is passed over"
    assert len(opened(database)) == 29, "the next start adds what the rows have"
    assert set(index.some_ids(10)) <= set(range(1, 31))
    assert len(index.some_ids(10)) == 10


def test_it_needs_postgresql(start: Callable[..., Running], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="PostgreSQL"):
        start(database_url=f"sqlite:///{tmp_path}/r.db", index="pgvector")


@pytest.fixture(scope="module")
def embedded(encoder: EmbeddedEncoder) -> tuple[Vectors, Vectors]:
    """Of 153 photos, and of every third of their captions."""
    folder = shared("photos")
    with (folder / "captions.csv").open(newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file)][::3]
    images = [Image.open(path).convert("RGB") for path in sorted((folder / "images").iterdir())]
    return encoder.encode_images(images), encoder.encode_texts(captions)


def found_by_both(database: Database, queries: Vectors, allowed: Ids | None) -> list[tuple[list[int], list[int]]]:
    """The first ten ids for each query, from pgvector and from FAISS."""
    indexes = opened(database).of("default"), in_memory(database)
    here, there = (index.search(queries, 10, allowed)[0].tolist() for index in indexes)
    return list(zip(here, there, strict=True))


@pytest.mark.stress
def test_real_photos_come_in_the_same_order(database: Database, embedded: tuple[Vectors, Vectors]) -> None:
    photos, captions = embedded
    fill(database, np.concatenate([photos, captions]))
    for allowed in (None, np.arange(1, len(photos) + 1)):
        found = found_by_both(database, captions, allowed)
        assert np.mean([here == there for here, there in found]) >= 0.99


@pytest.mark.stress
def test_the_graph_finds_real_photos(
    database: Database, embedded: tuple[Vectors, Vectors], only_hnsw: None
) -> None:
    photos, captions = embedded
    fill(database, np.concatenate([photos, captions]))
    with plans(database) as seen:
        found = found_by_both(database, captions, None)
    assert all("_hnsw" in plan for plan in seen)
    assert np.mean([len({*here} & {*there}) / 10 for here, there in found]) >= 0.95
