"""Which photos a query ranks, and what is known of each."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam
from sqlmodel import Session, col, func, select

from app.flows.filters import PhotoFilter
from app.flows.full_text import TextMatch, TextMatches, text_matches
from app.flows.learning import learned
from app.flows.measures import Measures, measured
from app.flows.nearest import nearest, passing
from app.flows.questions import Question
from app.flows.ranking import Candidate
from app.flows.services import Services
from app.id_lists import among
from app.services.interfaces import Vectors
from app.tables import Feedback, Photo
from app.telemetry import StepTimer

MOMENT = func.coalesce(col(Photo.taken_at), col(Photo.created_at))
# Made once: to put a statement together takes as long as to execute it, and every search asks.
_VOTES = (
    select(Feedback)
    .where(Feedback.owner == bindparam("owner"), Feedback.query_text == bindparam("text"))
    .order_by(col(Feedback.id))
)
_FACTS = select(col(Photo.id), MOMENT, col(Photo.category)).where(among(col(Photo.id)))

WHOLE = 0.999  # a photo whose words hold all of the query is what was asked for, whatever it shows
NO_WORDS = TextMatches()
MOST_EXCLUDED = 1000  # photos looked at beside those asked for, where some may show what is not wanted


def find_candidates(services: Services, question: Question, count: int, timer: StepTimer) -> list[Candidate]:
    """The nearest `count` photos that pass the filter, those whose words fit best, and those voted on."""
    if question.unwanted:
        count += MOST_EXCLUDED
    while True:
        with timer("filter"), services.database.read() as session:
            votes = votes_on(session, question.text, question.filter.owner)
            voted = passing(session, list(votes), question.filter)
            texts = text_matches(session, question.words, question.filter, count) if question.words else NO_WORDS
            moved = _learned(services, session, question)
        with timer("index"):
            ids = _ids(services, question, moved, count, voted | texts.keys())
            measures = measured(services, question, moved, ids)
        with timer("database"), services.database.read() as session:
            facts = _facts(session, ids)
            others = () if texts.complete else [i for i in ids if i not in texts]
            matches = texts | _texts_of(session, question, others)
        gone = [photo_id for photo_id in ids if photo_id not in facts]
        if not gone:
            return [_candidate(facts[i], measures[i], matches.get(i), votes.get(i)) for i in ids]
        services.live_index.forget(gone)  # deleted by another process: search again without them


def votes_on(session: Session, text: str, owner: str) -> dict[int, Feedback]:
    """The newest vote on each photo for the same query, case and spacing apart."""
    votes = session.exec(_VOTES, params={"owner": owner, "text": normalized(text)})
    return {row.photo_id: row for row in votes}


def normalized(text: str) -> str:
    """The form under which votes on a query are kept."""
    return " ".join(text.casefold().split())


def _learned(services: Services, session: Session, question: Question) -> Vectors | None:
    if question.vector is None:
        return None
    return learned(services, session, normalized(question.text), question.vector, question.filter.owner)


def _texts_of(session: Session, question: Question, ids: Sequence[int]) -> dict[int, TextMatch]:
    """What the words of these photos hold, which are not among those whose words fit best."""
    if not ids:
        return {}
    return text_matches(session, question.words, replace(question.filter, ids=tuple(ids)), len(ids))


def _ids(
    services: Services, question: Question, moved: Vectors | None, count: int, also: Iterable[int]
) -> list[int]:
    if moved is None:
        return _latest(services, question.filter, count)
    found = nearest(services, moved, count + (question.without is not None), question.filter)
    ids = dict.fromkeys([*found, *sorted(also)])
    return [photo_id for photo_id in ids if photo_id != question.without]


def _latest(services: Services, wanted: PhotoFilter, count: int) -> list[int]:
    page = select(col(Photo.id)).where(*wanted.conditions()).order_by(MOMENT.desc(), col(Photo.id).desc())
    with services.database.read() as session:
        return [photo_id for photo_id in session.exec(page.limit(count)) if photo_id is not None]


class Facts(NamedTuple):
    """What its row says of one photo."""

    photo_id: int
    moment: datetime
    category: str | None


def _facts(session: Session, ids: Iterable[int]) -> dict[int, Facts]:
    """Of those that are there."""
    rows = session.exec(_FACTS, params={"ids": ids})
    return {i: Facts(i, moment, category) for i, moment, category in rows if i is not None}


def _candidate(facts: Facts, measures: Measures, text: TextMatch | None, vote: Feedback | None) -> Candidate:
    wanted = text is not None and text.score > WHOLE
    return Candidate(
        facts.photo_id,
        measures.similarity,
        facts.moment,
        facts.category,
        learned=measures.learned,
        text=text.score if text else 0.0,
        text_fields=text.fields if text else (),
        relevance=measures.unwanted_factor if wanted else measures.relevance,
        unwanted_factor=measures.unwanted_factor,
        vote=vote.vote if vote else 0,
        feedback_id=vote.id if vote else None,
    )
