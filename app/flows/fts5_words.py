"""Where words stand, by SQLite's full-text tables (FTS5)."""
# ruff: noqa: S608 — only names of tables and columns are put into statements, values are bound

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection
from sqlmodel import Session

from app.database import statement
from app.migrations.fts5 import TABLES
from app.migrations.words import VIEW
from app.services.interfaces import Ids

WHOLE, PARTS = TABLES
Among = Sequence[int] | None  # ids


@dataclass(frozen=True)
class Fts5Words:
    """A WordTables of one owner; `shared` says whether others have photos, too."""

    session: Session
    owner: str
    shared: bool

    def whole_counts(self, words: Sequence[str]) -> list[int]:
        """0.05 ms for a thousand; a thousand take a millisecond beside other owners."""
        return self._counts(WHOLE, words)

    def part_counts(self, words: Sequence[str]) -> list[int]:
        return self._counts(PARTS, words)

    def whole(self, word: str, most: int, *, beside: Sequence[str] = (), among: Among = None) -> Ids:
        rarer = f" AND ({_any_of(beside)})" if beside else ""
        return self._hits(WHOLE, _quoted(word) + rarer, most, among)

    def parts(self, word: str, most: int, *, among: Among = None) -> Ids:
        return self._hits(PARTS, _quoted(word), most, among)

    def whole_columns(self, words: Sequence[str], ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        return self._columns(WHOLE, words, ids)

    def part_columns(self, words: Sequence[str], ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        return self._columns(PARTS, words, ids)

    def _hits(self, table: str, match: str, most: int, among: Among) -> Ids:
        # With a + the list is looked up for each hit; without it, each id among the hits, which takes 0.1 ms.
        within = "" if among is None else "AND +rowid IN (SELECT value FROM json_each(:among))"
        found = f"SELECT rowid FROM {table} WHERE {table} MATCH :match {within} {self._mine(table)}"
        values: dict[str, str | int] = {"match": match, "most": most, "owner": self.owner}
        if among is not None:
            values |= {"most": len(among), "among": json.dumps(among)}
        newest = f"{found} ORDER BY rowid DESC LIMIT :most"
        # One string is read four times as fast as its numbers in rows of their own.
        listed = self._connection.scalar(statement(f"SELECT group_concat(rowid) FROM ({newest})"), values)
        return np.fromstring(listed or "", np.int64, sep=",")

    def _counts(self, table: str, words: Sequence[str]) -> list[int]:
        if not words:
            return []
        # The same statement for any number of words, so that a connection has it ready.
        one = f"SELECT count(*) FROM {table} WHERE {table} MATCH value {self._mine(table)}"
        each = statement(f"SELECT ({one}) FROM json_each(:words) ORDER BY key")
        quoted = json.dumps([_quoted(word) for word in words])
        return list(self._connection.scalars(each, {"words": quoted, "owner": self.owner}))

    @property
    def _connection(self) -> Connection:
        return self.session.connection()

    def _mine(self, table: str) -> str:
        """A condition that costs a look at each hit, and so is left out where all hits are the owner's."""
        one_of_mine = f"SELECT 1 FROM photos WHERE photos.id = {table}.rowid AND photos.owner = :owner"
        return f"AND EXISTS ({one_of_mine})" if self.shared else ""

    def _columns(self, table: str, words: Sequence[str], ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        """By a small index of these photos only: to ask the large one for a column of one photo takes 0.1 ms."""
        names, tokenizer = TABLES[table]
        columns, connection = ", ".join(names), self._connection
        if not ids or not words:
            return
        connection.exec_driver_sql(
            f"CREATE VIRTUAL TABLE temp.found USING fts5({columns}, content='', tokenize='{tokenizer}')"
        )
        rows = f"SELECT id, {columns} FROM {VIEW} WHERE id IN (SELECT value FROM json_each(:ids))"
        connection.execute(statement(f"INSERT INTO temp.found(rowid, {columns}) {rows}"), {"ids": json.dumps(ids)})
        inside = (f"SELECT rowid, '{name}' FROM temp.found WHERE found MATCH :{name}" for name in names)
        values = {name: f"{{{name}}} : ({_any_of(words)})" for name in names}
        yield from connection.execute(statement(" UNION ALL ".join(inside)), values)
        connection.exec_driver_sql("DROP TABLE temp.found")


def _quoted(word: str) -> str:
    """As a string for MATCH, whatever it holds, in both spellings of ß, of which FTS5 knows nothing."""
    spellings = dict.fromkeys((word, word.replace("ß", "ss"), word.replace("ss", "ß")))
    return "(" + " OR ".join('"' + one.replace('"', '""') + '"' for one in spellings) + ")"


def _any_of(words: Sequence[str]) -> str:
    return " OR ".join(map(_quoted, words))
