"""A quarter-size copy of unit vectors, for a first pass that reads a quarter of the memory.

A row x is turned by a fixed rotation R, which spreads large components evenly (as in RaBitQ: Gao and Long 2024),
and kept as integers c in −127..127 with a scale s: R x ≈ s·c. A query becomes R q ≈ t·p with larger integers.
Then q·x ≈ s·t·(c·p), where c·p is exact, and by Cauchy-Schwarz the error is at most

    |q| |x| ‖I − RᵀR‖  +  |R q| |R x − s·c|  +  |R q − t·p| |s·c|

of which the middle term, about 0.007 for 512 dimensions, is by far the largest; it is measured for each row.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.services.interfaces import Ids, Scores, Vectors
from app.services.scan import SLACK, Bounds, Scanner, compiled, empty_bounds, float32_error

LARGEST_CODE = 127
LENGTH = 1.01  # no row is longer, rotated or not
CHUNK_ROWS = 2048  # 4 MB for 512 dimensions: stays in the cache


def _bound_codes(encoded: Any, query: Any, factors: Any, rows: Any, low: Any, high: Any) -> None:
    codes, scales, errors = encoded
    step, by_error, fixed = factors
    for i in range(rows.shape[0]):
        row = codes[rows[i]]
        total = np.int32(0)
        for j in range(row.shape[0]):
            total = np.int32(total + np.int32(np.int32(row[j]) * np.int32(query[j])))
        score = np.float32(total) * (scales[rows[i]] * step)
        margin = errors[rows[i]] * by_error + fixed
        low[i] = score - margin
        high[i] = score + margin


def _quantize(rotated: Any, codes: Any, scales: Any, missed: Any) -> None:
    for i in range(rotated.shape[0]):
        largest = np.float32(0)
        for j in range(rotated.shape[1]):
            largest = max(largest, abs(rotated[i, j]))
        scale = largest / np.float32(LARGEST_CODE)
        squares = np.float32(0)
        for j in range(rotated.shape[1]):
            code = np.rint(rotated[i, j] / scale)
            squares += (rotated[i, j] - code * scale) ** 2
            codes[i, j] = np.int8(code)
        scales[i] = scale
        missed[i] = np.sqrt(squares)


QUANTIZE_SIGNATURE = "void(float32[:,::1], int8[:,::1], float32[::1], float32[::1])"
SIGNATURE = (
    "void(Tuple((int8[:,::1], float32[::1], float32[::1])), int16[::1], UniTuple(float32, 3), "
    "int64[::1], float32[::1], float32[::1])"
)


class Int8Codes:
    """Row i belongs to row i of the vectors; dim + 8 bytes a row."""

    def __init__(self, dim: int, scanner: Scanner) -> None:
        self._scanner = scanner
        self._bound = compiled(_bound_codes, SIGNATURE)
        self._quantize = compiled(_quantize, QUANTIZE_SIGNATURE)
        self._rotation = rotation(dim)
        self._rotation_error = LENGTH * (_skewness(self._rotation) + float32_error(dim) * dim**0.5) + SLACK
        # c·p must stay below 2³¹.
        self._largest = min(2**15 - 1, (2**31 - 1) // (LARGEST_CODE * dim))
        self._codes = np.empty((0, dim), np.int8)  # longer than what is in use, like the next two
        self._scales = np.empty(0, np.float32)
        self._errors = np.empty(0, np.float32)

    @property
    def row_bytes(self) -> int:
        return self._codes.shape[1] + self._scales.itemsize + self._errors.itemsize

    def reserve(self, size: int) -> None:
        """Room for so many rows in all."""
        self._codes = _longer(self._codes, size)
        self._scales = _longer(self._scales, size)
        self._errors = _longer(self._errors, size)

    def put(self, start: int, vectors: Vectors) -> None:
        """(n, dim) unit vectors as rows start and following."""
        if start + len(vectors) > len(self._codes):
            self.reserve(max(start + len(vectors), 2 * len(self._codes)))
        for i in range(0, len(vectors), CHUNK_ROWS):
            self._encode(start + i, vectors[i : i + CHUNK_ROWS])

    def move(self, sources: Ids, targets: Ids) -> None:
        for array in (self._codes, self._scales, self._errors):
            array[targets] = array[sources]

    def bounds(self, query: Scores, rows: Ids) -> Bounds:
        """On the scores of these rows, for one (dim,) query."""
        rotated = self._rotation.astype(np.float64) @ query
        step = max(float(np.abs(rotated).max()) / self._largest, float(np.finfo(np.float32).tiny))
        integers = np.rint(rotated / step).astype(np.int16)
        missed = float(np.linalg.norm(rotated - step * integers))
        by_error = float(np.linalg.norm(rotated)) + missed
        fixed = LENGTH * missed + SLACK * float(np.linalg.norm(query))
        factors = (np.float32(step), np.float32(by_error), np.float32(fixed))
        low, high = empty_bounds(len(rows))
        encoded = (self._codes, self._scales, self._errors)
        self._scanner.run(
            lambda part: self._bound(encoded, integers, factors, rows[part], low[part], high[part]), len(rows)
        )
        return low, high

    def _encode(self, start: int, vectors: Vectors) -> None:
        part = slice(start, start + len(vectors))
        rotated = np.ascontiguousarray(vectors @ self._rotation.T)
        missed = np.empty(len(vectors), np.float32)
        self._quantize(rotated, self._codes[part], self._scales[part], missed)
        self._errors[part] = 1.001 * missed + self._rotation_error  # missed itself is rounded, too


@cache
def rotation(dim: int) -> Vectors:
    """(dim, dim): random signs, always the same, then the orthonormal cosine transform (DCT-II).

    Each large component of a row is spread over all others, which random signs keep from piling up again.
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], dim)
    frequency, position = np.arange(dim)[:, None], np.arange(dim)[None]
    cosines = np.cos(np.pi / dim * frequency * (position + 0.5)) * (2 / dim) ** 0.5
    cosines[0] *= 0.5**0.5
    return np.ascontiguousarray(cosines * signs, np.float32)


def _skewness(matrix: Vectors) -> float:
    """‖I − RᵀR‖: what rounding to float32 took from the rotation."""
    wide = matrix.astype(np.float64)
    return float(np.linalg.norm(wide.T @ wide - np.eye(len(wide))))


def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    if size <= len(array):
        return array
    longer = np.empty((size, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
