"""Work that goes on behind the requests, each kind in a thread of its own."""

import logging
import threading
from abc import ABC, abstractmethod

logger = logging.getLogger(__name__)


class Background(ABC):
    """A thread that takes one step after another until it is closed. An error does not end it."""

    name: str
    retry_s: float  # until the next step after an error: a database that is locked, a disk that is not mounted

    def __init__(self, first_after_s: float = 0.0) -> None:
        self._stop = threading.Event()
        self._first_after_s = first_after_s
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """The step at hand is still finished; what is left is for the next start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    @abstractmethod
    def _step(self) -> float | None:
        """Seconds until the next step; None: there will be nothing more to do."""

    def _run(self) -> None:
        pause: float | None = self._first_after_s
        while pause is not None and not self._stop.wait(pause):
            try:
                pause = self._step()
            except Exception:
                logger.exception("%s: this failed, and will be tried again in %g s.", self.name, self.retry_s)
                pause = self.retry_s
