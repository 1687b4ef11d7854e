"""Database: durable commits, all or nothing, many writers in turn, and rows as they were put in."""

import multiprocessing
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session, col, func, select, text

from app.database import Database
from app.tables import Embedding, Feedback, Photo, PhotoStatus, QueryKind, SearchQuery

PROCESSES = multiprocessing.get_context("spawn")
FULL, NORMAL = 2, 1  # as PRAGMA synchronous answers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recollect.db"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url, busy_timeout_s=30)
    yield made
    made.dispose()


def pragma(session: Session, name: str) -> object:
    value: object = session.connection().exec_driver_sql(f"PRAGMA {name}").scalar()
    return value


def filenames(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.exec(select(Photo.filename).order_by(col(Photo.id))))


def add_photo(database: Database, filename: str) -> int:
    with database.write() as session:
        photo = Photo(filename=filename)
        session.add(photo)
        session.flush()
        assert photo.id is not None
        return photo.id


def test_nothing_stays_of_what_is_written_on_trial(database: Database) -> None:
    trial = database.on_trial()
    for transaction in (trial.log, trial.write):
        with transaction() as session:
            session.add(SearchQuery(kind=QueryKind.TEXT, text="a dog", result_count=0, latency_ms=1.0))
            session.flush()
            assert session.exec(select(func.count()).select_from(SearchQuery)).one() == 1
    with trial.read() as session:
        assert session.exec(select(func.count()).select_from(SearchQuery)).one() == 0
    add_photo(database, "kept.jpg")
    assert filenames(trial) == ["kept.jpg"]


@pytest.mark.sqlite("its settings")
def test_uploads_are_committed_to_disk_and_the_query_log_need_not_be(database: Database) -> None:
    with database.write() as session:
        assert (pragma(session, "journal_mode"), pragma(session, "synchronous")) == ("wal", FULL)
        assert pragma(session, "foreign_keys") == 1
    with database.log() as session:
        assert (pragma(session, "journal_mode"), pragma(session, "synchronous")) == ("wal", NORMAL)
    for _ in range(3):  # the connection that logged goes back to the pool: uploads stay durable on it
        with database.write() as session:
            assert pragma(session, "synchronous") == FULL


def test_what_a_block_wrote_is_there_for_everyone(database: Database, database_url: str) -> None:
    add_photo(database, "a.jpg")
    assert filenames(database) == ["a.jpg"]
    other = Database(database_url)
    assert filenames(other) == ["a.jpg"]
    other.dispose()


@pytest.mark.parametrize("kind", ["write", "log"])
def test_a_block_that_raises_wrote_nothing(database: Database, kind: str) -> None:
    with suppress(KeyError), getattr(database, kind)() as session:
        session.add(Photo(filename="a.jpg"))
        session.flush()
        session.add(Photo(filename="b.jpg"))
        raise KeyError
    assert filenames(database) == []
    add_photo(database, "c.jpg")
    assert filenames(database) == ["c.jpg"]


def test_a_row_that_breaks_a_rule_takes_the_whole_block_with_it(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.add_all([Photo(filename="a.jpg", sha256="1" * 64), Photo(filename="b.jpg", sha256="1" * 64)])
    assert filenames(database) == []


def test_what_is_unique_is_unique_within_one_owner(database: Database) -> None:
    with database.write() as session:
        for owner in ("ann", "bob"):
            session.add(Photo(owner=owner, filename=owner, sha256="1" * 64, item_id="x"))
        session.add_all([Photo(owner="ann", filename="no file"), Photo(owner="ann", filename="none either")])
    assert filenames(database) == ["ann", "bob", "no file", "none either"]
    for clash in (Photo(owner="ann", sha256="1" * 64), Photo(owner="bob", item_id="x")):
        with pytest.raises(IntegrityError), database.write() as session:
            session.add(clash)


def test_many_writers_wait_their_turn(database: Database) -> None:
    """Each reads before it writes: begun as readers, they would fail with "database is locked"."""

    def count_up(_: int) -> None:
        with database.write() as session:
            count = session.exec(select(func.count(col(Photo.id)))).one()
            session.add(Photo(filename=str(count)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(count_up, range(64)))
    assert filenames(database) == [str(number) for number in range(64)]


def test_a_reader_keeps_its_view_and_holds_nobody_up(database: Database) -> None:
    add_photo(database, "before")
    with database.read() as session:
        assert session.exec(select(func.count(col(Photo.id)))).one() == 1
        started = time.monotonic()
        add_photo(database, "meanwhile")
        assert time.monotonic() - started < 5
        assert session.exec(select(func.count(col(Photo.id)))).one() == 1
    assert filenames(database) == ["before", "meanwhile"]


@pytest.mark.sqlite("its lock of the whole file")
def test_a_writer_that_waits_too_long_gives_up(path: Path) -> None:
    database = Database(f"sqlite:///{path}", busy_timeout_s=0.2)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(OperationalError, match="locked"):
        add_photo(database, "a.jpg")
    assert 0.1 < time.monotonic() - started < 5
    blocker.execute("ROLLBACK")
    blocker.close()
    add_photo(database, "b.jpg")
    assert filenames(database) == ["b.jpg"]
    database.dispose()


@pytest.mark.sqlite("its lock of the whole file")
def test_a_thread_that_waits_too_long_for_another_gives_up(path: Path) -> None:
    database = Database(f"sqlite:///{path}", busy_timeout_s=0.2)
    with database.write() as session, ThreadPoolExecutor(1) as pool:
        session.add(Photo(filename="a.jpg"))
        with pytest.raises(OperationalError, match="locked"):
            pool.submit(add_photo, database, "b.jpg").result()
    add_photo(database, "c.jpg")
    assert filenames(database) == ["a.jpg", "c.jpg"]
    database.dispose()


def test_a_database_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError):
        Database(f"sqlite:///{tmp_path}/no/such/folder/x.db")


def write_until_killed(path: Path, written: "Connection[str, str]") -> None:
    database = Database(f"sqlite:///{path}")
    for number in range(1_000_000):
        add_photo(database, str(number))
        written.send(str(number))


@pytest.mark.sqlite("the file that it leaves")
def test_a_kill_loses_nothing_that_was_acknowledged(path: Path) -> None:
    receiving, sending = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=write_until_killed, args=(path, sending))
    process.start()
    sending.close()
    acknowledged = [receiving.recv() for _ in range(30)]
    process.kill()
    process.join()
    while receiving.poll():
        try:
            acknowledged.append(receiving.recv())
        except EOFError:
            break
    database = Database(f"sqlite:///{path}")
    found = filenames(database)
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) - len(acknowledged) in {0, 1}, "at most the one that was on its way"
    with database.read() as session:
        assert pragma(session, "integrity_check") == "ok"
    database.dispose()


def test_the_id_of_a_deleted_photo_is_never_given_again(database: Database) -> None:
    first = add_photo(database, "a.jpg")
    with database.write() as session:
        session.delete(session.get_one(Photo, first))
    assert add_photo(database, "b.jpg") > first


def test_vectors_and_votes_go_with_their_photo_and_the_query_stays(database: Database) -> None:
    photo_id, other_id = add_photo(database, "a.jpg"), add_photo(database, "b.jpg")
    with database.write() as session:
        query = SearchQuery(kind=QueryKind.TEXT, text="a dog", result_count=2, latency_ms=1.5)
        session.add(query)
        session.flush()
        for key in (photo_id, other_id):
            session.add(Embedding(photo_id=key, space="s", vector=np.ones(4, np.float32) / 2))
            session.add(Feedback(photo_id=key, query_id=query.id, query_text="a dog", vote=1))
    with database.write() as session:
        session.exec(text("DELETE FROM photos WHERE id = :id").bindparams(id=photo_id))  # type: ignore[call-overload]
    with database.read() as session:
        assert list(session.exec(select(Embedding.photo_id))) == [other_id]
        assert list(session.exec(select(Feedback.photo_id))) == [other_id]
        assert session.exec(select(SearchQuery.text)).one() == "a dog"


def test_a_vector_without_a_photo_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(Embedding(photo_id=99, space="s", vector=np.ones(4, np.float32) / 2))


def test_a_photo_has_one_vector_in_each_space(database: Database) -> None:
    photo_id, vector = add_photo(database, "a.jpg"), np.ones(4, np.float32) / 2
    with database.write() as session:
        session.add_all([Embedding(photo_id=photo_id, space=space, vector=vector) for space in ("old", "new")])
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(Embedding(photo_id=photo_id, space="new", vector=vector))


def test_a_vector_comes_back_bit_by_bit(database: Database) -> None:
    vector = np.random.default_rng(7).standard_normal(512).astype(np.float32)
    photo_id = add_photo(database, "a.jpg")
    with database.write() as session:
        session.add(Embedding(photo_id=photo_id, space="s", vector=vector))
    with database.read() as session:
        stored = session.exec(select(Embedding)).one().vector
        size = session.exec(select(func.length(col(Embedding.vector)))).one()
    assert stored.dtype == np.float32
    assert stored.tobytes() == vector.tobytes()
    assert size == 4 * 512


def test_a_photo_comes_back_as_it_went_in(database: Database) -> None:
    taken = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2)))
    given = Photo(
        filename="Grüße 🐕.jpg",
        title="'; DROP TABLE photos; --",
        tags=["a", "ü", '"'],
        status=PhotoStatus.FAILED,
        taken_at=taken,
        latitude=-33.856944,
    )
    with database.write() as session:
        session.add(given)
    with database.read() as session:
        photo = session.exec(select(Photo)).one()
        kept = session.exec(text("SELECT status FROM photos")).scalar()  # type: ignore[call-overload]
    assert photo.filename == "Grüße 🐕.jpg"
    assert photo.title == "'; DROP TABLE photos; --"
    assert (photo.tags, photo.latitude, photo.status) == (["a", "ü", '"'], -33.856944, PhotoStatus.FAILED)
    assert kept == "failed"
    assert photo.taken_at == taken, "a date keeps its instant, whatever zone it was given in"
    assert photo.created_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - photo.created_at) < timedelta(minutes=1)
