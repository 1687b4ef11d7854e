"""What every reader of the query language gives back, and how they tell where a word begins and ends."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from app.flows.filters import PhotoFilter
from app.flows.library_names import LibraryNames

# Readers see the query in lower case, what was read already as TAKEN, and what is between quotes as QUOTED; each
# character stays where it is.
TAKEN, QUOTED = "\x00", "\x01"

PART_START = r"(?<![^\s,;(\x00])"
WORD_START = r"(?<![\w'/:@#$€£+.-])(?<![0-9],)"
WORD_END = r"(?![\w'/:@%°$€£#]|[.,-][^\W_])"


@dataclass(frozen=True)
class Term:
    """A part of the meaning, which pictures are compared with."""

    text: str
    weight: float = 1.0  # negative: less of this


@dataclass(frozen=True)
class Reading:
    """One part of the query that was read as something else than plain meaning."""

    start: int  # in the query, characters
    end: int
    kind: str
    label: str
    condition: PhotoFilter = field(default_factory=PhotoFilter)
    term: Term | None = None


@dataclass(frozen=True)
class Asked:
    """What readers know beside the text that is left to read."""

    query: str  # as it was written
    now: datetime
    names: LibraryNames


def one_of(words: Iterable[str]) -> str:
    """The regular expression for any of these, the longest first; the words are plain."""
    return "(?:" + "|".join(sorted(words, key=lambda word: (-len(word), word))) + ")"
