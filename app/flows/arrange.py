"""What is done with a ranking before it is shown: variety, one place for each moment, a cut-off, another order."""

from collections.abc import Sequence

import numpy as np

from app.flows.bursts import collapse
from app.flows.mmr import mmr_order
from app.flows.ranking import Ranked
from app.flows.services import Services
from app.search_schemas import ResultOrder, SearchOptions
from app.services.relevance import MATCH


def arrange(services: Services, ranked: Sequence[Ranked], options: SearchOptions) -> list[Ranked]:
    """Results in the order in which they are shown, as the options ask for."""
    shown = list(ranked)
    if options.variety is not None:
        shown = _varied(services, shown, options.variety)
    if options.collapse == "burst":
        shown = collapse(services, shown)
    return _sorted(_relevant(shown, options), options)


def _varied(services: Services, ranked: list[Ranked], variety: float) -> list[Ranked]:
    ids, vectors = services.index.vectors([item.candidate.photo_id for item in ranked])
    by_id = {item.candidate.photo_id: item for item in ranked}
    there = [by_id[photo_id] for photo_id in ids.tolist()]
    scores = np.array([item.score for item in there], np.float32)
    return [there[row] for row in mmr_order(scores, vectors, 1 - variety, len(there))]


def _relevant(ranked: list[Ranked], options: SearchOptions) -> list[Ranked]:
    """In another order, what does not fit would come before what does."""
    least = options.min_relevance or (0.0 if options.sort is ResultOrder.RELEVANCE else MATCH)
    return [item for item in ranked if item.candidate.relevance >= least]


def _sorted(ranked: list[Ranked], options: SearchOptions) -> list[Ranked]:
    match options.sort:
        case ResultOrder.TAKEN:
            return sorted(ranked, key=lambda item: (item.candidate.moment, item.candidate.photo_id), reverse=True)
        case ResultOrder.ADDED:
            return sorted(ranked, key=lambda item: item.candidate.photo_id, reverse=True)
    return ranked
