"""Votes move where a query looks: towards photos voted up, away from those voted down.

Rocchio's relevance feedback (1971; Manning, Raghavan and Schütze 2008, chapter 9), whose sums are divided by one
more than the number of votes: the first vote does half of what many do. Votes on queries that mean nearly the same
count as a part of a vote.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlmodel import Session, col, select

from app.flows.services import Services
from app.services.interfaces import Vectors
from app.tables import Feedback

# Twice as much gains 0.01 more in recall (benchmarks/bench_learning.py), and forgets the words sooner.
UP, DOWN = 1.0, 0.5
MOST_VOTES = 500  # the newest ones


@dataclass(frozen=True)
class Opinions:
    """Weight of the votes up and down by photo id."""

    up: dict[int, float]
    down: dict[int, float]


def learned(services: Services, session: Session, text: str, query: Vectors, owner: str) -> Vectors:
    """The (dim,) unit query moved by votes on it and on similar ones; `query` itself when none concerns it.

    `text` is the query as votes are kept under it. Raises: Overloaded, EncoderFailed.
    """
    weights = services.voted_queries.alike(session, text, query, owner)
    if not weights:
        return query
    opinions = _opinions(session, weights, owner)
    towards, away = (_mean(services, votes) for votes in (opinions.up, opinions.down))
    return moved(query, towards, away)


def moved(query: Vectors, towards: Vectors | None, away: Vectors | None) -> Vectors:
    """The (dim,) unit query after votes; what they name is None where there are none."""
    if towards is None and away is None:
        return query
    total = query.copy()
    if towards is not None:
        total += UP * towards
    if away is not None:
        total -= DOWN * away
    unit: Vectors = total / np.linalg.norm(total)
    return unit


def damped_mean(vectors: Vectors, weights: Vectors) -> Vectors:
    """(dim,) Σ w·v / (1 + Σ w) of (n, dim) vectors."""
    mean: Vectors = weights @ vectors / (1 + weights.sum())
    return mean


def _opinions(session: Session, weights: Mapping[str, float], owner: str) -> Opinions:
    """The newest vote on each photo for each of these queries."""
    wanted = select(Feedback).where(Feedback.owner == owner, col(Feedback.query_text).in_(weights))
    newest = session.exec(wanted.order_by(col(Feedback.id).desc()).limit(MOST_VOTES))
    votes: dict[tuple[str, int], int] = {}
    for row in newest:
        votes.setdefault((row.query_text, row.photo_id), row.vote)
    found = Opinions({}, {})
    for (text, photo_id), vote in votes.items():
        side = found.up if vote > 0 else found.down
        side[photo_id] = side.get(photo_id, 0.0) + weights[text]
    return found


def _mean(services: Services, votes: Mapping[int, float]) -> Vectors | None:
    there, vectors = services.index.vectors(list(votes))
    if not len(there):
        return None
    return damped_mean(vectors, np.array([votes[photo_id] for photo_id in there.tolist()], np.float32))
