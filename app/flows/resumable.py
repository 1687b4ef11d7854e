"""Uploads that survive a bad line: bytes are added to a file, and a whole file goes into the queue of imports.

How much has arrived is the size of the file and stands nowhere else, so a crash at any byte leaves nothing to
mend. The row stays until it expires, also when the file has gone: a client that missed the answer to its last part
learns from it that everything has arrived.
"""

from dataclasses import dataclass
from datetime import UTC, timedelta

from sqlmodel import Session, col, select

from app.errors import ChecksumMismatch, OffsetConflict, TooLarge, UploadNotFound
from app.flows.import_queue import Incoming, enqueue, get_import, import_key
from app.flows.services import Services
from app.schemas import UploadMetadata
from app.services import growing_file
from app.tables import Import, PartialUpload, utc_now


@dataclass(frozen=True)
class Progress:
    """How far an upload is."""

    upload: PartialUpload
    offset: int  # bytes that have arrived for good


def create(services: Services, length: int, metadata: dict[str, str]) -> Progress:
    """An upload of `length` bytes, none of which has arrived; `metadata` fits UploadMetadata.

    Raises: TooLarge, ImportNotFound, StorageFull, StorageMissing.
    """
    limit = services.settings.max_upload_bytes
    if length > limit:
        raise TooLarge(f"The file has more than {limit:,} bytes.")
    services.store.check_mounted()
    expire(services)
    known = UploadMetadata.model_validate(metadata)
    with services.database.write() as session:
        upload = PartialUpload(
            id=services.staging.new_name(),
            owner=services.owner,
            import_id=_import_for(session, known, services.owner),
            length=length,
            name=known.filename,
            words=metadata,
            expires_at=utc_now() + timedelta(seconds=services.settings.resumable_ttl_s),
        )
        session.add(upload)
        growing_file.start(services.staging.path(upload.id))
    return Progress(upload, 0)


def append(services: Services, upload: PartialUpload, offset: int, block: bytes) -> int:
    """The offset after this block. No lock outlives a block, so a dead connection never keeps a living one out.

    Raises: OffsetConflict (another request has added bytes meanwhile), TooLarge, StorageFull.
    """
    if offset + len(block) > upload.length:
        raise TooLarge(f"The upload was announced with {upload.length:,} bytes.")
    with services.photo_locks(_lock(upload.id)):
        try:
            return growing_file.append(services.staging.path(upload.id), offset, block)
        except FileNotFoundError:  # another request has completed it, and the file is in the library already
            raise OffsetConflict(upload.length) from None


def progress(services: Services, upload_id: str) -> Progress:
    """What is on disk for good. If that is the whole file, it is in the queue when this returns.

    Raises: UploadNotFound, ChecksumMismatch (the upload is gone).
    """
    with services.photo_locks(_lock(upload_id)):
        found = Progress(_find(services, upload_id), 0)
        if found.upload.item_id:
            return Progress(found.upload, found.upload.length)
        try:
            offset = growing_file.durable_size(services.staging.path(upload_id))
        except FileNotFoundError:
            raise UploadNotFound("This upload has been removed.") from None
        if offset == found.upload.length:
            return Progress(_finish(services, found.upload), offset)
        return Progress(found.upload, offset)


def terminate(services: Services, upload_id: str) -> None:
    """What has arrived is deleted; a whole file stays in its import. Raises: UploadNotFound."""
    with services.photo_locks(_lock(upload_id)):
        _remove(services, _find(services, upload_id).id)


def expire(services: Services) -> int:
    """Remove what has been abandoned; returns how many uploads."""
    with services.database.read() as session:
        expired = session.exec(select(PartialUpload.id).where(col(PartialUpload.expires_at) <= utc_now())).all()
    for upload_id in expired:
        with services.photo_locks(_lock(upload_id)):
            _remove(services, upload_id)
    return len(expired)


def _finish(services: Services, upload: PartialUpload) -> PartialUpload:
    """Raises: ChecksumMismatch."""
    metadata = UploadMetadata.model_validate(upload.words)
    path = services.staging.path(upload.id)
    if metadata.sha256 and metadata.sha256 != growing_file.sha256_of(path):
        _remove(services, upload.id)
        raise ChecksumMismatch("The file does not have the SHA-256 that was announced for it; it is discarded.")
    with services.database.write() as session:
        incoming = Incoming(upload.name, metadata.words(), staged=upload.id)
        found = get_import(session, upload.import_id, upload.owner)
        upload.item_id = enqueue(session, found, [incoming])[0].id
        session.add(upload)
    services.queue_changed.set()
    return upload


def _remove(services: Services, upload_id: str) -> None:
    """The file first: after a crash in between, the row still says what has to go."""
    with services.database.write() as session:
        upload = session.get(PartialUpload, upload_id)
        if upload is None:
            return
        if upload.item_id is None:  # else the file belongs to the queue
            services.staging.delete(upload_id)
        session.delete(upload)


def _find(services: Services, upload_id: str) -> PartialUpload:
    """Raises: UploadNotFound."""
    with services.database.read() as session:
        upload = session.get(PartialUpload, upload_id)
    if upload is None or upload.owner != services.owner or upload.expires_at.replace(tzinfo=UTC) <= utc_now():
        raise UploadNotFound("There is no such upload, or it has expired.")
    return upload


def _import_for(session: Session, metadata: UploadMetadata, owner: str) -> int:
    """The one that the client names, else the one of today. Raises: ImportNotFound."""
    if metadata.import_id:
        return import_key(get_import(session, metadata.import_id, owner))
    source = f"resumable uploads of {utc_now():%Y-%m-%d}"
    of_today = select(Import).where(Import.owner == owner, Import.source == source)
    found = session.exec(of_today).first() or Import(owner=owner, source=source)
    session.add(found)
    session.flush()
    return import_key(found)


def _lock(upload_id: str) -> str:
    return f"upload {upload_id}"
