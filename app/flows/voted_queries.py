"""Which earlier queries, on whose results somebody has voted, mean nearly the same as a new one."""

import re
import threading
from dataclasses import dataclass, field

import numpy as np
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
NAMES_A_PICTURE = re.compile(r"photo:\d|image:[0-9a-f]{64}")


@dataclass(frozen=True)
class _Known:
    """The voted queries of one owner, as of a state of the table."""

    state: tuple[int | None, int] = (None, 0)
    vectors: dict[str, Vectors] = field(default_factory=dict)


class VotedQueries:
    """Follows the table of votes in one encoder's space, whoever writes it; safe for any number of threads."""

    def __init__(self, encoder: BatchedEncoder, relevance: Relevance) -> None:
        self._encoder, self._relevance = encoder, relevance
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def alike(self, session: Session, text: str, query: Vectors, owner: str) -> dict[str, float]:
        """Weights 0..1 of the voted queries that mean nearly the same as a (dim,) query; 1 for the same text.

        What asks with a picture is like itself only. Raises: Overloaded, EncoderFailed.
        """
        found = {text: 1.0}
        vectors = self._vectors(session, owner)
        if not vectors or NAMES_A_PICTURE.search(text):
            return found
        likeness = self._relevance.likeness_of_texts(query, np.stack(list(vectors.values())))
        weights = (likeness - ALIKE) / (1 - ALIKE)
        return {voted: float(w) for voted, w in zip(vectors, weights, strict=True) if w > 0} | found

    def _vectors(self, session: Session, owner: str) -> dict[str, Vectors]:
        """By text; read again only when a vote has come or gone, and only what is new is encoded."""
        row = session.exec(select(func.max(Feedback.id), func.count()).where(Feedback.owner == owner)).one()
        state = (row[0], row[1])
        with self._lock:
            known = self._known.get(owner, _Known())
            if known.state != state:
                known = _Known(state, self._encoded(_texts(session, owner), known.vectors))
                self._known[owner] = known
        return known.vectors

    def _encoded(self, texts: list[str], known: dict[str, Vectors]) -> dict[str, Vectors]:
        new = [text for text in texts if text not in known]
        found = dict(known)
        for i in range(0, len(new), TEXTS_AT_ONCE):
            part = new[i : i + TEXTS_AT_ONCE]
            found |= zip(part, self._encoder.encode_texts(part), strict=True)
        return {text: found[text] for text in texts}


def _texts(session: Session, owner: str) -> list[str]:
    wanted = select(Feedback.query_text).where(Feedback.owner == owner).group_by(col(Feedback.query_text))
    newest = wanted.order_by(func.max(Feedback.id).desc()).limit(MOST_QUERIES)
    return [text for text in session.exec(newest) if not NAMES_A_PICTURE.search(text)]
