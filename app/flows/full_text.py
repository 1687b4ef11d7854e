"""Photos by the words that are written about them, in them, or in their file names."""
# ruff: noqa: S608 — only names of tables and columns are put into statements, values are bound

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import text
from sqlmodel import Session, col, func, or_, select

from app.flows.filters import PhotoFilter
from app.migrations.full_text import TABLES, VIEW, has_full_text
from app.services.interfaces import Ids, Scores
from app.tables import Photo

MOST_HITS = 20_000  # of one word, some 10 ms; a word that more photos have tells little
MOST_WORDS = 64  # of one query
GROWTH = 4  # of the part of the hits that the filter is tried on, until enough are left
TRIGRAM = 3  # characters; parts of words that are shorter are in no index
PART_WEIGHT = 0.5  # of a part of a word beside a whole one; a part of a name ("g_12") counts as a whole one

# Without meaning here, and in nearly every caption.
_STOP_WORDS = """
a about above after again against all also am an and any are as at be because been before behind being below
beside between both but by can could did do does doing down during each few for from further had has have having
he her here hers him his how i if in into is it its just me more most my near no nor not of off on once only or
other our out over own same she should so some such than that the their them then there these they this those
through to too under until up very was we were what when where which while who whom why will with would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
FIELDS = {"city": "place", "region": "place", "country": "place", "ocr_text": "text", "item_id": "filename"}


@dataclass(frozen=True)
class TextMatch:
    """`score`, 0..1: how much of the query's words this photo's words hold; `fields`: where they stand, any of
    title, caption, tags, category, place, camera, text (in the picture) and filename."""

    score: float
    fields: tuple[str, ...]


@dataclass(frozen=True)
class _Word:
    text: str  # lower case
    in_others: bool = False  # whether it is looked for inside other words, too

    @property
    def quoted(self) -> str:
        """As a string for MATCH, whatever it holds, in both spellings of ß, of which FTS5 knows nothing."""
        spellings = dict.fromkeys((self.text, self.text.replace("ß", "ss"), self.text.replace("ss", "ß")))
        return "(" + " OR ".join('"' + one.replace('"', '""') + '"' for one in spellings) + ")"

    @property
    def is_name(self) -> bool:
        """Whether it looks like a number, or a part of a file name."""
        return re.search(r"[\d._]", self.text) is not None


def text_matches(session: Session, words: str, wanted: PhotoFilter, limit: int) -> dict[int, TextMatch]:
    """The photos under the filter that hold any of these words, best first, and of equals the newest first.

    The score is the share of the query's information that the photo holds: Σ idf of the words found / Σ idf of all
    words of the query but stop words, with idf = ln(1 + (N − n + ½) / (n + ½)) for a word in n of N photos. That
    is BM25 with k1 = 0 (Robertson and Zaragoza 2009; this idf is Lucene's), divided by the most it can reach: how
    often a word stands in a caption says nothing, and a long text in a picture is no worse for it. Besides, FTS5's
    own bm25() takes eight times as long.

    A word that more than MOST_HITS photos have is looked for where rarer words are; if all are that common, among
    the newest photos. With wanted.ids, every word is looked for in these. Without words, or hits: {}.
    """
    if not has_full_text(session.connection()):
        return {}
    asked = _asked(session, words)
    if not asked:
        return {}
    ids, scores = _scored(session, asked, wanted.ids)
    shown = _passing(session, ids, wanted, limit)
    fields = _fields(session, asked, ids[shown].tolist())
    return {
        i: TextMatch(score, fields[i])
        for i, score in zip(ids[shown].tolist(), scores[shown].tolist(), strict=True)
    }


def _asked(session: Session, words: str) -> list[_Word]:
    """The words that count: each once, without stop words and the marks round it."""
    split = words.replace("\0", " ").lower().split()
    bare = (re.sub(r"^\W+|(['’]s)?\W*$", "", word) for word in split)
    telling = (word for word in bare if word not in STOP_WORDS and any(map(str.isalnum, word)))
    asked = [_Word(word) for word in dict.fromkeys(telling)][:MOST_WORDS]
    return [replace(word, in_others=_in_others(session, word)) for word in asked]


def _in_others(session: Session, word: _Word) -> bool:
    """Not three plain letters that are a word themselves: "ice" is in OFFICE, PRICE and SERVICE."""
    plain = word.text.isascii() and not word.is_name
    long_enough = len(word.text) >= TRIGRAM + plain
    return long_enough or (len(word.text) == TRIGRAM and not _count(session, word))


def _scored(session: Session, asked: Sequence[_Word], among: Sequence[int] | None) -> tuple[Ids, Scores]:
    """Ids and scores of all hits, in the order of text_matches; the filter is still to come."""
    photos = session.exec(select(func.max(Photo.id))).one() or 0  # as good as their number here, and at hand
    counts = np.array([_count(session, word) for word in asked])
    idf = np.log1p((np.maximum(photos - counts, 0) + 0.5) / (counts + 0.5))
    rarer = " OR ".join(word.quoted for word, count in zip(asked, counts, strict=True) if count <= MOST_HITS)
    gained = np.zeros(photos + 1, np.float32)  # by id
    for word, count, weight in zip(asked, counts, idf / idf.sum(), strict=True):
        beside = f" AND ({rarer})" if rarer and count > MOST_HITS and among is None else ""
        whole = _hits(session, "photo_words", word.quoted + beside, among)
        parts = _hits(session, "photo_parts", word.quoted, among) if word.in_others else _short(session, asked)
        gained[whole] += weight
        gained[np.setdiff1d(parts, whole, assume_unique=True)] += weight * (1 if word.is_name else PART_WEIGHT)
    newest_first = np.flatnonzero(gained)[::-1]
    ids = newest_first[np.argsort(-gained[newest_first], kind="stable")]
    return ids, gained[ids]


def _passing(session: Session, ids: Ids, wanted: PhotoFilter, limit: int) -> list[int]:
    """Places of the first `limit` ids that the filter leaves; most filters leave enough of the first few."""
    shown: list[int] = []
    start, step = 0, limit
    while start < len(ids) and len(shown) < limit:
        part = ids[start : start + step].tolist()
        these = func.json_each(json.dumps(part)).table_valued("value")
        left = set(
            session.exec(select(Photo.id).where(col(Photo.id).in_(select(these.c.value)), *wanted.conditions()))
        )
        shown += [start + n for n, photo_id in enumerate(part) if photo_id in left]
        start, step = start + step, step * GROWTH
    return shown[:limit]


def _count(session: Session, word: _Word) -> int:
    """How many photos have it, 0.05 ms for a thousand."""
    tables = ("photo_words", "photo_parts") if word.in_others else ("photo_words",)
    counts = [text(f"SELECT count(*) FROM {table} WHERE {table} MATCH :words") for table in tables]
    return max(session.connection().scalar(count, {"words": word.quoted}) or 0 for count in counts)


def _hits(session: Session, table: str, match: str, among: Sequence[int] | None) -> Ids:
    """The newest MOST_HITS; all of those among these ids."""
    # With a + the list is looked up for each hit; without it, each id among the hits, which takes 0.1 ms.
    within = "" if among is None else "AND +rowid IN (SELECT value FROM json_each(:among))"
    query = f"SELECT rowid FROM {table} WHERE {table} MATCH :match {within} ORDER BY rowid DESC LIMIT :most"
    values: dict[str, str | int] = {"match": match, "most": MOST_HITS}
    if among is not None:
        values |= {"most": len(among), "among": json.dumps(among)}
    # One string is read four times as fast as its numbers in rows of their own.
    listed = session.connection().scalar(text(f"SELECT group_concat(rowid) FROM ({query})"), values)
    return np.fromstring(listed or "", np.int64, sep=",")


def _short(session: Session, asked: Sequence[_Word]) -> Ids:
    """Where one word that is too short for an index stands all alone: a number in a name, 城 in a picture."""
    word, *others = asked
    if others or len(word.text) >= TRIGRAM or (word.text.isascii() and not word.is_name):
        return np.empty(0, np.int64)
    columns = (Photo.filename, Photo.item_id) if word.is_name else (Photo.ocr_text,)
    holding = or_(*(col(column).contains(word.text, autoescape=True) for column in columns))
    newest = select(col(Photo.id)).where(holding).order_by(col(Photo.id).desc()).limit(MOST_HITS)
    return np.array(session.exec(newest).all(), np.int64)


def _fields(session: Session, asked: Sequence[_Word], ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Where the words stand; as parts of words only if they stand nowhere as whole ones."""
    found: dict[int, list[str]] = {i: [] for i in ids}
    for table in TABLES:
        for photo_id, column in _columns(session, table, asked, [i for i, names in found.items() if not names]):
            found[photo_id].append(FIELDS.get(column, column))
    short = ["filename" if asked[0].is_name else "text"]
    return {i: tuple(dict.fromkeys(names or short)) for i, names in found.items()}


def _columns(
    session: Session, table: str, asked: Sequence[_Word], ids: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Photos and columns that hold any of the words, by a small index of these photos only.

    To ask the large one for a column of a single photo takes 0.1 ms.
    """
    names, tokenizer = TABLES[table]
    columns, connection = ", ".join(names), session.connection()
    match = " OR ".join(word.quoted for word in asked if table == "photo_words" or word.in_others)
    if not ids or not match:
        return
    connection.exec_driver_sql(
        f"CREATE VIRTUAL TABLE temp.found USING fts5({columns}, content='', tokenize='{tokenizer}')"
    )
    rows = f"SELECT id, {columns} FROM {VIEW} WHERE id IN (SELECT value FROM json_each(:ids))"
    connection.execute(text(f"INSERT INTO temp.found(rowid, {columns}) {rows}"), {"ids": json.dumps(ids)})
    for name in names:
        inside = text("SELECT rowid FROM temp.found WHERE found MATCH :match")
        for photo_id in connection.scalars(inside, {"match": f"{{{name}}} : ({match})"}):
            yield photo_id, name
    connection.exec_driver_sql("DROP TABLE temp.found")
