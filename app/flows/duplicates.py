"""Photos that are in the library more than once, and which one to keep; nothing is deleted here.

Two photos are copies if their perceptual hashes and their vectors are near. Either alone errs: the hash sees only
light and dark in 8 × 8 fields, the vector only what is in the picture.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlmodel import Session, and_, col, func, select

from app.flows.cursors import make_cursor, read_cursor
from app.flows.look_filler import WITHOUT_LOOK
from app.flows.services import Services
from app.id_lists import among
from app.schemas import MAX_ID, DuplicateKind
from app.services.interfaces import Ids
from app.services.looks import PLAIN
from app.services.near_hashes import Hashes, HashNeighbours
from app.tables import Photo

# How many bits of the hashes may differ (an even number do: half of the bits are set), and the least cosine
# similarity. By benchmarks/bench_duplicates.py: smaller, more compressed, lighter, darker and grey copies are
# within 4 bits, though the vector of a tiny one may be far off; slight crops are within 8, and their vectors near.
# Of 11,628 pairs of different photos none is nearer than 14 bits, and the vectors of those two are far apart.
RULES = {
    DuplicateKind.SAME_PICTURE: ((4, 0.4), (8, 0.85)),
    DuplicateKind.LOOK_ALIKE: ((14, 0.85),),
}
# Formats of cameras, and of programs that lose nothing: a copy in another format was made from them.
FAITHFUL = ("image/heic", "image/png", "image/tiff", "image/bmp", "image/x-")  # x-: camera RAW

# Why a photo is kept, the strongest reason first: see _merits.
REASONS = (
    "more pixels",
    "original or lossless format",
    "larger file",
    "date, place or camera",
    "your words",
    "larger file",
    "older in the library",
)


@dataclass(frozen=True)
class Member:
    """A photo of a group, compared with the one to keep."""

    photo_id: int
    similarity: float  # cosine of the vectors
    hamming: int  # bits by which the perceptual hashes differ


@dataclass(frozen=True)
class Group:
    """Every member is near the first, which is the one to keep; no photo is in two groups."""

    members: tuple[Member, ...]
    why: str  # of REASONS

    @property
    def keep(self) -> int:
        return self.members[0].photo_id


@dataclass(frozen=True)
class Duplicates:
    groups: Sequence[Group]
    photos: dict[int, Photo]  # by id, of these groups; without what has been deleted this moment
    total_groups: int
    pending: int  # photos not compared yet
    next_cursor: str | None


def find_duplicates(
    services: Services, kind: DuplicateKind, *, limit: int, cursor: str | None = None
) -> Duplicates:
    """A page of groups, first those whose photo to keep is newest. Raises: InvalidRequest (the cursor)."""
    before = MAX_ID + 1 if cursor is None else read_cursor(cursor, int)
    with services.database.read() as session:
        state = _state(session, services.owner)
        groups = services.kept.get(
            ("duplicates", services.owner, kind),
            (state, len(services.index)),
            lambda: _groups(services, session, kind),
        )
        left = [group for group in groups if group.keep < before]
        page = left[:limit]
        photos = _photos(session, np.array([member.photo_id for group in page for member in group.members]))
    more = make_cursor(page[-1].keep) if len(left) > limit else None
    return Duplicates(page, photos, len(groups), state[0], more)


def _state(session: Session, owner: str) -> tuple[Any, ...]:
    """What changes when the groups of an owner may: photos without a hash yet, all photos, the latest change."""
    pending = func.count().filter(and_(*WITHOUT_LOOK))
    columns = pending, func.count(), func.max(Photo.id), func.max(Photo.updated_at)
    return tuple(session.exec(select(*columns).where(Photo.owner == owner)).one())


def _groups(services: Services, session: Session, kind: DuplicateKind) -> list[Group]:
    """All groups of a kind, first those whose photo to keep is newest. Look-alikes are sought among what is left
    when each picture is there only once.
    """
    ids, hashes = _hashes(session, services.owner)
    neighbours = HashNeighbours(hashes, _reach(kind))
    photos = _photos(session, ids[neighbours.crowded()])
    best_first = sorted(photos.values(), key=_merits, reverse=True)

    def near(photo: Photo) -> Iterable[Photo]:
        rows = neighbours.of(int(np.searchsorted(ids, _id(photo))))
        return (photos[i] for i in ids[rows].tolist() if i in photos)

    groups = _gathered(services, DuplicateKind.SAME_PICTURE, best_first, near)
    if kind is DuplicateKind.LOOK_ALIKE:
        copies = {member.photo_id for group in groups for member in group.members[1:]}
        left = [photo for photo in best_first if photo.id not in copies]
        groups = _gathered(services, kind, left, near)
    return sorted(groups, key=lambda group: -group.keep)


def _hashes(session: Session, owner: str) -> tuple[Ids, Hashes]:
    """Ids, ascending, and hashes of all photos that have one worth comparing."""
    columns = select(col(Photo.id), col(Photo.phash)).where(Photo.owner == owner, col(Photo.phash) != PLAIN)
    rows = session.exec(columns.order_by(col(Photo.id))).all()
    ids, hashes = (np.fromiter((row[column] for row in rows), np.int64, len(rows)) for column in (0, 1))
    return ids, hashes.view(np.uint64)


def _photos(session: Session, ids: Ids) -> dict[int, Photo]:
    return {_id(photo): photo for photo in session.exec(select(Photo).where(among(col(Photo.id), ids)))}


def _gathered(
    services: Services, kind: DuplicateKind, best_first: list[Photo], near: Callable[[Photo], Iterable[Photo]]
) -> list[Group]:
    """The best photo takes all that is near it, then the best of the others: so no chain leads from one picture
    over its copies to another.
    """
    groups, free = [], {_id(photo) for photo in best_first}
    for keep in best_first:
        if keep.id not in free:
            continue
        free.remove(keep.id)
        others = {_id(photo): photo for photo in near(keep) if photo.id in free}
        members = _matching(services, kind, keep, [*others.values()])
        free -= {member.photo_id for member in members}
        if members:
            why = _why(keep, [others[member.photo_id] for member in members])
            groups.append(Group((Member(_id(keep), 1.0, 0), *members), why))
    return groups


def _matching(services: Services, kind: DuplicateKind, keep: Photo, others: list[Photo]) -> list[Member]:
    """Those of a kind with `keep`, the most similar first; a photo without a vector yet is like no other."""
    vector, found = services.index.vector(_id(keep)) if others else None, []
    for other in others:
        hamming = hash_distance(keep.phash, other.phash)
        if hamming > _reach(kind) or (kind is DuplicateKind.SAME_PICTURE and _taken_apart(keep, other)):
            continue  # vectors, which cost more, are not looked at
        theirs = services.index.vector(_id(other))
        if vector is None or theirs is None:
            continue
        similarity = float(vector @ theirs)
        if is_near(kind, hamming, similarity):
            found.append(Member(_id(other), similarity, hamming))
    return sorted(found, key=lambda member: -member.similarity)


def _reach(kind: DuplicateKind) -> int:
    return max(bits for bits, _ in RULES[kind])


def _taken_apart(one: Photo, other: Photo) -> bool:
    """Whether the cameras' clocks say that these are two shots: a copy keeps the date or loses it."""
    moments = [_local_time(photo) for photo in (one, other)]
    return None not in moments and moments[0] != moments[1]


def _local_time(photo: Photo) -> datetime | None:
    if photo.taken_at is None:
        return None
    return photo.taken_at + timedelta(minutes=photo.utc_offset_min or 0)


def hash_distance(one: int | None, other: int | None) -> int:
    """Bits by which two perceptual hashes differ."""
    assert one is not None, "only photos with a hash are compared"
    assert other is not None, "only photos with a hash are compared"
    return ((one ^ other) & (2**64 - 1)).bit_count()


def is_near(kind: DuplicateKind, hamming: int, similarity: float) -> bool:
    return any(hamming <= bits and similarity >= least for bits, least in RULES[kind])


def _why(keep: Photo, others: list[Photo]) -> str:
    """The first reason that puts it before the best of the others."""
    next_best = max(_merits(photo) for photo in others)
    return next(
        reason for reason, mine, other in zip(REASONS, _merits(keep), next_best, strict=True) if mine != other
    )


def _merits(photo: Photo) -> tuple[int, ...]:
    """One number for each of REASONS, the greater the better. A file is larger first if it is so by about half:
    a few more bytes are no better picture, and a date may be worth them.
    """
    size = photo.bytes or 0
    return (
        (photo.width or 0) * (photo.height or 0),
        (photo.mime or "").startswith(FAITHFUL),
        size.bit_length(),
        sum(fact is not None for fact in (photo.taken_at, photo.latitude, photo.camera)),
        sum(bool(words) for words in (photo.title, photo.caption, photo.tags)),
        size,
        -_id(photo),
    )


def _id(photo: Photo) -> int:
    assert photo.id is not None, "a stored photo has an id"
    return photo.id
