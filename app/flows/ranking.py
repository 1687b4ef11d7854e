"""From cosine similarities to the order that people see: votes, recency, diversity."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.settings import Settings
from app.tables import Photo


@dataclass(frozen=True)
class Candidate:
    photo: Photo
    similarity: float  # cosine, −1..1
    vote: int = 0  # the newest vote on this photo for this query
    feedback_id: int | None = None  # of that vote


@dataclass(frozen=True)
class Ranked:
    candidate: Candidate
    score: float  # 0..1


@dataclass(frozen=True)
class RankingRules:
    """The constants, from the settings of the same names."""

    up_vote: float
    down_vote: float
    category_limit: int
    category_factor: float
    recency_weight: float
    recency_half_life_days: float

    @classmethod
    def of(cls, settings: Settings) -> "RankingRules":
        return cls(
            up_vote=settings.ranking_up_vote,
            down_vote=settings.ranking_down_vote,
            category_limit=settings.ranking_category_limit,
            category_factor=settings.ranking_category_factor,
            recency_weight=settings.ranking_recency_weight,
            recency_half_life_days=settings.ranking_recency_half_life_days,
        )


def rank(candidates: Sequence[Candidate], rules: RankingRules, k: int, now: datetime) -> list[Ranked]:
    """The best k by score; equal scores keep the order of their similarity."""
    scored = [Ranked(c, _score(c, rules, now)) for c in candidates]
    diverse = _diversified(_best_first(scored), rules)
    return _best_first(diverse)[:k]


def _score(candidate: Candidate, rules: RankingRules, now: datetime) -> float:
    """Cosine clipped to 0..1, times the vote, faded by age."""
    score = max(0.0, candidate.similarity)
    if candidate.vote:
        score *= rules.up_vote if candidate.vote > 0 else rules.down_vote
    return min(1.0, score * _recency(candidate.photo, rules, now))


def _recency(photo: Photo, rules: RankingRules, now: datetime) -> float:
    """1 for a photo of today; exponential decay of the weighted share: 1 − w + w · 2^(−age / half-life)."""
    if not rules.recency_weight:
        return 1.0
    age_days = max(0.0, (now - (photo.taken_at or photo.created_at)).total_seconds() / 86_400)
    faded = math.pow(0.5, age_days / rules.recency_half_life_days)
    return 1 - rules.recency_weight * (1 - faded)


def _diversified(ranked: Sequence[Ranked], rules: RankingRules) -> list[Ranked]:
    """Results of one category after the first few count less. Only the owner's categories: the suggested one
    follows the query ("animals" for "a dog"), and thinning it out would thin out right answers."""
    seen: Counter[str] = Counter()
    result = []
    for item in ranked:
        category = item.candidate.photo.category
        if category:
            seen[category] += 1
            if seen[category] > rules.category_limit:
                result.append(replace(item, score=item.score * rules.category_factor))
                continue
        result.append(item)
    return result


def _best_first(ranked: Sequence[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda item: (-item.score, -item.candidate.similarity))
