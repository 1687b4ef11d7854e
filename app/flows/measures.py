"""What vectors say of the candidates of a query."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from app.flows.nearest import nearest_of
from app.flows.questions import Question
from app.flows.services import Services
from app.services.interfaces import Vectors


class Measures(NamedTuple):
    """Of one photo."""

    similarity: float = 0.0  # cosine with the query
    learned: float = 0.0  # what votes add to it
    relevance: float = 0.0  # probability that it is what was asked for
    unwanted_factor: float = 1.0  # how likely it is that it does not show what is not wanted


def measured(
    services: Services, question: Question, moved: Vectors | None, ids: Sequence[int]
) -> dict[int, Measures]:
    """Of each id; `moved` is the query's vector after votes. A photo without a vector yet is like nothing."""
    there, vectors = services.index.vectors(ids)
    kept = _unwanted_factors(services, question, vectors)
    found = dict.fromkeys(ids, Measures(relevance=float(question.vector is None)))
    if question.vector is None or moved is None:
        given = zip(there.tolist(), kept.tolist(), strict=True)
        return found | {photo_id: Measures(relevance=factor, unwanted_factor=factor) for photo_id, factor in given}
    plain = nearest_of(services, question.vector, len(there), there)
    learned = plain if moved is question.vector else nearest_of(services, moved, len(there), there)
    relevance = services.relevance.of(question.vector, vectors, question.form) * kept
    for photo_id, relevant, factor in zip(there.tolist(), relevance.tolist(), kept.tolist(), strict=True):
        if photo_id in plain and photo_id in learned:  # else it was deleted between two looks at the index
            similarity = plain[photo_id]
            found[photo_id] = Measures(similarity, learned[photo_id] - similarity, relevant, factor)
    return found


def _unwanted_factors(services: Services, question: Question, vectors: Vectors) -> Vectors:
    """(n,) factors 0..1; a weight other than −1 makes an exclusion stricter or milder."""
    factors = np.ones(len(vectors), np.float32)
    for part in question.unwanted:
        factors *= services.relevance.kept_after(vectors, part.vector, part.form) ** -part.weight
    return factors
