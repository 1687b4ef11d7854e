"""The index follows the rows, whoever writes them."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import text
from sqlmodel import col, delete, insert, select, update

from app.database import Database
from app.flows.live_index import CHUNK_ROWS, LiveIndex
from app.flows.reindex import count_missing, fill_missing
from app.services.faiss_index import FaissIndex
from app.services.interfaces import Ids, Vectors
from app.settings import Settings
from app.tables import Embedding, Photo, original_path
from tests.conftest import BUSES, DOG, PIZZA, Running

Start = Callable[..., Running]


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_running_app_notices_what_another_process_adds_and_deletes(start: Start) -> None:
    here, there = start(), start()
    photo = there.upload(DOG)
    assert eventually(lambda: [hit["photo_id"] for hit in here.search("a dog")] == [photo["id"]])
    there.client.delete(f"/photo/{photo['id']}")
    assert here.search("a dog") == []
    assert eventually(lambda: here.client.get("/health").json()["image_count"] == 0)


def test_a_deletion_elsewhere_is_noticed_without_any_search(start: Start) -> None:
    here, there = start(), start()
    photo = there.upload(DOG)
    assert eventually(lambda: len(here.services.index) == 1)
    there.client.delete(f"/photo/{photo['id']}")
    assert eventually(lambda: len(here.services.index) == 0)


def test_rows_that_came_out_of_order_are_found_by_reconciling(app: Running) -> None:
    """On some databases a row with a smaller id may be committed later than its neighbour."""
    first, second = app.upload(DOG)["id"], app.upload(PIZZA)["id"]
    app.services.live_index.catch_up()
    app.services.live_index.forget([first])
    app.services.live_index.catch_up()
    assert first not in app.services.index
    app.services.live_index.reconcile()
    assert first in app.services.index
    assert second in app.services.index


def test_photos_without_a_vector_get_one_when_the_service_starts(start: Start) -> None:
    app = start(index_poll_s=3600.0)
    dog, pizza = app.upload(DOG)["id"], app.upload(PIZZA)["id"]
    with app.services.database.read() as session:
        before = session.exec(select(Embedding).where(Embedding.photo_id == dog)).one().vector
    with app.services.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM embeddings"))
    again = start()
    assert eventually(lambda: len(again.services.index) == 2)
    assert again.search("a dog playing in the garden")[0]["photo_id"] == dog
    assert again.search("a pizza")[0]["photo_id"] == pizza
    with again.services.database.read() as session:
        after = session.exec(select(Embedding).where(Embedding.photo_id == dog)).one().vector
    assert np.allclose(before, after, atol=1e-5)


def test_a_photo_whose_original_is_lost_does_not_stop_the_others(start: Start) -> None:
    app = start(index_poll_s=3600.0)
    lost, kept = app.upload(BUSES), app.upload(PIZZA)
    with app.services.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM embeddings"))
    (app.services.settings.uploads_dir / original_path(lost["sha256"])).unlink()
    assert fill_missing(app.services) == 1
    assert kept["id"] in app.services.index
    assert count_missing(app.services) == 1


def test_vectors_of_another_model_are_left_alone(start: Start) -> None:
    app = start(index_poll_s=3600.0)
    photo = app.upload(DOG)["id"]
    with app.services.database.engine.begin() as connection:
        connection.execute(text("UPDATE embeddings SET space = 'another/model'"))
    again = start()
    assert eventually(lambda: photo in again.services.index)
    with again.services.database.read() as session:
        spaces = {row.space for row in session.exec(select(Embedding))}
    assert spaces == {"another/model", "embedded/compact-1"}


DIM = 16
MANY = 2 * CHUNK_ROWS + 500


@pytest.fixture
def many(settings: Settings) -> tuple[Database, Vectors]:
    """A database of many photos; row i of the vectors belongs to photo i + 1."""
    database = Database(settings.database_url)
    vectors = np.random.default_rng(0).standard_normal((MANY, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store(database, vectors)
    return database, vectors


def store(database: Database, vectors: Vectors, space: str = "mine", category: Callable[[int], str] = str) -> None:
    photos = [{"id": i + 1, "filename": "", "category": category(i)} for i in range(len(vectors))]
    rows = [{"photo_id": i + 1, "space": space, "vector": vector} for i, vector in enumerate(vectors)]
    with database.engine.begin() as connection:
        connection.execute(insert(Photo), photos)
        connection.execute(insert(Embedding), rows)


def assert_holds_exactly(index: FaissIndex, vectors: Vectors, rows: Ids) -> None:
    assert np.array_equal(np.sort(index.ids()), rows + 1)
    assert index.holds(rows + 1, vectors[rows]).all()


def test_rebuilding_from_several_pieces(many: tuple[Database, Vectors]) -> None:
    database, vectors = many
    index = FaissIndex(DIM)
    assert LiveIndex(database, lambda _: index, "mine", 1.0).rebuild() == MANY
    assert_holds_exactly(index, vectors, np.arange(MANY))
    assert LiveIndex(database, lambda _: FaissIndex(DIM), "another", 1.0).rebuild() == 0


def test_reconciling_thousands(many: tuple[Database, Vectors]) -> None:
    """What others deleted goes, what is missing comes back, whatever else is there stays."""
    database, vectors = many
    index = FaissIndex(DIM, int8=True)
    live_index = LiveIndex(database, lambda _: index, "mine", 1.0)
    live_index.rebuild()
    with database.engine.begin() as connection:
        connection.execute(delete(Photo).where(col(Photo.id) % 3 == 0))
    live_index.forget(range(1, 4000))
    live_index.reconcile()
    assert_holds_exactly(index, vectors, np.array([i for i in range(MANY) if (i + 1) % 3]))


def test_a_vector_of_another_length_is_refused(many: tuple[Database, Vectors]) -> None:
    database, vectors = many
    with database.engine.begin() as connection:
        connection.execute(update(Embedding).where(col(Embedding.id) == 7).values(vector=vectors[0][:1]))
    with pytest.raises(ValueError, match="reshape"):
        LiveIndex(database, lambda _: FaissIndex(DIM), "mine", 1.0).rebuild()
