"""From cosine similarities to the order that people see: votes, recency, diversity."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from app.flows.fusion import TEXT_WEIGHT, fused
from app.settings import Settings


# Tuples: a search by the page makes thousands, and frozen dataclasses take three times as long to make.
class Candidate(NamedTuple):
    """A photo that may become a result, and what counts for it or against it."""

    photo_id: int
    similarity: float  # cosine with the query, −1..1; 0 where nothing was asked but filters
    moment: datetime  # taken, or else added
    category: str | None = None  # the owner's, not the suggested one
    learned: float = 0.0  # what votes on this query and on similar ones add to the similarity
    text: float = 0.0  # how much of the query its words hold, 0..1
    text_fields: tuple[str, ...] = ()  # where they stand
    relevance: float = 1.0  # probability that it is what was asked for
    unwanted_factor: float = 1.0  # how likely it is that it does not show what is not wanted
    vote: int = 0  # the newest vote on this photo for this query
    feedback_id: int | None = None  # of that vote


class Ranked(NamedTuple):
    candidate: Candidate
    score: float  # 0..1
    vote_factor: float = 1.0
    recency_factor: float = 1.0
    diversity_factor: float = 1.0
    collapsed: tuple[int, ...] = ()  # photos that this one stands for


@dataclass(frozen=True)
class RankingRules:
    """The constants, from the settings of the same names."""

    up_vote: float
    down_vote: float
    category_limit: int
    category_factor: float
    recency_weight: float
    recency_half_life_days: float
    text_weight: float = TEXT_WEIGHT  # of words beside the cosines of the model

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


def rank(candidates: Sequence[Candidate], rules: RankingRules, now: datetime) -> list[Ranked]:
    """All of them, the best first; equal scores keep the order of their similarity."""
    scored = [_scored(candidate, rules, now) for candidate in candidates]
    return best_first(_diversified(best_first(scored), rules))


def best_first(ranked: Sequence[Ranked]) -> list[Ranked]:
    return sorted(ranked, key=lambda item: (-item.score, -item.candidate.similarity))


def _scored(candidate: Candidate, rules: RankingRules, now: datetime) -> Ranked:
    """Similarity and words together, times the vote, faded by age."""
    vote = {1: rules.up_vote, 0: 1.0, -1: rules.down_vote}[candidate.vote]
    recency = _recency(candidate, rules, now)
    fit = fused(candidate.similarity + candidate.learned, candidate.text, rules.text_weight)
    score = min(1.0, fit * candidate.unwanted_factor * vote * recency)
    return Ranked(candidate, score, vote_factor=vote, recency_factor=recency)


def _recency(candidate: Candidate, rules: RankingRules, now: datetime) -> float:
    """1 for a photo of today; exponential decay of the weighted share: 1 − w + w · 2^(−age / half-life)."""
    if not rules.recency_weight:
        return 1.0
    age_days = max(0.0, (now - candidate.moment).total_seconds() / 86_400)
    faded = math.pow(0.5, age_days / rules.recency_half_life_days)
    return 1 - rules.recency_weight * (1 - faded)


def _diversified(ranked: Sequence[Ranked], rules: RankingRules) -> list[Ranked]:
    """Results of one category after the first few count less. Only the owner's categories: the suggested one
    follows the query ("animals" for "a dog"), and thinning it out would thin out right answers."""
    seen: Counter[str] = Counter()
    result = []
    for item in ranked:
        category = item.candidate.category
        if category:
            seen[category] += 1
            if seen[category] > rules.category_limit:
                factor = rules.category_factor
                result.append(item._replace(score=item.score * factor, diversity_factor=factor))
                continue
        result.append(item)
    return result
