"""Which row of a matrix belongs to which id, looked up for a million ids at once."""

import numpy as np
from numpy.typing import NDArray

from app.services.interfaces import Ids

PAGE = 4096
MAX_ID = 2**32  # bounds the directory of pages at 4 MB; keys of the tables are 32-bit integers on PostgreSQL
ABSENT = -1


class RowTable:
    """Ids from 0 to MAX_ID − 1, dense or sparse: a directory of pages, and only pages that hold an id exist."""

    def __init__(self) -> None:
        self._page_of = np.zeros(1, np.int32)  # page 0 holds nothing: it stands for all that do not exist
        self._pages = np.full((1, PAGE), ABSENT, np.int32)
        self._page_count = 1

    def rows(self, ids: Ids) -> NDArray[np.int32]:
        """(n,) rows for (n,) ids, ABSENT for those that have none."""
        within = (ids >= 0) & (ids < len(self._page_of) * PAGE)
        if not within.all():
            known = np.full(len(ids), ABSENT, np.int32)
            known[within] = self.rows(ids[within])
            return known
        pages = self._page_of[ids // PAGE]
        found: NDArray[np.int32] = self._pages.ravel().take(pages * np.int64(PAGE) + ids % PAGE)
        return found

    def put(self, ids: Ids, rows: Ids) -> None:
        """Ids from 0 to MAX_ID − 1; those that have a row get another one."""
        self._make_pages(np.unique(ids // PAGE))
        self._pages[self._page_of[ids // PAGE], ids % PAGE] = rows

    def remove(self, ids: Ids) -> None:
        """Ids that have a row."""
        self._pages[self._page_of[ids // PAGE], ids % PAGE] = ABSENT

    def _make_pages(self, wanted: Ids) -> None:
        length = int(wanted.max(initial=-1)) + 1
        if length > len(self._page_of):
            self._page_of = _grown(self._page_of, length, 0)
        new = wanted[self._page_of[wanted] == 0]
        size = self._page_count + len(new)
        if size > len(self._pages):
            self._pages = _grown(self._pages, size, ABSENT)
        self._page_of[new] = np.arange(self._page_count, size)
        self._page_count = size


def _grown(array: NDArray[np.int32], size: int, fill: int) -> NDArray[np.int32]:
    """A longer copy: twice as long at least, so that growing step by step stays cheap."""
    longer = np.full((max(size, 2 * len(array)), *array.shape[1:]), fill, np.int32)
    longer[: len(array)] = array
    return longer
