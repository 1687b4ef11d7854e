"""Many photos at once: a folder, or a CSV or JSONL file that describes them. One bad file stops nothing."""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.errors import AppError, TooLarge
from app.flows.import_sources import Entry, Unreadable
from app.flows.ingest import add_item, new_item
from app.flows.services import Services

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    ADDED = "added"
    KNOWN = "known"
    FAILED = "failed"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Result:
    entry: Entry
    outcome: Outcome
    reason: str = ""


def import_entries(
    services: Services, entries: Iterable[Entry | Unreadable], workers: int, report: Callable[[Result], None]
) -> None:
    """Decoding goes side by side, and what is decoded together is encoded together; `report` is called in turn."""
    with ThreadPoolExecutor(workers, thread_name_prefix="import") as pool:
        running: set[Future[Result]] = set()
        for entry in entries:
            if isinstance(entry, Unreadable):
                outcome = Outcome.FAILED if entry.failed else Outcome.IGNORED
                report(Result(Entry(entry.name, None, {}), outcome, entry.reason))
                continue
            if len(running) >= 2 * workers:  # bounds what is held in memory
                running = _report_finished(running, report)
            running.add(pool.submit(_import_one, services, entry))
        while running:
            running = _report_finished(running, report)


def _report_finished(running: set[Future[Result]], report: Callable[[Result], None]) -> set[Future[Result]]:
    done, rest = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        report(future.result())
    return rest


def _import_one(services: Services, entry: Entry) -> Result:
    try:
        data = None if entry.path is None else _read(entry.path, services.settings.max_upload_bytes)
        added = add_item(services, new_item(data, entry.words))
    except AppError as error:
        return Result(entry, Outcome.FAILED, error.detail)
    except OSError as error:
        return Result(entry, Outcome.FAILED, error.strerror or "cannot be read")
    except Exception as error:
        logger.exception("Importing %s failed.", entry.name)
        return Result(entry, Outcome.FAILED, f"unexpected {type(error).__name__}; the log has the details")
    return Result(entry, Outcome.ADDED if added.created else Outcome.KNOWN)


def _read(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLarge(f"The file has more than {max_bytes:,} bytes.")
    return data
