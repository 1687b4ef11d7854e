"""One parameter holds any number of ids, on every kind of database."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from sqlmodel import Session, col, select

from app.database import Database
from app.id_lists import among
from app.tables import Photo

COUNT = 12


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    database = Database(database_url)
    with database.write() as writing:
        writing.add_all(Photo(filename=f"{n}.jpg") for n in range(COUNT))
    with database.read() as reading:
        yield reading
    database.dispose()


def found(session: Session, statement: Any, **values: object) -> set[int | None]:
    return set(session.scalars(statement, values))


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param([3, 1, 99], id="a list"),
        pytest.param(np.array([1, 3], np.int64), id="of numpy"),
        pytest.param({3: "c", 1: "a"}, id="keys"),
        pytest.param([*range(1000, 100_000), 1, 3], id="more than a statement may have parameters"),
    ],
)
def test_those_that_are_there_are_found(session: Session, ids: Iterable[int]) -> None:
    assert found(session, select(Photo.id).where(among(col(Photo.id), ids))) == {1, 3}
    assert found(session, select(Photo.id).where(among(col(Photo.id), ids), col(Photo.id) > 1)) == {3}


def test_of_no_ids_none_is_found(session: Session) -> None:
    assert not found(session, select(Photo.id).where(among(col(Photo.id), [])))


def test_a_statement_that_is_made_once_is_given_its_ids(session: Session) -> None:
    statement = select(Photo.id).where(among(col(Photo.id)))
    assert found(session, statement, ids=[2]) == {2}
    assert found(session, statement, ids=np.arange(5)) == {1, 2, 3, 4}
    assert not found(session, statement, ids=[])


def test_ids_of_a_statement_are_its_own(session: Session) -> None:
    """Statements are kept by their text, and only the values differ."""
    one, other = (select(Photo.id).where(among(col(Photo.id), ids)) for ids in ([1], [2, 3]))
    assert [found(session, one), found(session, other), found(session, one)] == [{1}, {2, 3}, {1}]


@pytest.mark.sqlite("PostgreSQL reads a table as small as this one from end to end")
def test_rows_are_looked_up_by_their_ids(session: Session) -> None:
    wanted = select(Photo.id).where(among(col(Photo.id), [1, 3]), Photo.owner == "default", Photo.filename != "")
    sql = str(wanted.compile(session.get_bind()))
    plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?"))
    assert "rowid=?" in str(plan.all())
