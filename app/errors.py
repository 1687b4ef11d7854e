"""What can go wrong, as the client sees it. Each error has one status and one stable slug.

AppError                        500  internal-error
├── InvalidRequest              400  invalid-request
├── KeyNeeded                   401  key-needed
├── NotAllowed                  403  not-allowed
├── PhotoNotFound               404  photo-not-found
├── FileNotStored               404  file-not-found
├── KeyNotFound                 404  key-not-found
├── AlbumNotFound               404  album-not-found
├── FeedbackNotFound            404  feedback-not-found
├── ImportNotFound              404  import-not-found
├── UploadNotFound              404  upload-not-found
├── ItemIdTaken                 409  item-id-taken
├── NameTaken                   409  name-taken
├── OffsetConflict              409  offset-conflict    (Upload-Offset)
├── CursorExpired               410  cursor-expired
├── UnsupportedProtocol         412  unsupported-protocol
├── TooLarge                    413  too-large
├── UnsupportedMedia            415  unsupported-media
├── BrokenMedia                 422  broken-media
├── NoSpeech                    422  no-speech
├── ChecksumMismatch            460  checksum-mismatch
├── TooManyRequests             429  too-many-requests  (Retry-After)
├── Overloaded                  503  overloaded         (Retry-After)
│   ├── EncoderUnreachable      503  encoder-unreachable
│   └── StorageUnreachable      503  storage-unreachable
├── CapabilityMissing           503  capability-missing
├── EncoderFailed               500  encoder-failed
├── StorageMissing              503  storage-missing
└── StorageFull                 507  storage-full

The handlers that turn these, validation errors and everything unexpected into problem+json
(RFC 9457) are in app/problems.py.
"""

from collections.abc import Mapping
from typing import ClassVar


class AppError(Exception):
    """Base of every error that the service raises on purpose; `detail` is shown to the client."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})


class InvalidRequest(AppError):
    status, slug, title = 400, "invalid-request", "Invalid request"


class KeyNeeded(AppError):
    """No access key, or none that is known."""

    status, slug, title = 401, "key-needed", "An access key is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class NotAllowed(AppError):
    status, slug, title = 403, "not-allowed", "Not allowed"


class PhotoNotFound(AppError):
    status, slug, title = 404, "photo-not-found", "No such photo"


class FileNotStored(AppError):
    status, slug, title = 404, "file-not-found", "No file for this photo"


class KeyNotFound(AppError):
    status, slug, title = 404, "key-not-found", "No such access key"


class AlbumNotFound(AppError):
    status, slug, title = 404, "album-not-found", "No such album"


class FeedbackNotFound(AppError):
    status, slug, title = 404, "feedback-not-found", "No such vote"


class ImportNotFound(AppError):
    status, slug, title = 404, "import-not-found", "No such import"


class UploadNotFound(AppError):
    status, slug, title = 404, "upload-not-found", "No such resumable upload"


class CursorExpired(AppError):
    status, slug, title = 410, "cursor-expired", "These results are not kept any more"


class ItemIdTaken(AppError):
    status, slug, title = 409, "item-id-taken", "This item_id belongs to another photo"


class NameTaken(AppError):
    status, slug, title = 409, "name-taken", "This name is in use"


class OffsetConflict(AppError):
    """A part of a resumable upload does not begin where the parts before it end, which is at `offset` bytes."""

    status, slug, title = 409, "offset-conflict", "This part does not come next"

    def __init__(self, offset: int) -> None:
        super().__init__(f"The next byte is number {offset}.", headers={"Upload-Offset": str(offset)})


class UnsupportedProtocol(AppError):
    """Another version of tus, or none; the client may try again with one of `versions`."""

    status, slug, title = 412, "unsupported-protocol", "Unsupported version of the protocol"

    def __init__(self, versions: str) -> None:
        super().__init__(f"The header Tus-Resumable must be {versions}.", headers={"Tus-Version": versions})


class TooLarge(AppError):
    status, slug, title = 413, "too-large", "Too large"


class UnsupportedMedia(AppError):
    status, slug, title = 415, "unsupported-media", "Unsupported kind of file"


class BrokenMedia(AppError):
    status, slug, title = 422, "broken-media", "The file is damaged"


class NoSpeech(AppError):
    status, slug, title = 422, "no-speech", "No speech heard"


class ChecksumMismatch(AppError):
    """What has arrived is not what was sent; the status is that of tus."""

    status, slug, title = 460, "checksum-mismatch", "The checksum does not fit"


class TooManyRequests(AppError):
    """More than the limit for one key or address."""

    status, slug, title = 429, "too-many-requests", "Too many requests"

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class Overloaded(AppError):
    """More work is waiting than the service will hold; the client may try again."""

    status, slug, title = 503, "overloaded", "Busy"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class EncoderUnreachable(Overloaded):
    """The processes that have the models do not answer."""

    slug, title = "encoder-unreachable", "No encoder answers"


class StorageUnreachable(Overloaded):
    """The bucket that holds the originals does not answer, or not in time."""

    slug, title = "storage-unreachable", "The photos cannot be reached"


class CapabilityMissing(AppError):
    """This installation cannot do it, for instance voice search without a Whisper model."""

    status, slug, title = 503, "capability-missing", "Not available here"


class EncoderFailed(AppError):
    """A model gave no usable result (out of memory, NaN)."""

    status, slug, title = 500, "encoder-failed", "The model failed on this input"


class StorageMissing(AppError):
    """The uploads folder is not the library's: its disk is not mounted."""

    status, slug, title = 503, "storage-missing", "The photos are not there"


class StorageFull(AppError):
    status, slug, title = 507, "storage-full", "No space left"
