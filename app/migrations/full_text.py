"""Full-text tables of the photos' words, kept right by triggers, whoever writes the photos."""

from sqlalchemy import Connection

from app.migrations import fts5, tsearch


def create(connection: Connection) -> None:
    """Tables, triggers and what they need, filled from the photos that are there."""
    if connection.dialect.name == "postgresql":
        tsearch.create(connection)
    else:
        fts5.create(connection)


def refill(connection: Connection) -> None:
    """The tables as if all photos had just come in."""
    if connection.dialect.name == "postgresql":
        tsearch.refill(connection)
    else:
        fts5.refill(connection)


def tables(dialect: str) -> tuple[str, ...]:
    """Their names, by SQLAlchemy's name of the kind of database."""
    return (tsearch.TABLE,) if dialect == "postgresql" else tuple(fts5.TABLES)


def is_whole(connection: Connection, table: str) -> bool:
    """Whether it holds the library's photos, and no others. Raises: sqlalchemy.exc.DatabaseError (damage)."""
    if connection.dialect.name == "postgresql":
        return tsearch.is_whole(connection)
    return fts5.is_whole(connection, table)
