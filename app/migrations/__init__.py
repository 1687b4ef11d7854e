"""Versions of the tables: an older database is brought up to date when it is opened.

Each step is a file in versions/; a test compares what they lead to with app/tables.py.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

import app.tables  # noqa: F401 — fills SQLModel.metadata
from app.migrations import full_text, news

FIRST = "0001"  # the tables of 0.1.0, which named no version yet
NEWEST = "0004"

_STATE = "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"


class NewerDatabase(SQLAlchemyError):
    """The database has been used by a newer Recollect; this one would not know what to do with it."""


def bring_up_to_date(engine: Engine) -> None:
    """New tables for an empty database, the missing steps for an older one, in one transaction.

    Raises: NewerDatabase, sqlalchemy.exc.OperationalError.
    """
    with engine.begin() as connection:
        version = version_of(connection)
        if version is None:
            SQLModel.metadata.create_all(connection)
            full_text.create(connection)
            news.create(connection)
            _stamp(connection, NEWEST)
        elif version != NEWEST:
            _stamp(connection, version)
            _upgrade(connection, version)


def version_of(connection: Connection) -> str | None:
    """None: there are no tables yet."""
    tables = inspect(connection)
    if tables.has_table("alembic_version"):
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))
    return FIRST if tables.has_table("photos") else None


def _stamp(connection: Connection, version: str) -> None:
    connection.execute(text(_STATE))
    connection.execute(text("DELETE FROM alembic_version"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})


def _upgrade(connection: Connection, version: str) -> None:
    # Here, because it takes a third of a second, and nearly every start finds nothing to do.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    try:
        ScriptDirectory.from_config(config).get_revision(version)
    except CommandError as error:
        raise NewerDatabase(
            f"it is of version {version}, and this Recollect knows versions up to {NEWEST}: install a newer one"
        ) from error
    command.upgrade(config, NEWEST)
