"""Photos by the words that are written about them, in them, or in their file names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from sqlmodel import Session, col, func, or_, select

from app.database import is_postgres
from app.flows.filters import PhotoFilter
from app.flows.fts5_words import Among, Fts5Words
from app.flows.tsearch_words import TsearchWords
from app.id_lists import among
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
NONE: Ids = np.empty(0, np.int64)
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
    whole: int  # photos that have it
    inside: int = 0  # photos that have it inside other words, where it is looked for there

    @property
    def count(self) -> int:
        return max(self.whole, self.inside)


_EDGES = (func.min(Photo.owner), func.max(Photo.owner), func.max(Photo.id))
_SELECT_EDGES = select(*(select(edge).scalar_subquery() for edge in _EDGES))


class TextMatches(dict[int, TextMatch]):
    """By photo id; `complete`: no other photo under the filter holds any of the words."""

    def __init__(self, found: Mapping[int, TextMatch] | None = None, *, complete: bool = True) -> None:
        super().__init__(found or {})
        self.complete = complete


def text_matches(session: Session, words: str, wanted: PhotoFilter, limit: int) -> TextMatches:
    """The photos under the filter that hold any of these words, best first, and of equals the newest first.

    The score is the share of the query's information that the photo holds: Σ idf of the words found / Σ idf of all
    words of the query but stop words, with idf = ln(1 + (N − n + ½) / (n + ½)) for a word in n of N photos. That
    is BM25 with k1 = 0 (Robertson and Zaragoza 2009; this idf is Lucene's), divided by the most it can reach: how
    often a word stands in a caption says nothing, and a long text in a picture is no worse for it. Besides, FTS5's
    own bm25() takes eight times as long.

    A word that more than MOST_HITS photos have is looked for where rarer words are; if all are that common, among
    the newest photos. With wanted.ids, every word is looked for in these. Without words, or hits: {}.
    """
    library = _Library.of(session, wanted.owner)
    asked = _asked(library, words)
    if not asked:
        return TextMatches()
    ids, scores = _scored(library, asked, wanted.ids)
    shown = _passing(session, ids, wanted, limit)
    fields = _fields(library, asked, ids[shown].tolist())
    found = zip(ids[shown].tolist(), scores[shown].tolist(), strict=True)
    complete = max(word.count for word in asked) <= MOST_HITS and len(shown) < limit
    return TextMatches({i: TextMatch(score, fields[i]) for i, score in found}, complete=complete)


class WordTables(Protocol):
    """What a kind of database knows of words: whole ones, stemmed and without accents, and parts of words."""

    def whole_counts(self, words: Sequence[str]) -> list[int]:
        """How many photos have each of these words."""
        ...

    def part_counts(self, words: Sequence[str]) -> list[int]:
        """Likewise, inside other words."""
        ...

    def whole(self, word: str, most: int, *, beside: Sequence[str] = (), among: Among = None) -> Ids:
        """The newest photos that have the word, and any of those `beside`; all of those among these ids."""
        ...

    def parts(self, word: str, most: int, *, among: Among = None) -> Ids:
        """Likewise, inside other words."""
        ...

    def whole_columns(self, words: Sequence[str], ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Which of these photos hold any of the words, and in which column."""
        ...

    def part_columns(self, words: Sequence[str], ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Likewise, inside other words."""
        ...


@dataclass(frozen=True)
class _Library:
    """What the full-text tables hold of one owner; the words of others change neither hits nor scores."""

    session: Session
    owner: str
    shared: bool  # whether others have photos, too
    highest_id: int
    tables: WordTables

    @classmethod
    def of(cls, session: Session, owner: str) -> Self:
        *owners, highest = session.exec(_SELECT_EDGES).one()
        shared = owners not in ([owner] * 2, [None] * 2)
        tables = TsearchWords if is_postgres(session) else Fts5Words
        return cls(session, owner, shared, highest or 0, tables(session, owner, shared))

    def photos(self) -> int:
        """How many; the highest id is as good here, and at hand."""
        if not self.shared:
            return self.highest_id
        mine = select(func.count()).select_from(Photo).where(Photo.owner == self.owner)
        return self.session.exec(mine).one()

    def short(self, asked: Sequence[_Word]) -> Ids:
        """Where one word that is too short for an index stands all alone: a number in a name, 城 in a picture."""
        word, *others = (word.text for word in asked)
        if others or len(word) >= TRIGRAM or (word.isascii() and not _is_name(word)):
            return NONE
        columns = (Photo.filename, Photo.item_id) if _is_name(word) else (Photo.ocr_text,)
        holding = or_(*(col(column).contains(word, autoescape=True) for column in columns))
        mine = select(col(Photo.id)).where(Photo.owner == self.owner, holding)
        return np.array(self.session.exec(mine.order_by(col(Photo.id).desc()).limit(MOST_HITS)).all(), np.int64)


def _asked(library: _Library, words: str) -> list[_Word]:
    """The words that count: each once, without stop words and the marks round it."""
    split = words.replace("\0", " ").lower().split()
    bare = (re.sub(r"^\W+|(['’]s)?\W*$", "", word) for word in split)
    telling = (word for word in bare if word not in STOP_WORDS and any(map(str.isalnum, word)))
    texts = list(dict.fromkeys(telling))[:MOST_WORDS]
    whole = dict(zip(texts, library.tables.whole_counts(texts), strict=True))
    inside = [text for text in texts if _in_others(text, whole[text])]
    parts = dict(zip(inside, library.tables.part_counts(inside), strict=True))
    return [_Word(text, whole[text], parts.get(text, 0)) for text in texts]


def _in_others(word: str, whole: int) -> bool:
    """Not three plain letters that are a word themselves: "ice" is in OFFICE, PRICE and SERVICE."""
    plain = word.isascii() and not _is_name(word)
    return len(word) >= TRIGRAM + plain or (len(word) == TRIGRAM and not whole)


def _is_name(word: str) -> bool:
    """Whether it looks like a number, or a part of a file name."""
    return re.search(r"[\d._]", word) is not None


def _part_weight(word: str) -> float:
    return 1.0 if _is_name(word) else PART_WEIGHT


def _scored(library: _Library, asked: Sequence[_Word], among: Among) -> tuple[Ids, Scores]:
    """Ids and scores of all hits, in the order of text_matches; the filter is still to come."""
    tables, photos, counts = library.tables, library.photos(), np.array([word.count for word in asked])
    idf = np.log1p((np.maximum(photos - counts, 0) + 0.5) / (counts + 0.5))
    rarer = [word.text for word in asked if word.count <= MOST_HITS]
    gained = np.zeros(library.highest_id + 1, np.float32)  # by id
    for word, weight in zip(asked, idf / idf.sum(), strict=True):
        beside = rarer if word.count > MOST_HITS and among is None else []
        whole = tables.whole(word.text, MOST_HITS, beside=beside, among=among) if word.whole else NONE
        parts = tables.parts(word.text, MOST_HITS, among=among) if word.inside else library.short(asked)
        gained[whole] += weight
        gained[np.setdiff1d(parts, whole, assume_unique=True)] += weight * _part_weight(word.text)
    newest_first = np.flatnonzero(gained)[::-1]
    ids = newest_first[np.argsort(-gained[newest_first], kind="stable")]
    return ids, gained[ids]


def _passing(session: Session, ids: Ids, wanted: PhotoFilter, limit: int) -> list[int]:
    """Places of the first `limit` ids that the filter leaves; most filters leave enough of the first few."""
    shown: list[int] = []
    start, step = 0, limit
    while start < len(ids) and len(shown) < limit:
        part = ids[start : start + step].tolist()
        left = set(session.exec(select(Photo.id).where(among(col(Photo.id), part), *wanted.conditions())))
        shown += [start + n for n, photo_id in enumerate(part) if photo_id in left]
        start, step = start + step, step * GROWTH
    return shown[:limit]


def _fields(library: _Library, asked: Sequence[_Word], ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Where the words stand; as parts of words only if they stand nowhere as whole ones."""
    found: dict[int, list[str]] = {i: [] for i in ids}
    for photo_id, column in library.tables.whole_columns([word.text for word in asked], ids):
        found[photo_id].append(FIELDS.get(column, column))
    parts, nowhere = [word.text for word in asked if word.inside], [i for i in ids if not found[i]]
    for photo_id, column in library.tables.part_columns(parts, nowhere):
        found[photo_id].append(FIELDS.get(column, column))
    short = ["filename" if _is_name(asked[0].text) else "text"]
    return {i: tuple(dict.fromkeys(names or short)) for i, names in found.items()}
