"""The main flows on a real PostgreSQL; RECOLLECT_TEST_DATABASE=postgres runs the whole suite on it."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel, col, select
from typer.testing import Result

from app.database import Database
from app.errors import InvalidRequest
from app.flows import import_queue
from app.flows.filters import PhotoFilter
from app.flows.full_text import text_matches
from app.flows.import_queue import Incoming
from app.flows.reindex import fill_missing
from app.migrations.tsearch import TABLE
from app.migrations.words import VIEW
from app.settings import Settings
from app.tables import Embedding, ImportItem, Photo
from tests import postgres
from tests.conftest import BUSES, DATA, DOG, PHOTOS, PIZZA, Running
from tests.postgres import Cluster
from tests.server import http, running
from tests.test_live_index import eventually

Start = Callable[..., Running]

pytestmark = pytest.mark.usefixtures("on_postgres")


@pytest.fixture
def database_url(on_postgres: None, tmp_path: Path) -> str:
    return postgres.database_of(tmp_path)


def ids(hits: list[dict[str, object]]) -> list[object]:
    return [hit["photo_id"] for hit in hits]


@pytest.mark.parametrize("index", ["flat", "pgvector"])
def test_a_photo_is_added_found_filtered_voted_on_and_deleted(start: Start, index: str) -> None:
    app = start(index=index)
    dog, pizza, buses = (app.upload(name)["id"] for name in (DOG, PIZZA, BUSES))
    app.client.patch(f"/photo/{dog}", json={"tags": ["Größe", "park"], "caption": "Hasso am Café"})
    assert app.search("a dog")[0]["photo_id"] == dog
    assert ids(app.search("a pizza", tags_all="park")) == [dog]
    for words in ("cafe", "GRÖSSE hasso", "00000017029"):
        assert app.search(words)[0]["photo_id"] == dog, words
    similar = app.client.post("/search/image-to-image", params={"reference_photo_id": dog, "top_k": 5}).json()
    assert set(ids(similar["results"])) == {pizza, buses}
    tags = app.client.get("/facets").json()["tags"]
    assert {"value": "Größe", "count": 1} in tags

    before = {hit["photo_id"]: hit["score"] for hit in app.search("an animal")}
    app.client.post("/feedback", json={"photo_id": pizza, "query": "an animal", "vote": 1})
    assert {hit["photo_id"]: hit["score"] for hit in app.search("an animal")}[pizza] > before[pizza]

    assert app.client.delete(f"/photo/{dog}").status_code == 204
    assert dog not in ids(app.search("a dog"))
    assert app.search("hasso")[0]["photo_id"] != dog
    assert app.upload(DOG)["id"] > buses, "an id is never given again"


def test_what_the_box_understands_and_later_pages(library: Running) -> None:
    first = library.client.get("/search/text", params={"q": "an animal -dog", "k": 5, "paged": True}).json()
    rest = library.client.get("/search/page", params={"cursor": first["next_cursor"], "k": 20}).json()
    assert len({*ids(first["results"]), *ids(rest["results"])}) == 16
    assert first["chips"] is not None
    listed = library.client.get("/photos", params={"limit": 7}).json()
    assert len(listed["photos"]) == 7
    assert library.client.get("/duplicates").json()["groups"] == []
    assert library.client.get(f"/photo/{2**53 - 1}").status_code == 404
    assert library.client.get("/photos", params={"skip": 2**40}).json()["photos"] == []


@pytest.mark.stress
def test_two_processes_see_each_others_photos_within_a_second(
    start: Start, settings: Settings, tmp_path: Path
) -> None:
    """The poll is off: only the database can have told them."""
    here = start(index_poll_s=3600)
    with running(tmp_path, RECOLLECT_DATABASE_URL=settings.database_url, RECOLLECT_INDEX_POLL_S="3600") as there:
        files = {"file": (DOG, (PHOTOS / DOG).read_bytes())}
        dog = http.post(f"{there.url}/upload", files=files).raise_for_status().json()["id"]
        assert eventually(lambda: ids(here.search("a dog")) == [dog], seconds=1)
        pizza = here.upload(PIZZA)["id"]

        def seen() -> bool:
            answer = http.get(f"{there.url}/search", params={"q": "a pizza", "top_k": 1}).json()
            return ids(answer["results"]) == [pizza]

        assert eventually(seen, seconds=1)


def test_a_lost_connection_is_made_anew(start: Start, postgres_server: Cluster) -> None:
    here, there = start(index_poll_s=0.2), start()
    assert eventually(lambda: here.services.live_index.alive)
    postgres_server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'recollect_test%'"
    )
    dog = there.upload(DOG)["id"]
    assert eventually(lambda: ids(here.search("a dog")) == [dog])


def test_two_workers_never_take_the_same_item(start: Start) -> None:
    services = start().services
    batch = import_queue.open_import(services, "test")
    items = [Incoming(f"{i}", {"caption": f"note {i}"}, local=True) for i in range(200)]
    import_queue.accept(services, batch, items)

    def take(worker: str) -> list[int | None]:
        taken: list[int | None] = []
        while found := import_queue.claim(services.database, worker, 7, import_id=batch):
            taken += [item.id for item in found]
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [item for found in pool.map(take, [f"host {i} 1.0" for i in range(8)]) for item in found]
    assert len(taken) == len(set(taken)) == 200


def test_two_services_share_one_queue(start: Start) -> None:
    one, other = start(), start()
    files = [("files", (path.name, path.read_bytes())) for path in sorted(PHOTOS.glob("*.jpg"))]
    url = one.client.post("/imports", files=files).json()["url"]
    assert eventually(lambda: one.client.get(url).json()["ready"] == 16, seconds=60)
    with one.services.database.read() as session:
        assert {item.attempts for item in session.exec(select(ImportItem))} == {1}
        assert len(session.exec(select(Photo)).all()) == 16
    assert eventually(lambda: len(other.services.index) == 16)


def test_missing_vectors_are_made_again(library: Running) -> None:
    services = library.services
    with services.database.write() as session:
        for row in session.exec(select(Embedding).where(col(Embedding.photo_id) < 4)):
            session.delete(row)
    assert fill_missing(services) == 3
    services.live_index.reconcile()
    assert len(services.index) == 16


def test_a_writer_that_waits_too_long_gives_up(database_url: str) -> None:
    first, second = Database(database_url), Database(database_url, busy_timeout_s=0.2)
    with first.write() as session:
        session.add(Photo(filename="a.jpg"))
        session.flush()
        with pytest.raises(OperationalError, match="lock timeout"), second.write() as waiting:
            waiting.add(Photo(filename="b.jpg"))
    with second.write() as session:
        assert session.exec(select(Photo.filename)).all() == ["a.jpg"]
    first.dispose()
    second.dispose()


def test_a_database_that_knows_no_letters_is_refused(postgres_server: Cluster) -> None:
    name = f"{postgres.MADE}c"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'")
    with pytest.raises(InvalidRequest, match="locale"):
        Database(postgres_server.url(name))


def test_the_steps_lead_to_the_tables_of_a_new_library() -> None:
    """From the tables of 0.1.0, with a photo in them."""
    url = postgres.empty_database()
    script = (DATA / "library_0.1.0.sql").read_text()
    made = [line for line in script.split(";\n") if line.strip().startswith("CREATE")]
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in made:
            portable = statement.replace("INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT", "SERIAL PRIMARY KEY")
            connection.exec_driver_sql(portable.replace("DATETIME", "TIMESTAMP").replace("BLOB", "BYTEA"))
        connection.exec_driver_sql(
            "INSERT INTO photos (owner, filename, tags, suggested_tags, created_at, updated_at, status)"
            " VALUES ('default', 'harbour.jpg', '[]', '[]', now(), now(), 'ready')"
        )
    engine.dispose()
    database = Database(url)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=OURS), SQLModel.metadata) == []
    with database.read() as session:
        assert list(text_matches(session, "harbour", PhotoFilter(), 10)) == [1]
    database.dispose()


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """The full-text table is in no metadata."""
    return kind != "table" or name not in (TABLE, VIEW)


OURS = {"include_name": is_ours, "compare_type": False}


@pytest.fixture
def sqlite_library(start: Start, tmp_path: Path) -> Running:
    app = start(database_url=f"sqlite:///{tmp_path}/before.db")
    app.upload_all()
    app.client.delete(f"/photo/{app.upload(DOG)['id']}")
    app.client.post("/feedback", json={"photo_id": 2, "query": "a pizza", "vote": 1})
    app.client.patch("/photo/3", json={"tags": ["größer", 'a "b"'], "latitude": None})
    return app


def test_a_library_moves_from_sqlite(
    sqlite_library: Running, recollect: Callable[..., Result], start: Start, database_url: str, tmp_path: Path
) -> None:
    before = f"sqlite:///{tmp_path}/before.db"
    words = ["a dog", "a pizza", "buses in a street", "größer"]
    asked = [sqlite_library.search(query) for query in words]
    done = recollect("migrate", "--to", database_url, database_url=before)
    assert done.exit_code == 0, done.output
    assert "15 photos" in done.stdout
    app = start()
    for query, hits in zip(words, asked, strict=True):
        assert [(hit["photo_id"], hit["score"]) for hit in app.search(query)] == [
            (hit["photo_id"], pytest.approx(hit["score"])) for hit in hits
        ], query
    assert app.client.get("/photo/3/file").status_code == 200
    assert app.upload(DOG)["id"] == 17, "also the id of a photo that is gone is not given again"
    again = recollect("migrate", "--to", database_url, database_url=before)
    assert again.exit_code == 1
    assert "in use" in again.stderr


def test_a_move_that_is_refused_changes_nothing(recollect: Callable[..., Result], tmp_path: Path) -> None:
    before = f"sqlite:///{tmp_path}/before.db"
    done = recollect("migrate", "--to", f"sqlite:///{tmp_path}/other.db", database_url=before)
    assert done.exit_code == 1
    assert "PostgreSQL only" in done.stderr
    assert not (tmp_path / "other.db").exists()
    nowhere = "postgresql://me:secret@127.0.0.1:1/nowhere"
    done = recollect("migrate", "--to", nowhere, database_url=before)
    assert done.exit_code == 1
    assert "secret" not in done.output
    with sqlite3.connect(tmp_path / "before.db") as connection:
        assert connection.execute("SELECT count(*) FROM photos").fetchone() == (0,)
    connection.close()
