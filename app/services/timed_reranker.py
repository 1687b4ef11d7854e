"""Matching pictures with a text within a time budget, on the thread for heavy work, which others wait for, too."""

import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app.services.inference_thread import InferenceThreads
from app.services.interfaces import ImageTextMatcher, Scores

BATCH = 4  # pictures between which others get their turn
FADING = 0.9  # of the remembered time a picture takes, for each time that it has kept a query from being tried


class TimedReranker:
    """A Reranker that starts no batch, and no query, that by its experience would end too late."""

    def __init__(self, matcher: ImageTextMatcher, threads: InferenceThreads) -> None:
        self.name = matcher.name
        self._matcher = matcher
        self._threads = threads
        self._seconds_each = 0.0  # what one picture took in the last batch; 0: not known yet

    def match(self, text: str, images: Sequence[Image.Image], deadline: float) -> Scores | None:
        """(len(images),) probabilities; None: out of time. Raises: EncoderFailed."""
        parts: list[Scores] = []
        for start in range(0, len(images), BATCH):
            left = deadline - time.monotonic()
            if left <= self._seconds_each * (len(images) - start):
                self._seconds_each *= FADING  # so that one slow batch does not switch it off for good
                return None
            try:
                part = self._threads.heavy.run(self._timed, (text, images[start : start + BATCH], deadline), left)
            except TimeoutError:
                return None
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _timed(self, asked: tuple[str, Sequence[Image.Image], float]) -> Scores | None:
        """One batch, if its turn has not come too late."""
        text, images, deadline = asked
        started = time.monotonic()
        if started + self._seconds_each * len(images) > deadline:
            return None
        found = self._matcher.probabilities(text, images)
        self._seconds_each = (time.monotonic() - started) / len(images)
        return found
