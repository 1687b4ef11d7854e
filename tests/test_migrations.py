"""A library of an older version opens as it was, and nothing distinguishes it from a new one."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlmodel import SQLModel, select

from app import migrations
from app.database import Database
from app.flows.filters import PhotoFilter
from app.flows.full_text import text_matches
from app.migrations import NEWEST, NewerDatabase
from app.migrations.fts5 import TABLES
from app.tables import Import, ImportItem, Photo
from tests.conftest import DATA

pytestmark = pytest.mark.sqlite("its files of older versions; tests/test_postgres.py has the steps on PostgreSQL")


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The database of a library that 0.1.0 made: two photos, one query."""
    with sqlite3.connect(tmp_path / "recollect.db") as connection:
        connection.executescript((DATA / "library_0.1.0.sql").read_text())
    connection.close()
    return f"sqlite:///{tmp_path}/recollect.db"


def test_an_older_library_keeps_its_rows_and_gets_the_new_tables(old: str) -> None:
    for _ in range(2):  # a second opening finds nothing to do
        database = Database(old)
        with database.read() as session:
            photos = session.exec(select(Photo).order_by("id")).all()
            assert [photo.suggested_caption for photo in photos] == [
                "A photo of an animal.",
                "A photo of a pizza.",
            ]
            assert [photo.lens for photo in photos] == [None, None]
        database.dispose()
    database = Database(old)
    with database.write() as session:
        batch = Import(source="upload")
        session.add(batch)
        session.flush()
        session.add(ImportItem(import_id=batch.id or 0, name="a.jpg"))
    database.dispose()


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """FTS5's own tables are in no metadata."""
    return kind != "table" or not str(name).startswith(tuple(TABLES))


def full_text_objects(database: Database) -> list[tuple[str, str]]:
    """The view, FTS5's tables and the triggers that fill them, as SQLite was told of them."""
    wanted = (
        "SELECT name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') OR name LIKE 'photo!_%' ESCAPE '!'"
    )
    with database.engine.connect() as connection:
        return sorted((name, sql) for name, sql in connection.exec_driver_sql(wanted))


def test_the_steps_lead_to_the_tables_of_a_new_library(old: str, tmp_path: Path) -> None:
    upgraded, new = Database(old), Database(f"sqlite:///{tmp_path}/new.db")
    with upgraded.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_ours})
        assert compare_metadata(context, SQLModel.metadata) == []
    assert full_text_objects(upgraded) == full_text_objects(new)
    assert len(full_text_objects(new)) == 1 + 2 * (
        5 + 4
    )  # FTS5 makes five tables of each, and four triggers fill it
    one, other = inspect(upgraded.engine), inspect(new.engine)
    assert sorted(one.get_table_names()) == sorted(other.get_table_names())
    for table in one.get_table_names():
        keys = [sorted(str(key["options"]) for key in tables.get_foreign_keys(table)) for tables in (one, other)]
        assert keys[0] == keys[1], table
    upgraded.dispose()
    new.dispose()


def test_the_words_of_an_older_library_are_found(old: str) -> None:
    database = Database(old)
    with database.read() as session:
        name = session.exec(select(Photo.filename).where(Photo.id == 1)).one()
        assert list(text_matches(session, name, PhotoFilter(), 10)) == [1]
    database.dispose()


def test_a_database_of_a_newer_version_is_left_alone(old: str) -> None:
    Database(old).dispose()
    path = old.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(NewerDatabase, match="9999"):
        Database(old)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()


def test_the_newest_step_is_named() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST
