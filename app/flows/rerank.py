"""The first results once more, by a model that looks at each picture together with the words."""

import logging
import time
from collections.abc import Sequence

from PIL import Image
from sqlmodel import col, select

from app.errors import AppError
from app.flows.ranking import Ranked, best_first
from app.flows.services import Services
from app.tables import Photo

logger = logging.getLogger(__name__)

MATCH_WEIGHT = 0.7  # of the probability that picture and words match; the rest is the score from before
PICTURE_SIZE = 640  # px of the thumbnail that is looked at; models take pictures of 384 px

Result = tuple[int, str | None, float]  # id, SHA-256 of the original (None: an item without a picture), score 0..1


def reranked(services: Services, text: str, results: Sequence[Result]) -> list[float] | None:
    """New scores for results that come best first, in the same order; None: the order from before stays.

    The first `rerank_top` get 0.7 × the probability of a match + 0.3 × their score, those after them 0.3 × their
    score, so that they stay after them in their order. It is all or nothing: without a reranker, and where the
    first ones could not all be looked at within `rerank_budget_ms`, the order is the one from before. What has no
    picture that can be looked at keeps its score for both parts.
    """
    settings, reranker = services.settings, services.reranker
    if reranker is None or not results:
        return None
    deadline = time.monotonic() + settings.rerank_budget_ms / 1000
    first = results[: settings.rerank_top]
    try:
        pictures = _pictures(services, first, deadline)
        found = None if pictures is None else reranker.match(text, list(pictures.values()), deadline)
    except Exception:  # out of memory, or whatever else a model may raise: the search has its answer without it
        logger.exception("reranking failed; the order stays as it was")
        return None
    if pictures is None or found is None:
        logger.info("no time for reranking %d photos; the order stays as it was", len(first))
        return None
    matches = dict(zip(pictures, found.tolist(), strict=True))
    return [
        MATCH_WEIGHT * (matches.get(photo_id, score) if place < len(first) else 0.0) + (1 - MATCH_WEIGHT) * score
        for place, (photo_id, _, score) in enumerate(results)
    ]


def rerank(services: Services, words: str, ranked: Sequence[Ranked]) -> list[Ranked]:
    """The same results in the order of their new scores; see reranked."""
    if services.reranker is None or not words:
        return list(ranked)
    first = [item.candidate.photo_id for item in ranked[: services.settings.rerank_top]]
    with services.database.read() as session:
        stored = dict(session.exec(select(Photo.id, Photo.sha256).where(col(Photo.id).in_(first))).all())
    results = [(item.candidate.photo_id, stored.get(item.candidate.photo_id), item.score) for item in ranked]
    scores = reranked(services, words, results)
    if scores is None:
        return list(ranked)
    return best_first([item._replace(score=score) for item, score in zip(ranked, scores, strict=True)])


def _pictures(services: Services, results: Sequence[Result], deadline: float) -> dict[int, Image.Image] | None:
    """Pictures to look at by photo id, without those that cannot be read; None: out of time."""
    pictures = {}
    for photo_id, sha256, _ in results:
        if time.monotonic() >= deadline:
            return None
        if sha256 is None:
            continue
        try:
            with Image.open(services.thumbnails.path(sha256, PICTURE_SIZE)) as file:
                pictures[photo_id] = file.convert("RGB")
        except (AppError, OSError) as error:
            logger.warning("photo %d is not looked at again: %s", photo_id, error)
    return pictures
