"""Taking in many items over HTTP: durable in the queue when the client gets its answer, decoded later."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from app.errors import AppError, BrokenMedia, TooLarge
from app.flows.import_queue import Incoming, accept
from app.flows.imports import known_photos
from app.flows.services import Services
from app.tables import ImportItem, ItemStatus


@dataclass(frozen=True)
class Sent:
    """One item as a client sent it; without `file` it is text only, with `error` it could not be read."""

    name: str
    file: BinaryIO | None = None
    words: Mapping[str, Any] = field(default_factory=dict)
    error: AppError | None = None


def receive(services: Services, import_id: int, sent: Iterable[Sent]) -> list[ImportItem]:
    """One row for each, in order: waiting, known already, or refused with a reason.

    Raises, and keeps nothing: ImportNotFound, StorageFull, StorageMissing.
    """
    services.store.check_mounted()
    with _nothing_left_behind(services) as incoming:
        for item in sent:
            incoming.append(_judged(services, item))
        return accept(services, import_id, incoming)


@contextmanager
def _nothing_left_behind(services: Services) -> Iterator[list[Incoming]]:
    incoming: list[Incoming] = []
    try:
        yield incoming
    except BaseException:
        for item in incoming:
            if item.staged:
                services.staging.delete(item.staged)
        raise


def _judged(services: Services, sent: Sent) -> Incoming:
    """What can be told without decoding is told at once. Raises: StorageFull."""
    item = Incoming(sent.name, dict(sent.words))
    if sent.error:
        return _refused(item, sent.error)
    if sent.file is None:
        return item
    try:
        data = _bytes(sent.file, services.settings.max_upload_bytes)
    except AppError as error:
        return _refused(item, error)
    sha256 = hashlib.sha256(data).hexdigest()
    known = known_photos(services.database, [sha256], services.owner).get(sha256)
    if known and services.store.has_copy(sha256):
        return replace(item, status=ItemStatus.KNOWN, photo_id=known)
    return replace(item, staged=services.staging.save(data))


def _refused(item: Incoming, error: AppError) -> Incoming:
    return replace(item, status=ItemStatus.FAILED, problem=error.slug, error=error.detail)


def _bytes(file: BinaryIO, limit: int) -> bytes:
    """Raises: BrokenMedia, TooLarge."""
    data = file.read(limit + 1)
    if not data:
        raise BrokenMedia("The file is empty.")
    if len(data) > limit:
        raise TooLarge(f"The file has more than {limit:,} bytes.")
    return data
