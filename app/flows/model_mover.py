"""Moves a library to another model while searches go on: load, fill, warm up, switch in one step."""

import logging
import time
from collections.abc import Callable

from app.flows import model_changes
from app.flows.background import Background
from app.flows.model_changes import Claim
from app.flows.reindex import count_missing, count_ready, fill_missing
from app.flows.services import Services, Serving
from app.flows.warm_up import warm_up
from app.services.model_choice import AUTO
from app.services.weight_files import WeightsRefused
from app.tables import ChangeState, ModelChange

logger = logging.getLogger(__name__)

POLL_S = 0.5
AUTO_POLL_S = 10.0  # how often `auto` looks for CLIP
FILL_POLL_S = 30.0  # how often to look for photos that other processes left without a vector
RETRY_S = 60.0  # after weights that are missing

MAX_SKIPPED = 0.5  # beyond this share of photos without a vector it is the folder that is missing, not some files

Prepare = Callable[[Services, ModelChange], Services]


class TooLittleReadable(Exception):
    """So few originals can be read that a change of model would empty the searches."""


def fill_space(services: Services, claim: Claim, should_stop: Callable[[], bool]) -> bool:
    """Until every photo has a vector or cannot have one, those that come in meanwhile too. False: stopped.

    Raises: TooLittleReadable.
    """
    claim.total, missing = count_ready(services), count_missing(services)
    claim.done = claim.total - missing
    begun, begun_with = time.monotonic(), claim.done

    def report(filled: int, skipped: int) -> None:
        claim.done += filled
        claim.skipped += skipped
        claim.photos_per_s = (claim.done - begun_with) / (time.monotonic() - begun)

    while fill_missing(services, should_stop, report):  # the last pass finds nothing but what cannot be filled
        claim.skipped = 0
    if should_stop():
        return False
    claim.total, claim.skipped = count_ready(services), count_missing(services)
    claim.done = claim.total - claim.skipped
    if claim.skipped > MAX_SKIPPED * claim.total:
        raise TooLittleReadable(
            f"{claim.skipped} of {claim.total} originals cannot be read; is the uploads folder there?"
        )
    return True


class ModelMover(Background):
    """The background work of a server: fills missing vectors, and makes the changes that are asked for."""

    name, retry_s = "model-mover", POLL_S

    def __init__(self, serving: Serving, prepare: Prepare) -> None:
        super().__init__(first_after_s=POLL_S)
        self._serving = serving
        self._prepare = prepare
        self._database = serving.current.database
        self._remote = serving.current.remote_encoder is not None  # then RECOLLECT_MODEL counts elsewhere
        self._setting = serving.current.settings.model
        self._refused: tuple[int | None, float] | None = None  # a change that failed, and when to try it again
        self._auto_at = self._fill_at = 0.0  # monotonic s
        self._unreadable = 0  # photos without a vector in the present space after the last filling

    def start(self) -> None:
        if not self._remote:
            model_changes.note_setting(self._database, self._setting, self._serving.current.model_choice)
        super().start()

    def _step(self) -> float:
        now = time.monotonic()
        if self._setting == AUTO and not self._remote and now >= self._auto_at:
            self._auto_at = now + AUTO_POLL_S
            model_changes.note_setting(self._database, AUTO, self._serving.current.model_choice)
        if (change := self._wanted()) is not None:
            self._make(change)
        elif now >= self._fill_at:
            self._fill_present()
            self._fill_at = now + FILL_POLL_S
        return POLL_S

    def _fill_present(self) -> None:
        """What is known to be unreadable is not read again and again."""
        services = self._serving.current
        if count_missing(services) == self._unreadable:
            return
        fill_missing(services, lambda: self._stop.is_set() or self._wanted() is not None)
        if self._wanted() is None:
            self._unreadable = count_missing(services)

    def _wanted(self) -> ModelChange | None:
        """A pending change, or one made by another process that this one has not followed yet."""
        change = model_changes.newest(self._database)
        if change is None or self._is_made(change):
            return None
        if self._refused and self._refused[0] == change.id and time.monotonic() < self._refused[1]:
            return None
        return change

    def _is_made(self, change: ModelChange) -> bool:
        return change.state is ChangeState.DONE and change.space == self._serving.current.encoder.space

    def _make(self, change: ModelChange) -> None:
        claim = Claim.of(self._database, change)
        before = self._serving.current
        if change.state is ChangeState.PENDING and not claim.take():
            return  # `recollect reindex` is at it
        try:
            with claim:
                self._move(change, claim)
        except (WeightsRefused, TooLittleReadable) as error:
            self._give_up_for_now(claim, str(error))
        except Exception as error:
            logger.exception("The change to %s failed.", change.model)
            self._give_up_for_now(claim, f"unexpected {type(error).__name__}; the log has the details")
        if self._serving.current is not before:
            self._retire(before)

    def _move(self, change: ModelChange, claim: Claim) -> None:
        """Raises: what loading and running the new model raises; the old one serves on."""
        successor = self._prepare(self._serving.current, change)
        claim.name_space(successor.encoder.space)
        self._serving.next = successor
        try:
            warm_up(successor)
            filled = fill_space(successor, claim, lambda: self._stop.is_set() or claim.lost.is_set())
            if filled and (change.state is ChangeState.DONE or claim.finish()):
                successor.live_index.catch_up()
                successor.live_index.reconcile()
                successor.live_index.start()
                self._serving.switch(successor)
                logger.info("Searches use %s from now on.", successor.encoder.space)
        finally:
            if self._serving.current is not successor:
                self._serving.next = None
                successor.close_space()

    def _give_up_for_now(self, claim: Claim, error: str) -> None:
        logger.error("No change of model: %s", error)
        self._refused = claim.change_id, time.monotonic() + RETRY_S
        claim.fail(error)

    def _retire(self, old: Services) -> None:
        """Close what no request uses any more, and fill what was uploaded at the last moment."""
        while not self._serving.wait_until_unused(old, POLL_S) and not self._stop.is_set():
            pass
        old.close_space()
        self._fill_at, self._unreadable = 0.0, 0
