"""What is asked, as it is compared with photos."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.errors import InvalidRequest
from app.flows.filters import PhotoFilter
from app.flows.query_language import Chip
from app.services.interfaces import Vectors
from app.services.query_vector import combined
from app.services.relevance import QueryForm


@dataclass(frozen=True)
class Part:
    """One thing that is looked for, or, with a weight below 0, that photos are not to show."""

    vector: Vectors  # (dim,) unit
    weight: float = 1.0
    form: QueryForm = QueryForm.WORDS


@dataclass(frozen=True)
class Question:
    """Votes are kept under `text`. Without a vector, everything is meant that passes the filter, latest first."""

    text: str
    vector: Vectors | None  # (dim,) unit
    form: QueryForm = QueryForm.WORDS
    unwanted: tuple[Part, ...] = ()
    filter: PhotoFilter = field(default_factory=PhotoFilter)
    words: str = ""  # the meaning in words, if it was given so
    chips: tuple[Chip, ...] = ()  # what of the words was read as a filter
    without: int | None = None  # a photo left out: the one that similar ones are asked for


def ask(
    text: str, parts: Sequence[Part], wanted: PhotoFilter, words: str = "", chips: Sequence[Chip] = ()
) -> Question:
    """A question of these parts. Raises: InvalidRequest (they cancel each other)."""
    positive = [part for part in parts if part.weight > 0]
    vector, form = None, QueryForm.WORDS
    if positive:
        try:
            vector = combined(np.stack([part.vector for part in positive]), [part.weight for part in positive])
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        form = max((part.form for part in positive), key=lambda form: form is QueryForm.PICTURE)
    unwanted = tuple(part for part in parts if part.weight < 0)
    return Question(text, vector, form, unwanted, wanted, words, tuple(chips))
