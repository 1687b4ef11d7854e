"""Resumable uploads by the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload)."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC
from email.utils import format_datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from app.dependencies import ServicesDep
from app.errors import ChecksumMismatch, InvalidRequest, OffsetConflict, UnsupportedMedia, UnsupportedProtocol
from app.flows import resumable
from app.flows.resumable import Progress
from app.flows.services import Services
from app.middleware import TUS_VERSION
from app.problems import problem_responses
from app.schemas import MAX_ID, CleanText, UploadMetadata

router = APIRouter(tags=["resumable uploads"])

EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
CHECKSUMS = ("sha1", "sha256")
PART = "application/offset+octet-stream"
BODY = {"requestBody": {"content": {PART: {"schema": {"type": "string", "format": "binary"}}}}}


async def same_version(tus_resumable: Annotated[str | None, Header(examples=[TUS_VERSION])] = None) -> None:
    """Raises: UnsupportedProtocol."""
    if tus_resumable != TUS_VERSION:
        raise UnsupportedProtocol(TUS_VERSION)


SAME_VERSION = [Depends(same_version)]
UploadId = Annotated[CleanText, Path(max_length=100, description="The end of the upload's Location.")]
Checksum = Annotated[str | None, Header(description="`sha1` or `sha256`, a space, and the digest in base64.")]
ContentType = Annotated[str | None, Header(include_in_schema=False)]


@router.options("/files", status_code=204)
def describe_uploads(services: ServicesDep) -> Response:
    """What this server can do of the tus protocol."""
    headers = {
        "Tus-Version": TUS_VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(services.settings.max_upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "/files",
    status_code=201,
    response_class=Response,
    response_description="`Location` takes the bytes; `Upload-Offset` of them have arrived.",
    dependencies=SAME_VERSION,
    responses=problem_responses(400, 404, 409, 412, 413, 422, 460, 503, 507),
    openapi_extra=BODY,
)
async def create_upload(
    services: ServicesDep,
    request: Request,
    upload_length: Annotated[int, Header(ge=1, le=MAX_ID, description="Bytes of the whole file.")],
    upload_metadata: Annotated[
        str, Header(description="`key base64,key base64`", examples=["title SG9seQ=="])
    ] = "",
    upload_checksum: Checksum = None,
    content_type: ContentType = None,
) -> Response:
    """Announce a file; its bytes are sent to the answer's Location. A body is taken for the first of them.

    Upload-Metadata may have filename, title, caption, tags (separated by commas), category, item_id, import_id (an
    import to join) and sha256 (of the whole file, in hex: only with these bytes it will be accepted).
    """
    metadata = read_metadata(upload_metadata)
    progress = await run_in_threadpool(resumable.create, services, upload_length, metadata)
    if content_type == PART:
        progress = await _receive(services, request, progress, upload_checksum)
    return Response(status_code=201, headers={"Location": f"/files/{progress.upload.id}"} | _headers(progress))


@router.head(
    "/files/{upload_id}",
    response_class=Response,
    response_description="`Upload-Offset` bytes of `Upload-Length` are here, until `Upload-Expires`.",
    dependencies=SAME_VERSION,
    responses=problem_responses(404, 412, 422, 460, 503),
)
def get_upload_offset(services: ServicesDep, upload_id: UploadId) -> Response:
    """How much has arrived for good: where the next part has to begin."""
    progress = resumable.progress(services, upload_id)
    headers = {"Upload-Length": str(progress.upload.length), "Cache-Control": "no-store"}
    if progress.upload.words:
        headers["Upload-Metadata"] = write_metadata(progress.upload.words)
    return Response(headers=headers | _headers(progress))


@router.patch(
    "/files/{upload_id}",
    status_code=204,
    response_description="`Upload-Offset` bytes have arrived; `Recollect-Item` is set when those are all.",
    dependencies=SAME_VERSION,
    responses=problem_responses(400, 404, 409, 412, 413, 415, 422, 460, 503, 507),
    openapi_extra=BODY,
)
async def append_to_upload(
    services: ServicesDep,
    request: Request,
    upload_id: UploadId,
    upload_offset: Annotated[int, Header(ge=0, le=MAX_ID, description="Bytes that come before this part.")],
    upload_checksum: Checksum = None,
    content_type: ContentType = None,
) -> Response:
    """Send the next part; what arrives of it is kept. With the last one the file is in the queue of its import."""
    if content_type != PART:
        raise UnsupportedMedia(f"A part is sent as {PART}.")
    progress = await run_in_threadpool(resumable.progress, services, upload_id)
    if upload_offset != progress.offset:
        raise OffsetConflict(progress.offset)
    progress = await _receive(services, request, progress, upload_checksum)
    return Response(status_code=204, headers=_headers(progress))


@router.delete(
    "/files/{upload_id}",
    status_code=204,
    dependencies=SAME_VERSION,
    responses=problem_responses(404, 412, 422, 503),
)
def terminate_upload(services: ServicesDep, upload_id: UploadId) -> None:
    """Give an upload up; what has arrived is deleted. A file that is complete stays in its import."""
    resumable.terminate(services, upload_id)


def read_metadata(header: str) -> dict[str, str]:
    """`filename aG9yc2U=,hidden` → {"filename": "horse", "hidden": ""}.

    Raises: InvalidRequest, RequestValidationError (a value does not fit UploadMetadata).
    """
    metadata = {}
    for pair in filter(None, header.split(",")):
        key, _, value = pair.strip().partition(" ")
        try:
            metadata[key] = b64decode(value, validate=True).decode()
        except ValueError:
            raise InvalidRequest(f"Upload-Metadata: {key!r} is not followed by UTF-8 in base64.") from None
    try:
        UploadMetadata.model_validate(metadata)
    except ValidationError as error:
        where = ("header", "upload-metadata")
        raise RequestValidationError([item | {"loc": where + item["loc"]} for item in error.errors()]) from None
    return metadata


def write_metadata(metadata: dict[str, str]) -> str:
    """The inverse of read_metadata."""
    return ",".join(f"{key} {b64encode(value.encode()).decode()}".strip() for key, value in metadata.items())


async def _receive(services: Services, request: Request, progress: Progress, checksum: str | None) -> Progress:
    """The body goes to disk as it arrives; of a client that has gone away, what came before that."""
    offset = progress.offset
    with suppress(ClientDisconnect):
        async for block in _checked(request, checksum) if checksum else request.stream():
            if block:
                offset = await run_in_threadpool(resumable.append, services, progress.upload, offset, block)
    return await run_in_threadpool(resumable.progress, services, progress.upload.id)


async def _checked(request: Request, checksum: str) -> AsyncIterator[bytes]:
    """The body as one block: nothing of it may count before its checksum has been compared.

    Raises: InvalidRequest, ChecksumMismatch.
    """
    algorithm, _, digest = checksum.partition(" ")
    if algorithm not in CHECKSUMS:
        raise InvalidRequest(f"Upload-Checksum begins with one of: {', '.join(CHECKSUMS)}.")
    body = await request.body()
    if b64encode(hashlib.new(algorithm, body).digest()).decode() != digest.strip():
        raise ChecksumMismatch("This part does not have the checksum that came with it; it is discarded.")
    yield body


def _headers(progress: Progress) -> dict[str, str]:
    upload = progress.upload
    headers = {
        "Upload-Offset": str(progress.offset),
        "Upload-Expires": format_datetime(upload.expires_at.replace(tzinfo=UTC), usegmt=True),
        "Recollect-Import": str(upload.import_id),
    }
    return headers | ({"Recollect-Item": str(progress.upload.item_id)} if progress.upload.item_id else {})
