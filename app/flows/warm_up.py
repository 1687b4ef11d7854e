"""Before anybody is served, and again and again from then on: every model used once, and a search rehearsed."""

import logging
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from app.errors import Overloaded
from app.flows.background import Background
from app.flows.library_names import library_names
from app.flows.search import Scope, rehearse
from app.flows.services import Services, Serving
from app.services.looks import look_of

logger = logging.getLogger(__name__)

RESULTS = 20  # of a search that is rehearsed
NAMES_KEPT_S = 300  # until those of changed and deleted photos are read again


def warm_up(services: Services) -> None:
    """One picture and one word through the models and the index, so that nobody's first search is a cold one."""
    picture = Image.new("RGB", (320, 240))
    image = services.encoder.encode_images([picture])
    words = np.stack(services.encoder.texts.run(["warm-up"]))  # past the cache of vectors
    if image.shape != (1, services.encoder.dim) or image.shape != words.shape:
        raise RuntimeError(f"The encoder gives {image.shape} for a picture and {words.shape} for a text.")
    services.tagger.suggest(image)
    look_of(picture)
    for owner in services.live_index.owners():
        rehearse(services.of(owner), "warm-up", Scope(RESULTS))
        services.of(owner).index.search(np.concatenate([image, words]), 1)
    if services.reranker:
        services.reranker.match("warm-up", [picture], time.monotonic() + services.settings.inference_timeout_s)
    warm_names(services)


def warm_names(services: Services) -> None:
    """Those that the search box looks for, read here so that no search waits for it."""
    with services.database.read() as session:
        for owner in services.live_index.owners():
            library_names(session, owner, NAMES_KEPT_S)


class KeepWarm(Background):
    """A thread that goes on warming what serves: after a quiet hour the system has given its memory to others.

    `then` is called after each time.
    """

    name = "keep-warm"

    def __init__(self, serving: Serving, interval_s: float, then: Callable[[], object]) -> None:
        super().__init__(first_after_s=interval_s)
        self._then = then
        self._serving = serving
        self._interval_s = self.retry_s = interval_s

    def start(self) -> None:
        """Does nothing if the interval is 0."""
        if self._interval_s:
            super().start()

    def _step(self) -> float:
        try:
            with self._serving.use() as services:
                warm_up(services)
            self._then()
        except Overloaded as error:  # too busy to need it
            logger.info("not warmed: %s", error)
        return self._interval_s
