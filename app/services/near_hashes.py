"""All pairs of 64-bit hashes that differ in few bits, without comparing each with each.

Hashes that differ in at most t bits differ in at most t // 4 of one of their four bands of 16 bits (Norouzi et
al. 2012, "Fast search in Hamming space with multi-index hashing"). So for each band it is enough to compare a hash
with those whose band is its own or has that many bits flipped. 100,000 random hashes take half a second up to 11
bits, 2 s up to 15.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from app.services.interfaces import Ids

Hashes = NDArray[np.uint64]

BANDS = 4
BAND_BITS = 16
KEYS = 2**BAND_BITS
SIGNATURE = "int64[::1](uint64[::1], int64[::1], int64[::1], int64[::1], int64)"


class HashNeighbours:
    """Which rows of (n,) hashes are at most `limit` bits apart; equal hashes are compared only once."""

    def __init__(self, hashes: Hashes, limit: int) -> None:
        distinct, self._group = np.unique(hashes, return_inverse=True)
        pairs = near_pairs(distinct, limit)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        self._near = _Lists(both[:, 0], both[:, 1], len(distinct))
        self._rows = _Lists(self._group, np.arange(len(hashes)), len(distinct))

    def of(self, row: int) -> Ids:
        """The rows near this one, itself among them."""
        group = self._group[row]
        return np.concatenate([self._rows.of(other) for other in (group, *self._near.of(group))])

    def crowded(self) -> Ids:
        """The rows that have another one near them."""
        return np.flatnonzero(((self._rows.lengths > 1) | (self._near.lengths > 0))[self._group])


class _Lists:
    """values[i] belongs to the list keys[i], a number below `count`."""

    def __init__(self, keys: Ids, values: Ids, count: int) -> None:
        self._values = values[np.argsort(keys, kind="stable")]
        self.lengths = np.bincount(keys, minlength=count)
        self._ends = np.cumsum(self.lengths)

    def of(self, key: int) -> Ids:
        end = self._ends[key]
        found: Ids = self._values[end - self.lengths[key] : end]
        return found


def near_pairs(hashes: Hashes, limit: int) -> Ids:
    """(pairs, 2) rows, the smaller one first, of (n,) hashes that differ in at most `limit` bits; once."""
    masks = np.arange(KEYS)
    flips = masks[np.bitwise_count(masks) <= limit // BANDS]
    found = []
    for band in range(BANDS):
        keys = ((hashes >> np.uint64(band * BAND_BITS)) & np.uint64(KEYS - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(KEYS + 1)).astype(np.int64)
        places = _compiled()(hashes[order], keys[order], starts, flips, limit).reshape(-1, 2)
        found.append(np.sort(order[places], axis=1))
    pairs: Ids = np.unique(np.concatenate(found), axis=0)
    return pairs


@cache
def _compiled() -> Any:
    ones = numba.njit(inline="always")(_ones)

    def compare(hashes: Any, keys: Any, starts: Any, flips: Any, limit: Any) -> Any:
        """Places i < j of near hashes, one after the other; place i has the band keys[i], which is sorted."""
        found: Any = [np.int64(0) for _ in range(0)]  # empty, of a type that numba knows
        for i in range(len(hashes)):
            for flip in flips:
                key = keys[i] ^ flip
                for j in range(max(starts[key], i + 1), starts[key + 1]):
                    if ones(hashes[i] ^ hashes[j]) <= limit:
                        found.append(i)
                        found.append(j)
        return np.array(found)

    return numba.njit(SIGNATURE, nogil=True)(compare)


def _ones(x: Any) -> Any:
    """Bits set in 64: pairs, fours and bytes are added up side by side."""
    x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))
