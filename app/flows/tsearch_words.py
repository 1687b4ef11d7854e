"""Where words stand, by PostgreSQL's full text: app/migrations/tsearch.py makes the table and the functions."""
# ruff: noqa: S608 — only names of tables and columns are put into statements, values are bound

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlmodel import Session

from app.database import statement
from app.migrations.tsearch import TABLE
from app.migrations.words import PARTS, VIEW, WORDS
from app.services.interfaces import Ids

Among = Sequence[int] | None  # ids
_HOLDS_WORD = f"{TABLE}.words @@ recollect_query(:words)"
_HOLDS_PART = f"{TABLE}.parts LIKE ANY (:patterns)"


@dataclass(frozen=True)
class TsearchWords:
    """A WordTables of one owner; `shared` says whether others have photos, too."""

    session: Session
    owner: str
    shared: bool

    def whole_counts(self, words: Sequence[str]) -> list[int]:
        return self._counts(_HOLDS_WORD.replace(":words", ":word{}"), [[word] for word in words])

    def part_counts(self, words: Sequence[str]) -> list[int]:
        return self._counts(_HOLDS_PART.replace(":patterns", ":word{}"), [_patterns([word]) for word in words])

    def whole(self, word: str, most: int, *, beside: Sequence[str] = (), among: Among = None) -> Ids:
        rarer = f" AND {TABLE}.words @@ recollect_query(:beside)" if beside else ""
        return self._hits(_HOLDS_WORD + rarer, most, among, words=[word], beside=list(beside))

    def parts(self, word: str, most: int, *, among: Among = None) -> Ids:
        return self._hits(_HOLDS_PART, most, among, patterns=_patterns([word]))

    def whole_columns(self, words: Sequence[str], ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        return self._columns(WORDS, "recollect_words({}) @@ query", words, ids)

    def part_columns(self, words: Sequence[str], ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        return self._columns(PARTS, "lower({}) LIKE ANY (:patterns)", words, ids)

    def _counts(self, holds: str, words: Sequence[list[str]]) -> list[int]:
        if not words:
            return []
        one = f"SELECT count(*) FROM {TABLE} WHERE {holds} {self._mine}"
        values: dict[str, object] = {f"word{n}": word for n, word in enumerate(words)}
        counts = "SELECT " + ", ".join(f"({one.format(n)})" for n in range(len(words)))
        return list(self.session.connection().execute(statement(counts), values | {"owner": self.owner}).one())

    def _hits(self, holds: str, most: int, among: Among, **values: object) -> Ids:
        within = "" if among is None else f"AND {TABLE}.photo_id = ANY (:among)"
        found = f"SELECT photo_id FROM {TABLE} WHERE {holds} {within} {self._mine}"
        newest = statement(
            f"SELECT array_agg(photo_id) FROM ({found} ORDER BY photo_id DESC LIMIT :most) AS newest"
        )
        values |= {"most": most if among is None else len(among), "owner": self.owner}
        if among is not None:
            values["among"] = list(among)
        return np.array(self.session.connection().scalar(newest, values) or [], np.int64)

    @property
    def _mine(self) -> str:
        """A condition that costs a look at each hit, and so is left out where all hits are the owner's."""
        one_of_mine = f"SELECT 1 FROM photos WHERE photos.id = {TABLE}.photo_id AND photos.owner = :owner"
        return f"AND EXISTS ({one_of_mine})" if self.shared else ""

    def _columns(
        self, names: Sequence[str], holds: str, words: Sequence[str], ids: Sequence[int]
    ) -> Iterator[tuple[int, str]]:
        if not ids or not words:
            return
        values = {"words": list(words), "patterns": _patterns(words), "ids": list(ids)}
        flags = ", ".join(holds.format(name) for name in names)
        rows = f"SELECT id, {flags} FROM {VIEW}, recollect_query(:words) AS query WHERE id = ANY (:ids)"
        for photo_id, *held in self.session.connection().execute(statement(rows), values):
            yield from ((photo_id, name) for name, here in zip(names, held, strict=True) if here)


def _patterns(words: Sequence[str]) -> list[str]:
    """For LIKE, in both spellings of ß."""
    spellings = [form for word in words for form in (word, word.replace("ß", "ss"), word.replace("ss", "ß"))]
    return [f"%{_literal(form)}%" for form in dict.fromkeys(spellings)]


def _literal(word: str) -> str:
    for special in ("\\", "%", "_"):
        word = word.replace(special, f"\\{special}")
    return word
