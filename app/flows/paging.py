"""Later pages of a search: its ranking is frozen, so photos that come and go make neither repeats nor holes."""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from sqlalchemy.exc import OperationalError
from sqlmodel import col, delete

from app.errors import CursorExpired
from app.flows.cursors import make_cursor, read_cursor
from app.flows.ranking import Ranked
from app.flows.services import Services
from app.tables import FrozenRanking, utc_now

logger = logging.getLogger(__name__)

KEPT = timedelta(hours=6)  # after that, whoever still turns pages asks again
SWEEP_EVERY = 50  # rankings frozen between two looks for old ones
RANKINGS = TypeAdapter(list[Ranked])


class Place(NamedTuple):
    """Where the next page of a frozen ranking begins."""

    ranking_id: int
    start: int


@dataclass(frozen=True)
class FrozenPage:
    answer: dict[str, Any]  # what freeze was given
    results: list[Ranked]
    start: int
    next_cursor: str | None


def freeze(services: Services, answer: dict[str, Any], ranked: Sequence[Ranked], start: int) -> str | None:
    """A cursor for what comes after the first `start` results; None if nothing does, or the disk is full."""
    if len(ranked) <= start:
        return None
    results = zlib.compress(RANKINGS.dump_json(list(ranked)), level=1)
    frozen = FrozenRanking(owner=services.owner, answer=answer, results=results)
    try:
        with services.database.log() as session:
            session.add(frozen)
            session.flush()
            if (frozen.id or 0) % SWEEP_EVERY == 0:
                session.exec(delete(FrozenRanking).where(col(FrozenRanking.created_at) < utc_now() - KEPT))
    except OperationalError as error:
        logger.warning("a ranking was not kept for later pages: %s", error)
        return None
    return make_cursor((frozen.id, start))


def thaw(services: Services, cursor: str, count: int) -> FrozenPage:
    """The next `count` results. Raises: InvalidRequest (no cursor of ours), CursorExpired."""
    place = read_cursor(cursor, Place)
    with services.database.read() as session:
        frozen = session.get(FrozenRanking, place.ranking_id)
    if frozen is None or frozen.owner != services.owner:
        raise CursorExpired("The results that this cursor goes on with are not kept any more: search again.")
    ranked = RANKINGS.validate_json(zlib.decompress(frozen.results))
    end = place.start + count
    more = make_cursor((place.ranking_id, end)) if end < len(ranked) else None
    return FrozenPage(frozen.answer, ranked[max(0, place.start) : end], place.start, more)
