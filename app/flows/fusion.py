"""One score of what vectors and words say."""

# Of the words' score beside the cosine, chosen by benchmarks/bench_fusion.py: with captions on 30 % of the photos
TEXT_WEIGHT = 0.3


def fused(similarity: float, text: float) -> float:
    """0..1 from a cosine −1..1 and a text score 0..1; without words in common the cosine, clipped.

    A convex combination up to a factor: Bruch et al. 2023, An Analysis of Fusion Functions for Hybrid Retrieval.
    """
    return min(1.0, max(0.0, similarity) + TEXT_WEIGHT * text)
