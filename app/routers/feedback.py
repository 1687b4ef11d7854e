"""Votes, and what has been asked lately."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlmodel import col, select

from app.dependencies import ServicesDep
from app.errors import InvalidRequest
from app.flows import feedback
from app.problems import problem_responses
from app.schemas import MAX_ID, FeedbackIn, FeedbackOut, QueryOut, RecentQueries
from app.tables import SearchQuery

router = APIRouter(tags=["feedback"])


@router.post("/feedback", status_code=201, responses=problem_responses(400, 404, 422))
def add_feedback(services: ServicesDep, vote: FeedbackIn) -> FeedbackOut:
    """Vote a photo up (+1) or down (−1) as an answer to a query; the newest vote counts."""
    if vote.vote not in (1, -1):
        raise InvalidRequest("A vote is 1 or -1.")
    if vote.photo_id is None and not vote.image_path:
        raise InvalidRequest("Name the photo by photo_id or by image_path.")
    row = feedback.add_vote(services, vote.photo_id, vote.image_path, vote.query, vote.query_id, vote.vote)
    return FeedbackOut(
        id=row.id, photo_id=row.photo_id, query=vote.query, vote=row.vote, message="Thank you; your vote counts."
    )


@router.delete("/feedback/{feedback_id}", status_code=204, responses=problem_responses(404, 422))
def remove_feedback(services: ServicesDep, feedback_id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> None:
    """Take a vote back."""
    feedback.remove_vote(services, feedback_id)


@router.get("/queries/recent", responses=problem_responses(422))
def recent_queries(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> RecentQueries:
    """The latest searches, newest first."""
    newest = select(SearchQuery).where(SearchQuery.owner == services.owner).order_by(col(SearchQuery.id).desc())
    with services.database.read() as session:
        rows = session.exec(newest.limit(limit)).all()
    return RecentQueries(queries=[QueryOut.model_validate(row, from_attributes=True) for row in rows])
