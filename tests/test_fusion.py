"""Similarity and words are one score: words never take anything away, and without them it is the similarity."""

import numpy as np
import pytest

from app.flows.fusion import TEXT_WEIGHT, fused, text_weight

COSINES = np.linspace(-1, 1, 41, dtype=np.float32)
TEXTS = np.linspace(0, 1, 11, dtype=np.float32)
CLIP_SCALE, EMBEDDED_SCALE = 100.0, 20.5


@pytest.mark.parametrize("scale", [1.0, EMBEDDED_SCALE, CLIP_SCALE])
def test_it_grows_with_both_and_stays_within_0_and_1(scale: float) -> None:
    score = fused(COSINES[:, None], TEXTS, text_weight(scale))
    assert score.min() >= 0
    assert score.max() <= 1
    assert (np.diff(score, axis=0) >= 0).all()
    assert (np.diff(score, axis=1) >= 0).all()
    assert (np.diff(score[COSINES < 0.99], axis=1) > 0).all()


def test_without_words_in_common_it_is_the_similarity() -> None:
    assert [fused(cosine, 0.0) for cosine in (-0.3, 0.0, 0.42, 1.0)] == [0.0, 0.0, 0.42, 1.0]


def test_single_numbers_and_arrays_agree() -> None:
    single = [fused(float(cosine), 0.5) for cosine in COSINES]
    assert single == pytest.approx(fused(COSINES, np.full_like(COSINES, 0.5)).tolist(), abs=1e-6)


def test_words_weigh_less_where_cosines_lie_closer_together() -> None:
    assert text_weight(EMBEDDED_SCALE) == TEXT_WEIGHT > text_weight(CLIP_SCALE) > 0.1
    assert text_weight(1) == 1
