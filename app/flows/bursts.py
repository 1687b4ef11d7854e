"""Several shots of one moment, or copies of one picture, take one place among results: that of the best ranked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlmodel import col, select

from app.flows.duplicates import RULES
from app.flows.ranking import Ranked
from app.flows.services import Services
from app.id_lists import among
from app.schemas import DuplicateKind
from app.services.interfaces import Ids, Vectors
from app.services.looks import PLAIN
from app.services.near_hashes import Hashes
from app.tables import Photo

BURST_S = 120.0  # shots whose cameras say that they are further apart are of two moments, however alike
FARTHEST = max(bits for rules in RULES.values() for bits, _ in rules)


def collapse(services: Services, ranked: Sequence[Ranked]) -> list[Ranked]:
    """In the same order, each result with the ids of the later ones that it stands for."""
    looks = _looks(services, np.array([item.candidate.photo_id for item in ranked], np.int64))
    free = np.ones(len(ranked), np.bool_)
    kept = []
    for row, item in enumerate(ranked):
        if free[row]:
            free[row] = False
            same = looks.like(row, np.flatnonzero(free))
            free[same] = False
            kept.append(item._replace(collapsed=tuple(looks.ids[same].tolist())))
    return kept


@dataclass(frozen=True)
class _Looks:
    """Of n photos: ids, perceptual hashes, moments taken (s, NaN: unknown), and (n, dim) unit vectors."""

    ids: Ids
    hashes: Hashes
    moments: NDArray[np.float64]
    vectors: Vectors

    def like(self, row: int, others: Ids) -> Ids:
        """Those of the other rows that show the same as this one."""
        if self.hashes[row] == PLAIN:
            return others[:0]
        hamming = np.bitwise_count(self.hashes[others] ^ self.hashes[row])
        near = (hamming <= FARTHEST) & (self.hashes[others] != PLAIN)
        others, hamming = others[near], hamming[near]
        cosine = self.vectors[others] @ self.vectors[row]
        one_moment = ~(np.abs(self.moments[others] - self.moments[row]) > BURST_S)  # also if one is unknown
        alike = _fits(DuplicateKind.LOOK_ALIKE, hamming, cosine) & one_moment
        same: Ids = others[alike | _fits(DuplicateKind.SAME_PICTURE, hamming, cosine)]
        return same


def _fits(kind: DuplicateKind, hamming: NDArray[np.uint8], cosine: Vectors) -> NDArray[np.bool_]:
    fits = np.zeros(len(hamming), np.bool_)
    for bits, least in RULES[kind]:
        fits |= (hamming <= bits) & (cosine >= least)
    return fits


def _looks(services: Services, ids: Ids) -> _Looks:
    hashes, moments = np.full(len(ids), PLAIN, np.uint64), np.full(len(ids), np.nan)
    vectors = np.zeros((len(ids), services.index.dim), np.float32)
    row_of = {photo_id: row for row, photo_id in enumerate(ids.tolist())}
    with services.database.read() as session:
        facts = select(Photo.id, Photo.phash, Photo.taken_at).where(among(col(Photo.id), ids))
        for photo_id, phash, taken in session.exec(facts):
            row = row_of[photo_id or 0]
            hashes[row] = (phash or PLAIN) & (2**64 - 1)
            moments[row] = np.nan if taken is None else taken.timestamp()
    found, there = services.index.vectors(ids)
    vectors[[row_of[photo_id] for photo_id in found.tolist()]] = there
    return _Looks(ids, hashes, moments, vectors)
