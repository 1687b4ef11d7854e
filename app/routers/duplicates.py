"""Photos that are there more than once."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.dependencies import ServicesDep
from app.flows import duplicates
from app.flows.duplicates import Group
from app.problems import problem_responses
from app.schemas import DuplicateGroup, DuplicateGroups, DuplicateKind, DuplicateOut, photo_fields
from app.tables import Photo

router = APIRouter(tags=["photos"])


@router.get("/duplicates", responses=problem_responses(400, 422))
def list_duplicates(
    services: ServicesDep,
    kind: Annotated[DuplicateKind, Query(description="`look_alike`: shots of a burst, and the like.")] = (
        DuplicateKind.SAME_PICTURE
    ),
    limit: Annotated[int, Query(ge=1, le=1000, description="Most groups to return.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> DuplicateGroups:
    """Groups of photos that show the same, and which one of each to keep. Nothing is deleted."""
    found = duplicates.find_duplicates(services, kind, limit=limit, cursor=cursor)
    return DuplicateGroups(
        groups=[_group(kind, group, found.photos) for group in found.groups],
        total_groups=found.total_groups,
        pending=found.pending,
        next_cursor=found.next_cursor,
    )


def _group(kind: DuplicateKind, group: Group, photos_by_id: dict[int, Photo]) -> DuplicateGroup:
    photos = [
        DuplicateOut(**photo_fields(photo), similarity=member.similarity, hamming=member.hamming)
        for member in group.members
        if (photo := photos_by_id.get(member.photo_id))
    ]
    return DuplicateGroup(kind=kind, keep=group.keep, why=group.why, photos=photos)
