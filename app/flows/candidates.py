"""Which photos a query ranks, and what is known of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session, col, func, select

from app.flows.filters import PhotoFilter
from app.flows.nearest import IDS_A_QUERY, nearest, nearest_of, passing
from app.flows.ranking import Candidate
from app.flows.services import Services
from app.services.interfaces import Vectors
from app.tables import Feedback, Photo
from app.telemetry import StepTimer

MOMENT = func.coalesce(col(Photo.taken_at), col(Photo.created_at))


@dataclass(frozen=True)
class Question:
    """What is asked, as it is compared with photos. Votes are kept under `text`."""

    text: str
    vector: Vectors | None  # (dim,) unit; None: everything that passes the filter, the latest first
    filter: PhotoFilter = field(default_factory=PhotoFilter)
    words: str = ""  # the meaning in words, if it was given so
    without: int | None = None  # a photo left out: the one that similar ones are asked for


def find_candidates(services: Services, question: Question, count: int, timer: StepTimer) -> list[Candidate]:
    """The nearest `count` photos that pass the filter, and those of them voted on for this query."""
    while True:
        with timer("filter"), services.database.read() as session:
            votes = votes_on(session, question.text, question.filter.owner)
            voted = passing(session, list(votes), question.filter)
        with timer("index"):
            similarity = _similarity(services, question, count, voted)
        with timer("database"), services.database.read() as session:
            facts = _facts(session, similarity)
        gone = similarity.keys() - facts.keys()
        if not gone:
            return [_candidate(i, s, facts[i], votes.get(i)) for i, s in similarity.items()]
        services.live_index.forget(list(gone))  # deleted by another process: search again without them


def votes_on(session: Session, text: str, owner: str) -> dict[int, Feedback]:
    """The newest vote on each photo for the same query, case and spacing apart."""
    wanted = select(Feedback).where(Feedback.owner == owner, Feedback.query_text == normalized(text))
    return {row.photo_id: row for row in session.exec(wanted.order_by(col(Feedback.id)))}


def normalized(text: str) -> str:
    """The form under which votes on a query are kept."""
    return " ".join(text.casefold().split())


def _similarity(services: Services, question: Question, count: int, voted: Iterable[int]) -> dict[int, float]:
    """Cosine similarity by photo id."""
    if question.vector is None:
        return dict.fromkeys(_latest(services, question.filter, count), 0.0)
    found = nearest(services, question.vector, count + (question.without is not None), question.filter)
    missing = sorted(set(voted) - found.keys())
    if missing:
        found |= nearest_of(services, question.vector, len(missing), missing)
    if question.without is not None:
        found.pop(question.without, None)
    return found


def _latest(services: Services, wanted: PhotoFilter, count: int) -> list[int]:
    page = select(col(Photo.id)).where(*wanted.conditions()).order_by(MOMENT.desc(), col(Photo.id).desc())
    with services.database.read() as session:
        return [photo_id for photo_id in session.exec(page.limit(count)) if photo_id is not None]


def _facts(session: Session, ids: Iterable[int]) -> dict[int, tuple[datetime, str | None]]:
    """Moment and the owner's category of those that are there."""
    found: dict[int, tuple[datetime, str | None]] = {}
    wanted = list(ids)
    for i in range(0, len(wanted), IDS_A_QUERY):
        part = col(Photo.id).in_(wanted[i : i + IDS_A_QUERY])
        rows = session.exec(select(col(Photo.id), MOMENT, col(Photo.category)).where(part))
        found |= {photo_id: (moment, category) for photo_id, moment, category in rows if photo_id is not None}
    return found


def _candidate(
    photo_id: int, similarity: float, facts: tuple[datetime, str | None], vote: Feedback | None
) -> Candidate:
    moment, category = facts
    given = (vote.vote, vote.id) if vote else (0, None)
    return Candidate(photo_id, similarity, moment, category, *given)
