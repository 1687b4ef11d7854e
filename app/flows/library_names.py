"""What occurs in a library: names of cameras and places, categories, tags."""

import json
import math
import re
import threading
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import combinations
from typing import Self

from cachetools import LRUCache
from sqlalchemy import bindparam
from sqlmodel import Session, col, func, select

from app.flows.filters import shown_category, shown_tags
from app.flows.query_words import PLACE_ALIASES
from app.tables import Photo

MOST_WORDS = 6  # of a name, that are looked at
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class LibraryNames:
    """What occurs in a library: plain words are read as a filter only if it leaves something."""

    cameras: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()  # cities, regions, countries
    categories: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def __or__(self, other: Self) -> Self:
        """Those of both; itself where the other has nothing new, which keeps what is worked out below."""
        both = replace(
            self, **{item.name: getattr(self, item.name) | getattr(other, item.name) for item in fields(self)}
        )
        return self if both == self else both

    @cached_property
    def by_place(self) -> dict[str, str]:
        known = {folded(name): name for name in sorted(self.places)}
        return known | {alias: known[name] for alias, name in PLACE_ALIASES.items() if name in known}

    @cached_property
    def by_camera(self) -> dict[str, str]:
        """The part of a camera's name from the first to the last of some of its words, by those words."""
        found: dict[str, str] = {}
        for name in sorted(self.cameras):
            words = list(WORD.finditer(name))[:MOST_WORDS]
            for some in (some for n in range(1, len(words) + 1) for some in combinations(words, n)):
                part = name[some[0].start() : some[-1].end()]
                found.setdefault(" ".join(folded(word[0]) for word in some), part)
        return found

    def place(self, name: str) -> str:
        """As the library writes it; else as it is."""
        return self.by_place.get(folded(name), name)

    def camera(self, name: str) -> str:
        return self.by_camera.get(folded(name), name)

    def tag(self, name: str) -> str:
        return _as_written(name, self.tags)

    def category(self, name: str) -> str:
        return _as_written(name, self.categories)


def _as_written(name: str, names: Iterable[str]) -> str:
    if name in names:
        return name
    return next((known for known in sorted(names) if known.casefold() == name.casefold()), name)


def folded(name: str) -> str:
    """Words without case, accents and punctuation: "St. Pölten" → "st polten"."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return " ".join(WORD.findall("".join(c for c in plain if not unicodedata.combining(c))))


@dataclass(frozen=True)
class _Known:
    names: LibraryNames = LibraryNames()
    last_id: int = 0
    read_at: float = field(default_factory=time.monotonic)  # s


_LAST_ID = select(func.max(Photo.id)).where(Photo.owner == bindparam("owner"))
_known: LRUCache[tuple[str, str], _Known] = LRUCache(maxsize=64)  # by database and owner
_lock = threading.Lock()


def library_names(session: Session, owner: str, max_age_s: float = math.inf) -> LibraryNames:
    """Of this owner's photos, new ones always among them; changed and deleted ones once all are read again.

    That is when they are older than `max_age_s`, and at the first call of a process; it takes some two seconds for
    100,000 photos, the other calls a millisecond.
    """
    key = (str(session.get_bind().engine.url), owner)
    with _lock:
        known = _known.get(key, _Known())
    if time.monotonic() - known.read_at > max_age_s:
        known = _Known()
    known = _with_new(session, owner, known)
    with _lock:
        _known[key] = known
    return known.names


def _with_new(session: Session, owner: str, known: _Known) -> _Known:
    """With the names of photos that have come since."""
    last_id = session.exec(_LAST_ID, params={"owner": owner}).one() or 0
    if last_id <= known.last_id:
        return known
    new = (Photo.owner == owner, col(Photo.id) > known.last_id)
    columns = (col(Photo.camera), col(Photo.city), col(Photo.region), col(Photo.country), shown_category())
    rows = session.exec(select(*columns).where(*new).distinct()).all()  # type: ignore[call-overload]
    cameras, *places, categories = (frozenset(filter(None, values)) for values in zip(*rows, strict=True))
    tags = set(session.exec(select(shown_tags()).where(*new)))
    names = LibraryNames(
        cameras,
        frozenset().union(*places),
        categories,
        frozenset(tag for some in tags for tag in json.loads(some)),
    )
    return replace(known, names=known.names | names, last_id=last_id)
