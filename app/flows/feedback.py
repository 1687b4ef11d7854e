"""Votes on photos as answers to a query."""

from pathlib import PurePosixPath

from sqlmodel import Session, col, select

from app.errors import FeedbackNotFound, PhotoNotFound
from app.flows.candidates import normalized
from app.flows.photos import get_photo
from app.flows.services import Services
from app.tables import Feedback, Photo, SearchQuery


def add_vote(
    services: Services, photo_id: int | None, image_path: str | None, query: str, query_id: int | None, vote: int
) -> Feedback:
    """Counts from the next search for the same query on. Raises: PhotoNotFound."""
    with services.database.write() as session:
        if photo_id is None:
            photo = _by_path(session, image_path or "", services.owner)
        else:
            photo = get_photo(session, photo_id, services.owner)
        assert photo.id is not None, "a stored photo has an id"
        asked = None if query_id is None else session.get(SearchQuery, query_id)
        row = Feedback(
            owner=services.owner,
            photo_id=photo.id,
            query_id=asked.id if asked and asked.owner == services.owner else None,
            query_text=normalized(query),
            vote=vote,
        )
        session.add(row)
    return row


def remove_vote(services: Services, feedback_id: int) -> None:
    """As if the vote had never been given. Raises: FeedbackNotFound."""
    with services.database.write() as session:
        row = session.get(Feedback, feedback_id)
        if row is None or row.owner != services.owner:
            raise FeedbackNotFound(f"There is no vote {feedback_id}.")
        session.delete(row)


def _by_path(session: Session, path: str, owner: str) -> Photo:
    """The photo that a result's path (`ab/ab12…`), url (`/photo/7/file`) or file name stands for."""
    parts = PurePosixPath(path).parts
    if len(parts) == 4 and parts[1] == "photo" and parts[2].isascii() and parts[2].isdecimal():
        return get_photo(session, min(int(parts[2]), 2**63 - 1), owner)
    name = parts[-1] if parts else ""
    mine = select(Photo).where(Photo.owner == owner)
    by_hash = session.exec(mine.where(Photo.sha256 == name)).first()
    found = by_hash or session.exec(mine.where(Photo.filename == name).order_by(col(Photo.id).desc())).first()
    if not name or found is None:
        raise PhotoNotFound(f"No photo has the path {path[:200]!r}.")
    return found
