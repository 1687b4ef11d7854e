"""Keeps a library equal to a folder: a pass at once, and again whenever something changes in it."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import watchfiles

logger = logging.getLogger(__name__)

QUIET_S = 1.0  # without a change, before a pass begins: files are still being written
LONGEST_WAIT_S = 30.0  # for that quiet
RESCAN_S = 900.0  # network folders do not tell of changes


def watch(folder: Path, one_pass: Callable[[], None], stop: threading.Event, rescan_s: float = RESCAN_S) -> None:
    """Calls `one_pass` until `stop` is set. Raises: what one_pass raises."""
    changed = threading.Event()
    listener = threading.Thread(target=_listen, args=(folder, changed, stop), name="watch", daemon=True)
    listener.start()
    while not stop.is_set():
        changed.clear()
        one_pass()
        changed.wait(rescan_s)
        _wait_for_quiet(changed, stop)
    listener.join()


def _listen(folder: Path, changed: threading.Event, stop: threading.Event) -> None:
    try:
        for _ in watchfiles.watch(folder, stop_event=stop, watch_filter=None, raise_interrupt=False):
            changed.set()
    except Exception as error:  # the folder is gone, or the system has no watches left
        logger.warning("%s is looked at every %g s only: %s", folder, RESCAN_S, error)
    changed.set()


def _wait_for_quiet(changed: threading.Event, stop: threading.Event) -> None:
    waited = 0.0
    while changed.is_set() and waited < LONGEST_WAIT_S and not stop.is_set():
        changed.clear()
        stop.wait(QUIET_S)
        waited += QUIET_S
