"""The nearest photos under a filter, by the quicker of two ways that give the same.

A filter that leaves many photos is checked on the nearest ones only: among a million, listing half of them takes
seconds, and checking a thousand a few milliseconds. A filter that leaves few is resolved to their ids first.
"""

from collections.abc import Sequence

import numpy as np
from sqlmodel import Session, col, select

from app.flows.filters import PhotoFilter
from app.flows.services import Services
from app.id_lists import among
from app.services.interfaces import Ids, Vectors
from app.tables import Photo

SAMPLE = 500  # photos on which a filter is tried to learn how many it leaves
SMALL = 20_000  # up to here the list of ids is as quick as the sample
BROAD = 0.05  # share from which checking the nearest pays
MOST_CHECKED = 20_000


def nearest(services: Services, vector: Vectors, k: int, wanted: PhotoFilter) -> dict[int, float]:
    """Cosine similarity to a (dim,) vector by photo id, for the best k under the filter, best first."""
    if not wanted.narrows:
        return nearest_of(services, vector, k, None)
    with services.database.read() as session:
        found = _checked(services, session, vector, k, wanted)
        if found is not None:
            return found
        allowed = _ids(session, wanted)
    return nearest_of(services, vector, k, allowed)


def nearest_of(
    services: Services, vector: Vectors, k: int, allowed: Sequence[int] | Ids | None
) -> dict[int, float]:
    """Like nearest, among these ids; None: among all."""
    ids, scores = services.index.search(vector[None], k, allowed)
    return dict(zip(ids[0].tolist(), scores[0].tolist(), strict=True))


def passing(session: Session, ids: Sequence[int], wanted: PhotoFilter) -> set[int]:
    """Those of these photos that the filter leaves."""
    if not ids:
        return set()
    left = select(Photo.id).where(among(col(Photo.id), ids), *wanted.conditions())
    return {i for i in session.exec(left) if i is not None}


def _checked(
    services: Services, session: Session, vector: Vectors, k: int, wanted: PhotoFilter
) -> dict[int, float] | None:
    """The nearest that pass the filter; None if it leaves few, or if too few of those checked have passed."""
    if len(services.index) <= SMALL:
        return None
    sample = services.index.some_ids(SAMPLE).tolist()
    share = len(passing(session, sample, wanted)) / len(sample)
    if share < BROAD or 2 * k / share > MOST_CHECKED:
        return None
    candidates = nearest_of(services, vector, int(2 * k / share) + SAMPLE, None)
    left = passing(session, list(candidates), wanted)
    if len(left) < k:
        return None
    return dict([(i, score) for i, score in candidates.items() if i in left][:k])


def _ids(session: Session, wanted: PhotoFilter) -> Ids:
    return np.array(session.exec(select(col(Photo.id)).where(*wanted.conditions())).all(), np.int64)
