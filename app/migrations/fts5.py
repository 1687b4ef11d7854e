"""Full-text tables in SQLite (FTS5).

`photo_words` has whole words, stemmed and without accents; `photo_parts` has every three characters in a row, for
parts of words. They keep no text (contentless), so the triggers tell them what to take out: before a change the
view `photo_texts` still shows it. An external-content table would not do, for FTS5 reads no view with json_each.
"""
# ruff: noqa: S608 — statements are put together from the names below

from sqlalchemy import Connection

from app.migrations.words import PARTS, VIEW, WORDS

TABLES = {
    "photo_words": (WORDS, "porter unicode61 remove_diacritics 2"),
    "photo_parts": (PARTS, "trigram"),
}


def create(connection: Connection) -> None:
    """View, tables and triggers, filled from the photos that are there."""
    tags = "(SELECT group_concat(value, ' ') FROM json_each(photos.tags)) AS tags"  # from a JSON list
    columns = ", ".join(tags if name == "tags" else name for name in dict.fromkeys(WORDS + PARTS))
    connection.exec_driver_sql(f"CREATE VIEW {VIEW} AS SELECT id, {columns} FROM photos")
    for table, (names, tokenizer) in TABLES.items():
        columns = ", ".join(names)
        connection.exec_driver_sql(
            f"CREATE VIRTUAL TABLE {table} USING fts5({columns}, content='', tokenize='{tokenizer}')"
        )
        _add_triggers(connection, table, columns)
    refill(connection)


def is_whole(connection: Connection, table: str) -> bool:
    """Whether it holds the library's photos, and no others. Raises: sqlalchemy.exc.DatabaseError (damage)."""
    connection.exec_driver_sql(f"INSERT INTO {table}({table}) VALUES ('integrity-check')")
    indexed, photos = f"SELECT id FROM {table}_docsize", "SELECT id FROM photos"
    differing = f"SELECT * FROM ({indexed} EXCEPT {photos}) UNION ALL SELECT * FROM ({photos} EXCEPT {indexed})"
    return connection.exec_driver_sql(f"{differing} LIMIT 1").first() is None


def refill(connection: Connection) -> None:
    """Both tables as if all photos had just come in."""
    for table, (names, _) in TABLES.items():
        connection.exec_driver_sql(f"INSERT INTO {table}({table}) VALUES ('delete-all')")
        connection.exec_driver_sql(_insertion(table, ", ".join(names)))


def _add_triggers(connection: Connection, table: str, columns: str) -> None:
    add = f"{_insertion(table, columns)} WHERE id = new.id"
    old = f"SELECT 'delete', id, {columns} FROM {VIEW} WHERE id = old.id"
    take_out = f"INSERT INTO {table}({table}, rowid, {columns}) {old}"
    for name, moment, statement in (
        ("insert", "AFTER INSERT", add),
        ("before_update", f"BEFORE UPDATE OF {columns}", take_out),
        ("update", f"AFTER UPDATE OF {columns}", add),
        ("delete", "BEFORE DELETE", take_out),
    ):
        connection.exec_driver_sql(f"CREATE TRIGGER {table}_{name} {moment} ON photos BEGIN {statement}; END")


def _insertion(table: str, columns: str) -> str:
    return f"INSERT INTO {table}(rowid, {columns}) SELECT id, {columns} FROM {VIEW}"
