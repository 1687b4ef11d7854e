"""What takes long to work out, kept for as long as what it was worked out from stays the same."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """One value for each key; two who ask for it at the same time work it out once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[Hashable, tuple[Hashable, Any]] = {}

    def get(self, key: Hashable, state: Hashable, work_out: Callable[[], T]) -> T:
        """The value of this key, worked out anew if `state` is not what it was the last time."""
        with self._lock:
            if key not in self._values or self._values[key][0] != state:
                self._values[key] = state, work_out()
            value: T = self._values[key][1]
            return value
