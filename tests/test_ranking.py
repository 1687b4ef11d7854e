"""rank: votes, clipping, diversity of categories, recency, and a stable order."""

from datetime import UTC, datetime, timedelta

import pytest

from app.flows.ranking import Candidate, RankingRules, rank
from app.settings import Settings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULES = RankingRules.of(Settings())


def candidate(
    photo_id: int, similarity: float, *, vote: int = 0, category: str | None = None, age_days: float = 0
) -> Candidate:
    return Candidate(photo_id, similarity, NOW - timedelta(days=age_days), category, vote=vote)


def ranked(candidates: list[Candidate], rules: RankingRules = RULES) -> list[tuple[int, float]]:
    """(photo id, score) in order."""
    return [(r.candidate.photo_id, r.score) for r in rank(candidates, rules, NOW)]


def with_recency(weight: float, half_life_days: float = 100) -> RankingRules:
    return RankingRules.of(Settings(ranking_recency_weight=weight, ranking_recency_half_life_days=half_life_days))


def test_without_votes_the_order_is_that_of_similarity() -> None:
    given = [candidate(1, 0.2), candidate(2, 0.4), candidate(3, 0.3)]
    assert ranked(given) == [(2, 0.4), (3, 0.3), (1, 0.2)]


def test_votes_multiply_the_score() -> None:
    given = [candidate(1, 0.4, vote=1), candidate(2, 0.4), candidate(3, 0.4, vote=-1)]
    assert ranked(given) == [(1, pytest.approx(0.46)), (2, 0.4), (3, pytest.approx(0.28))]


def test_votes_lift_past_a_near_neighbour_but_not_past_everything() -> None:
    given = [candidate(1, 0.40), candidate(2, 0.36, vote=1), candidate(3, 0.20, vote=1)]
    assert [photo_id for photo_id, _ in ranked(given)] == [2, 1, 3]


@pytest.mark.parametrize(
    ("similarity", "vote", "score"),
    [
        (1.0, 0, 1.0),
        (0.95, 1, 1.0),
        (1.0000001, 0, 1.0),
        (-0.3, 0, 0.0),
        (-1.0, 1, 0.0),
        (-0.3, -1, 0.0),
        (0.0, 1, 0.0),
    ],
)
def test_scores_stay_between_0_and_1(similarity: float, vote: int, score: float) -> None:
    assert ranked([candidate(1, similarity, vote=vote)]) == [(1, score)]


def test_the_similarity_itself_is_left_as_it_was() -> None:
    (result,) = rank([candidate(1, -0.25, vote=1)], RULES, NOW)
    assert result.candidate.similarity == -0.25


def test_equal_scores_are_ordered_by_similarity_then_as_they_came() -> None:
    below_zero = [candidate(1, -0.5), candidate(2, -0.1), candidate(3, -0.3)]
    assert ranked(below_zero) == [(2, 0.0), (3, 0.0), (1, 0.0)]
    above_one = [candidate(1, 0.95, vote=1), candidate(2, 0.99, vote=1)]
    assert ranked(above_one) == [(2, 1.0), (1, 1.0)]
    assert [i for i, _ in ranked([candidate(i, 0.5) for i in (7, 3, 9, 1)])] == [7, 3, 9, 1]


def test_the_fourth_of_a_category_counts_less() -> None:
    given = [candidate(i, 0.50 - i / 100, category="dogs") for i in range(1, 6)] + [candidate(6, 0.42)]
    assert ranked(given) == [
        (1, pytest.approx(0.49)),
        (2, pytest.approx(0.48)),
        (3, pytest.approx(0.47)),
        (6, 0.42),
        (4, pytest.approx(0.46 * 0.9)),
        (5, pytest.approx(0.45 * 0.9)),
    ]


def test_the_best_three_of_a_category_are_kept_whatever_order_they_come_in() -> None:
    given = [candidate(i, i / 10, category="dogs") for i in range(1, 6)]
    assert [score for _, score in ranked(given)] == pytest.approx([0.5, 0.4, 0.3, 0.18, 0.09])


def test_categories_are_counted_each_by_itself_and_none_is_no_category() -> None:
    given = [
        candidate(i, 0.5 - i / 100, category=category)
        for i, category in enumerate(
            ["dogs", "cats", None, "", "dogs", "cats", None, "", "dogs", "cats", None, "", None]
        )
    ]
    assert [score for _, score in ranked(given)] == pytest.approx([0.5 - i / 100 for i in range(13)])


@pytest.mark.parametrize(
    ("weight", "age_days", "factor"),
    [(0.0, 1000, 1.0), (1.0, 0, 1.0), (1.0, 100, 0.5), (1.0, 200, 0.25), (0.4, 100, 0.8), (0.4, 20_000, 0.6)],
)
def test_recency_halves_its_share_each_half_life(weight: float, age_days: float, factor: float) -> None:
    ((_, score),) = ranked([candidate(1, 0.5, age_days=age_days)], with_recency(weight))
    assert score == pytest.approx(0.5 * factor)


def test_a_photo_from_the_future_is_not_rewarded() -> None:
    """A camera whose clock was wrong."""
    given = [candidate(1, 0.5, age_days=100), candidate(2, 0.5, age_days=-400)]
    assert ranked(given, with_recency(1.0)) == [(2, 0.5), (1, pytest.approx(0.25))]


def test_a_newer_photo_goes_before_an_equally_similar_older_one() -> None:
    given = [candidate(1, 0.5, age_days=400), candidate(2, 0.49, age_days=1)]
    assert [i for i, _ in ranked(given)] == [1, 2]
    assert [i for i, _ in ranked(given, with_recency(0.2))] == [2, 1]
