"""Many photos at once, through the durable queue."""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Path, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.dependencies import CallerDep, ServicesDep, library_of
from app.flows import import_queue, imports, samples
from app.flows.import_stream import Lines, longest_line, read_line
from app.flows.receive import Sent, receive
from app.flows.services import Serving
from app.problems import problem_responses
from app.schemas import (
    MAX_ID,
    ImportAccepted,
    ImportItemPage,
    ImportOut,
    KnownPhotos,
    LongText,
    PhotosToCheck,
    RetriedItems,
    RowId,
    ShortText,
    plain_filename,
    split_tags,
)
from app.tables import ImportItem, ItemStatus

router = APIRouter(tags=["imports"])

ImportId = Annotated[int, Path(ge=1, le=MAX_ID, examples=[1])]
EVENT_INTERVAL_S = 0.5


@router.post("/imports", status_code=202, responses=problem_responses(400, 404, 413, 422, 503, 507))
def import_files(
    services: ServicesDep,
    files: Annotated[
        list[UploadFile], File(description="Any number of pictures; none opens an import for later ones.")
    ] = [],  # noqa: B006 — FastAPI copies it
    import_id: Annotated[RowId | None, Form(description="Add to this import; default: a new one.")] = None,
    tags: Annotated[LongText | None, Form(description="For all of them, separated by commas.")] = None,
    category: Annotated[ShortText | None, Form(description="For all of them.")] = None,
) -> ImportAccepted:
    """Take in many photos. When this answers they are stored for good; they are found once they are ready."""
    import_id = import_id or import_queue.open_import(services, "upload")
    words = {"tags": split_tags(tags), "category": category}
    named = ((plain_filename(file.filename), file.file) for file in files)
    sent = (Sent(name, file, words | {"filename": name}) for name, file in named)
    return ImportAccepted.of(import_id, receive(services, import_id, sent))


@router.post("/samples", status_code=202, responses=problem_responses(503, 507))
def import_samples(services: ServicesDep) -> ImportAccepted:
    """Bring in the sample photos that come along; those that are there already stay as they are."""
    import_id, rows = samples.load(services)
    return ImportAccepted.of(import_id, rows)


@router.post(
    "/imports/stream",
    status_code=202,
    responses=problem_responses(400, 413, 422, 503, 507),
    openapi_extra={"requestBody": {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
async def import_stream(services: ServicesDep, request: Request) -> ImportAccepted:
    """Take in a stream of items, one JSON object a line: `id`, `title`, `caption`, `category`, `tags`,
    `image_filename`, and the picture as `image_base64`. What has arrived stays, wherever the stream breaks off."""
    import_id = await run_in_threadpool(import_queue.open_import, services, "stream")
    lines = Lines(longest_line(services.settings.max_upload_bytes))
    rows: list[ImportItem] = []
    async for chunk in request.stream():
        found = lines.feed(chunk) if chunk else lines.end()
        sent = [read_line(line, number) for number, line in enumerate(found, len(rows) + 1)]
        if sent:
            rows += await run_in_threadpool(receive, services, import_id, sent)
        lines.check()
    return ImportAccepted.of(import_id, rows)


@router.get("/imports", responses=problem_responses(422))
def list_imports(services: ServicesDep, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[ImportOut]:
    """The newest imports, by whatever way they came."""
    return [_shown(progress) for progress in imports.recent(services, limit)]


@router.get("/imports/{import_id}", responses=problem_responses(404, 422))
def get_import(services: ServicesDep, import_id: ImportId) -> ImportOut:
    """How far an import is."""
    return _shown(imports.progress(services, import_id))


@router.get("/imports/{import_id}/items", responses=problem_responses(404, 422))
def list_import_items(
    services: ServicesDep,
    import_id: ImportId,
    status: Annotated[ItemStatus | None, Query(description="Only items in this state.")] = None,
    after: Annotated[int, Query(ge=0, le=MAX_ID, description="`next_after` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ImportItemPage:
    """What became of each item, in the order in which they came."""
    page = imports.items(services, import_id, status=status, after=after, limit=limit)
    return ImportItemPage.of(page.items, more=page.more)


Follow = Callable[[], imports.Progress]


def followed_import(request: Request, caller: CallerDep, import_id: ImportId) -> Follow:
    """Tells how far it is, and holds no services between two looks. Raises: KeyNeeded, ImportNotFound."""
    serving: Serving = request.app.state.serving

    def follow() -> imports.Progress:
        return imports.progress(library_of(serving.current, caller), import_id)

    follow()  # before the stream of events begins
    return follow


@router.get(
    "/imports/{import_id}/events", response_class=EventSourceResponse, responses=problem_responses(404, 422)
)
async def follow_import(
    request: Request, follow: Annotated[Follow, Depends(followed_import)]
) -> AsyncIterable[ServerSentEvent]:
    """Server-sent events: `progress` whenever something has changed, and `done` at the end."""
    last = None
    while request.app.state.ready:
        now = _shown(await run_in_threadpool(follow))
        if now != last:
            yield ServerSentEvent(data=now, event="done" if now.finished else "progress")
        if now.finished:
            return
        last = now
        await asyncio.sleep(EVENT_INTERVAL_S)


@router.post("/imports/{import_id}/retry", status_code=202, responses=problem_responses(404, 422))
def retry_import(services: ServicesDep, import_id: ImportId) -> RetriedItems:
    """Try again what failed and might do better now; a picture that is damaged stays so, and must be sent anew."""
    return RetriedItems(retried=import_queue.retry(services, import_id))


@router.delete("/imports/{import_id}", status_code=204, responses=problem_responses(404, 422))
def delete_import(services: ServicesDep, import_id: ImportId) -> None:
    """Forget an import: what still waits is given up; photos that it brought in stay."""
    import_queue.remove(services, import_id)


@router.post("/photos/check", responses=problem_responses(400, 422))
def check_photos(services: ServicesDep, wanted: PhotosToCheck) -> KnownPhotos:
    """Which files are in the library already, by SHA-256: they need not be sent."""
    known = imports.known_photos(services.database, wanted.sha256, services.owner)
    return KnownPhotos(known=known, unknown=[sha256 for sha256 in wanted.sha256 if sha256 not in known])


def _shown(progress: imports.Progress) -> ImportOut:
    return ImportOut.of(progress.found, progress.counts, progress.seconds_left)
