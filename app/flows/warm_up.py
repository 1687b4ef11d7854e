"""Before anybody is served, and again and again from then on: every model used once, and a search rehearsed."""
# ruff: noqa: S311 — nobody gains by guessing what is rehearsed

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import PurePath

from PIL import Image
from sqlalchemy import bindparam
from sqlmodel import col, func, select

from app.errors import Overloaded
from app.flows.background import Background
from app.flows.library_names import library_names
from app.flows.search import Scope, rehearse
from app.flows.services import Services, Serving
from app.services.looks import look_of
from app.tables import Photo, QueryKind, SearchQuery

logger = logging.getLogger(__name__)

RESULTS = 20  # of a search that is rehearsed
NAMES_KEPT_S = 300  # until those of changed and deleted photos are read again
ANY_WORDS = "warm-up"
LAST_ASKED = 20  # questions
MOST_CHARS = 60  # of words that are rehearsed: people ask in few

_ASKED = (
    select(SearchQuery.text)
    .where(SearchQuery.owner == bindparam("owner"), SearchQuery.kind == QueryKind.TEXT)
    .order_by(col(SearchQuery.id).desc())
    .limit(LAST_ASKED)
)
# What is written about one photo.
_LAST_ID = select(func.max(Photo.id)).where(Photo.owner == bindparam("owner"))
_WRITTEN = (
    select(Photo.caption, Photo.title, Photo.suggested_caption, Photo.filename)
    .where(Photo.owner == bindparam("owner"), col(Photo.id) >= bindparam("first"))
    .order_by(col(Photo.id))
    .limit(1)
)


def warm_up(services: Services) -> None:
    """The models, and a search in every library, so that nobody's first one is a cold one."""
    warm_models(services)
    for owner in services.live_index.owners():
        mine = services.of(owner)
        rehearse(mine, words_to_rehearse(mine), Scope(RESULTS))


def warm_models(services: Services) -> None:
    """One picture and one word through each, and what else a search reads besides its library."""
    picture = Image.new("RGB", (320, 240))
    image = services.encoder.encode_images([picture])
    words = services.encoder.encode_texts([ANY_WORDS], cached=False)
    if image.shape != (1, services.encoder.dim) or image.shape != words.shape:
        raise RuntimeError(f"The encoder gives {image.shape} for a picture and {words.shape} for a text.")
    services.tagger.suggest(image)
    look_of(picture)
    if services.reranker:
        services.reranker.match(ANY_WORDS, [picture], time.monotonic() + services.settings.inference_timeout_s)
    # Nobody's key: whose one is, and whether there are any, is asked before all else.
    services.access.caller(ANY_WORDS)
    _ = services.access.exist
    warm_names(services)


def words_to_rehearse(services: Services) -> str:
    """A question of the last ones that somebody asked, or what is written about a photo: either at random.

    The same words each time would keep their own pages of the database warm, and no others.
    """
    mine = {"owner": services.owner}
    with services.database.read() as session:
        asked = session.exec(_ASKED, params=mine).all()
        last_id = session.exec(_LAST_ID, params=mine).one() or 0
        first = random.randint(0, last_id)
        written = session.exec(_WRITTEN, params=mine | {"first": first}).first()
    either = [_words(written)] if written else []
    if asked:
        either.append(random.choice(asked))
    words = random.choice(either or [""]) or ANY_WORDS
    return words[: min(MOST_CHARS, services.settings.max_query_chars)].strip()


def _words(written: Sequence[str | None]) -> str:
    """The best of what is written about one photo."""
    *texts, filename = (text or "" for text in written)
    return next(filter(None, map(str.strip, (*texts, PurePath(filename).stem))), "")


def warm_names(services: Services) -> None:
    """Those that the search box looks for, read here so that no search waits for it."""
    with services.database.read() as session:
        for owner in services.live_index.owners():
            library_names(session, owner, NAMES_KEPT_S)


class KeepWarm(Background):
    """A thread that goes on warming what serves: after a quiet hour the system has given its memory to others.

    Each time `rehearse_for` is given an owner, and words to search for.
    """

    name = "keep-warm"

    def __init__(self, serving: Serving, interval_s: float, rehearse_for: Callable[[str, str], object]) -> None:
        super().__init__(first_after_s=interval_s)
        self._rehearse_for = rehearse_for
        self._serving = serving
        self._interval_s = self.retry_s = interval_s

    def start(self) -> None:
        """Does nothing if the interval is 0."""
        if self._interval_s:
            super().start()

    def _step(self) -> float:
        try:
            with self._serving.use() as services:
                warm_models(services)
                # One library, however many there are: they would be too much work for every few seconds.
                owner = random.choice(services.live_index.owners() or [services.owner])
                words = words_to_rehearse(services.of(owner))
            self._rehearse_for(owner, words)
        except Overloaded as error:  # too busy to need it
            logger.info("not warmed: %s", error)
        return self._interval_s
