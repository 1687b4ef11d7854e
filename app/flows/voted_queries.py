"""Which earlier queries, on whose results somebody has voted, mean nearly the same as a new one."""

import re
import threading
from dataclasses import dataclass

import numpy as np
from sqlalchemy import bindparam
from sqlmodel import Session, col, func, select

from app.services.batching import BatchedEncoder
from app.services.interfaces import Vectors
from app.services.relevance import Relevance
from app.tables import Feedback

MOST_QUERIES = 1000  # the last ones voted on
TEXTS_AT_ONCE = 64  # the encoder's queue has places left for others
# Two ways to say a thing are more alike than this, and words for different things are less alike, but for kin
# such as "a cat" and "a kitten" (benchmarks/bench_learning.py).
ALIKE = 0.55
NO_VOTES = (None, 0)
NAMES_A_PICTURE = re.compile(r"photo:\d|image:[0-9a-f]{64}")
# Made once: to put a statement together takes as long as to execute it, and every search asks.
_STATE = select(func.max(Feedback.id), func.count()).where(Feedback.owner == bindparam("owner"))


@dataclass(frozen=True)
class _Known:
    """The voted queries of one owner, as of a state of the table."""

    state: tuple[int | None, int] = NO_VOTES
    texts: tuple[str, ...] = ()
    vectors: Vectors | None = None  # (len(texts), dim); None without any


class VotedQueries:
    """Follows the table of votes in one encoder's space, whoever writes it; safe for any number of threads."""

    def __init__(self, encoder: BatchedEncoder, relevance: Relevance) -> None:
        self._encoder, self._relevance = encoder, relevance
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def alike(self, session: Session, text: str, query: Vectors, owner: str) -> dict[str, float]:
        """Weights 0..1 of the voted queries that mean nearly the same as a (dim,) query; 1 for the same text.

        What asks with a picture is like itself only. Without any vote: {}. Raises: Overloaded, EncoderFailed.
        """
        found = {text: 1.0}
        known = self._up_to_date(session, owner)
        if known.state == NO_VOTES:
            return {}
        if known.vectors is None or NAMES_A_PICTURE.search(text):
            return found
        likeness = self._relevance.likeness_of_texts(query, known.vectors)
        weights = (likeness - ALIKE) / (1 - ALIKE)
        return {known.texts[i]: float(weights[i]) for i in np.flatnonzero(weights > 0)} | found

    def _up_to_date(self, session: Session, owner: str) -> _Known:
        """Read again only when a vote has come or gone, and only what is new is encoded."""
        row = session.exec(_STATE, params={"owner": owner}).one()
        state = (row[0], row[1])
        with self._lock:
            known = self._known.get(owner, _Known())
            if known.state != state:
                texts = _texts(session, owner)
                known = _Known(state, texts, self._encoded(texts, known))
                self._known[owner] = known
        return known

    def _encoded(self, texts: tuple[str, ...], known: _Known) -> Vectors | None:
        if not texts:
            return None
        found = {} if known.vectors is None else dict(zip(known.texts, known.vectors, strict=True))
        new = [text for text in texts if text not in found]
        for i in range(0, len(new), TEXTS_AT_ONCE):
            part = new[i : i + TEXTS_AT_ONCE]
            found |= zip(part, self._encoder.encode_texts(part), strict=True)
        return np.stack([found[text] for text in texts])


def _texts(session: Session, owner: str) -> tuple[str, ...]:
    wanted = select(Feedback.query_text).where(Feedback.owner == owner).group_by(col(Feedback.query_text))
    newest = wanted.order_by(func.max(Feedback.id).desc()).limit(MOST_QUERIES)
    return tuple(text for text in session.exec(newest) if not NAMES_A_PICTURE.search(text))
