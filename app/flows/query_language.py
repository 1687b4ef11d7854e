"""The search box: what of a query is a filter, what is to be left out, and what is meaning.

Nothing is an error, and nothing is lost: what cannot be read as a condition is meaning. What is in quotes is
always meaning. README.md has the language in a table.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import reduce
from typing import Any

from app.flows.filters import PhotoFilter
from app.flows.library_names import LibraryNames
from app.flows.query_dates import read_dates
from app.flows.query_keys import read_keyed, read_near
from app.flows.query_names import read_cameras, read_places
from app.flows.query_reading import PART_START, QUOTED, TAKEN, Asked, Reading, Term, one_of
from app.flows.query_words import ABOUT_PHOTOS, LINKS, NOT_EXCLUDED, SIGNS

__all__ = ["Chip", "LibraryNames", "Term", "Understood", "understand"]

MAX_WEIGHT = 10
_SAME = str.maketrans("“”„«»’‘`", '"""""\'\'\'')


@dataclass(frozen=True)
class Chip:
    """A part of the query that was read as a filter, or as something to leave out."""

    # taken, added, camera, place, near, tag, not-tag, category, filename, text, orientation, location, or without
    kind: str
    label: str  # for people: "summer 2019", "camera: Canon"
    start: int  # in the query, characters
    end: int
    without: str  # the query without this part


@dataclass(frozen=True)
class Understood:
    terms: tuple[Term, ...]  # the meaning; empty if the query was filters only
    words: str  # the positive ones as plain text
    filter: PhotoFilter  # the query's own conditions
    chips: tuple[Chip, ...]


Reader = Callable[[str, Asked], Iterator[Reading]]


@dataclass
class _Progress:
    """What is left to read, and what has been read."""

    text: str
    wanted: PhotoFilter
    readings: list[Reading]

    def read(self, readers: Iterable[Reader], asked: Asked) -> None:
        """In this order; what one has read the next ones do not see."""
        for read in readers:
            for reading in read(self.text, asked):
                both = _both(self.wanted, reading.condition)
                if both is not None:
                    self.wanted = both
                    self.readings.append(reading)
                    self.hide(reading.start, reading.end, TAKEN)

    def hide(self, start: int, end: int, mask: str) -> None:
        self.text = self.text[:start] + mask * (end - start) + self.text[end:]


def understand(query: str, now: datetime, names: LibraryNames) -> Understood:
    """Any text; `now` says what "yesterday" is.

    Of several conditions on the same thing that cannot all hold, the first is a filter and the others are meaning.
    """
    asked, progress = Asked(query, now, names), _Progress(_plain(query), PhotoFilter(), [])
    for quoted in re.finditer('"([^"]*)"', progress.text):
        progress.hide(*quoted.span(1), QUOTED)
    progress.read(_READERS, asked)
    readings = sorted(progress.readings, key=lambda reading: reading.start)
    terms = _terms(query, readings)
    words = " ".join(term.text for term in terms if term.weight > 0)
    chips = tuple(_chip(query, reading) for reading in readings if reading.kind != "term")
    return Understood(terms, words, progress.wanted, chips)


def plain(query: str) -> Understood:
    """All of it is meaning."""
    return Understood((Term(query),), query, PhotoFilter(), ())


def _plain(query: str) -> str:
    """In lower case, each character in its place; quotes, apostrophes and spaces of one kind only."""
    lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in query.translate(_SAME))
    return "".join(" " if c.isspace() or c in TAKEN + QUOTED else c for c in lower)


def _both(wanted: PhotoFilter, more: PhotoFilter) -> PhotoFilter | None:
    """Both conditions; None if one filter cannot say them, or no photo could meet them."""
    changes: dict[str, Any] = {}
    for name, default in ((item.name, item.default) for item in fields(more)):
        have, new = getattr(wanted, name), getattr(more, name)
        if new == default:
            continue
        if name.startswith("tags_"):
            changes[name] = tuple(dict.fromkeys(have + new))
        elif have in (default, new):
            changes[name] = new
        elif name.endswith(("_from", "_before")):
            changes[name] = (max if name.endswith("_from") else min)(have, new)
        else:
            return None
    both = replace(wanted, **changes)
    bounds = ((both.taken_from, both.taken_before), (both.added_from, both.added_before))
    return None if any(first and before and first >= before for first, before in bounds) else both


def _chip(query: str, reading: Reading) -> Chip:
    rest = _linked(query[: reading.start], query[reading.end :])
    return Chip(reading.kind, reading.label, reading.start, reading.end, " ".join(rest.split()))


# Weighted terms, and what is left out

_WORD = r"[^\W\d_](?:[^\s\",;()\x00\x01]*[^\W_])?"
_MARKED = re.compile(
    rf"{PART_START}(?:(?P<weight>[0-9]{{1,3}}(?:\.[0-9]{{1,6}})?):|(?P<sign>[+-]))"
    rf"(?:\"(?P<quoted>\x01+)\"|(?P<word>{_WORD}))"
)
_X_WORD = rf"(?!{one_of(NOT_EXCLUDED)}\b)[^\W\d_][\w'-]*"
_X_END = rf"(?= *(?:$|[,;.!?)\x00]|{one_of(LINKS)}\b))"
_ANY = "(?:any|a|an|the) +"
_EXCLUDED = re.compile(
    rf"{PART_START}(?:"
    rf"(?:(?:but +)?without|(?:but|with) +(?:no|not)) +(?:{_ANY})?"
    rf"(?P<x>\"\x01+\"|{_X_WORD}(?: +(?:or +)?{_X_WORD}){{0,3}})|"
    rf"(?<!\ba )(?<!the )(?:no|not) +(?:{_ANY})?(?!{one_of(SIGNS)}\b)"
    rf"(?P<y>\"\x01+\"|{_X_WORD}(?: +{_X_WORD})?)(?<!sign)(?<!signs)(?<!allowed)){_X_END}"
)


def _read_marks(text: str, asked: Asked) -> Iterator[Reading]:
    for match in _MARKED.finditer(text):
        part = "quoted" if match["quoted"] else "word"
        said = " ".join(asked.query[match.start(part) : match.end(part)].split())
        if match["sign"] == "-":
            yield _excluded(*match.span(), said)
        elif said and 0 < float(match["weight"] or 1) <= MAX_WEIGHT:
            yield Reading(*match.span(), "term", said, term=Term(said, float(match["weight"] or 1)))


def _read_exclusions(text: str, asked: Asked) -> Iterator[Reading]:
    for match in _EXCLUDED.finditer(text):
        x = "x" if match["x"] else "y"
        yield _excluded(*match.span(), _unquoted(asked.query[match.start(x) : match.end(x)]))


def _excluded(start: int, end: int, what: str) -> Reading:
    return Reading(start, end, "without", f"without {what}", term=Term(what, -1.0))


_READERS: tuple[Reader, ...] = (
    read_near,
    read_keyed,
    _read_marks,
    read_dates,
    read_cameras,
    read_places,
    _read_exclusions,
)

# The meaning

_LINKS = re.compile(rf"(?<!\w){one_of(LINKS)}(?!\w)|[,;]", re.IGNORECASE)
_LINKS_AFTER = re.compile(rf"(?:[\s,;]|(?<!\w){one_of(LINKS)}(?!\w))*$", re.IGNORECASE)
_LINKS_BEFORE = re.compile(rf"(?:[\s,;.!?]|(?<!\w){one_of(LINKS)}(?!\w))*", re.IGNORECASE)


def _terms(query: str, readings: list[Reading]) -> tuple[Term, ...]:
    """What was not read is one term; where some words are marked, so is each part between marks and commas."""
    marked = any(reading.kind == "term" for reading in readings)
    terms, pieces, end = list[Term](), list[str](), 0
    for reading in readings:
        pieces.append(query[end : reading.start])
        end = reading.end
        if reading.kind == "term" and reading.term:
            terms += [*_meaning(pieces, readings, marked), reading.term]
            pieces = [""]
    terms += _meaning([*pieces, query[end:]], readings, marked)
    return (*terms, *(item.term for item in readings if item.kind == "without" and item.term))


def _meaning(pieces: list[str], readings: list[Reading], marked: bool) -> list[Term]:
    text = reduce(_linked, [*pieces, ""] if marked else pieces)
    texts = [_unquoted(part) for part in (re.split("[,;]", text) if marked else [text])]
    filtered = any(reading.kind not in ("term", "without") for reading in readings)
    return [Term(part) for part in texts if part and not (filtered and _is_about_photos(part))]


def _is_about_photos(text: str) -> bool:
    return ABOUT_PHOTOS.issuperset(re.findall(r"[^\s,;.!?]+", text.lower()))


def _linked(left: str, right: str) -> str:
    """The text on both sides of a part that is left out, with at most one comma, "and", … between them."""
    if left.endswith("(") and right.startswith(")"):
        left, right = left[:-1], right[1:]
    after, before = _LINKS_AFTER.search(left), _LINKS_BEFORE.match(right)
    assert after, "it matches the empty text"
    assert before, "it matches the empty text"
    links = _LINKS.findall(left[after.start() :] + right[: before.end()])
    left, right = left[: after.start()], right[before.end() :]
    if not (left and right) or not links:
        return f"{left} {right}".strip()
    words = [link for link in links if link not in ",;"]
    return f"{left} {words[0]} {right}" if words else f"{left}, {right}"


def _unquoted(text: str) -> str:
    """Without pairs of quotes, and with single spaces."""
    return " ".join(re.sub(r"[\"“”„«»]([^\"“”„«»]*)[\"“”„«»]", r"\1", text).split())
