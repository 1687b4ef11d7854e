"""The app: create_app(settings) makes as many independent ones as a test likes."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Security
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.admission import Admission
from app.dependencies import build_services, prepare_successor
from app.flows.import_worker import ImportWorker
from app.flows.look_filler import LookFiller
from app.flows.model_mover import ModelMover, Prepare
from app.flows.originals import Mender
from app.flows.resumable import expire
from app.flows.services import Services, Serving
from app.flows.text_reader import TextReader
from app.flows.warm_up import KeepWarm, warm_up, words_to_rehearse
from app.guard import Guard
from app.middleware import MIN_BYTES_PER_S, MULTIPART_OVERHEAD_BYTES, BodyLimit, RequestContext, SlowBody, TusRules
from app.openapi import describe_as_sent
from app.problems import add_problem_handlers, problem_responses
from app.rehearsal import Rehearsal
from app.routers import (
    access,
    albums,
    drop_in,
    duplicates,
    embed,
    feedback,
    heat_maps,
    imports,
    models,
    photos,
    search,
    status,
    tus,
)
from app.settings import Settings
from app.tracing import Tracing

logger = logging.getLogger(__name__)

DOCS_ASSETS = "/docs-assets"
ROUTERS = (
    imports,
    tus,
    photos,
    heat_maps,
    duplicates,
    search,
    albums,
    feedback,
    models,
    access,
    status,
    drop_in,
    embed,
)
_API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False)


def create_app(
    settings: Settings,
    build: Callable[[Settings], Services] = build_services,
    prepare: Prepare = prepare_successor,
) -> FastAPI:
    """An app that loads its services when it starts, and closes them when it stops. Raises: CapabilityMissing."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with serving(app, build(settings), prepare):
            if tracing:
                tracing.follow(app.state.serving.current.telemetry)
            logger.info("Recollect is ready at http://%s:%d", settings.host, settings.port)
            yield
        if tracing:
            tracing.close()

    app = FastAPI(
        title="Recollect",
        version=__version__,
        description="Self-hosted photo search: by words, by another picture, or by voice.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
        responses=problem_responses(401, 403, 429, 500),
        dependencies=[Security(HTTPBearer(auto_error=False)), Security(_API_KEY)],  # for /docs; app/guard.py asks
    )
    tracing = Tracing(app, settings.otlp_endpoint) if settings.otlp_endpoint else None
    _add_middleware(app, settings)
    add_problem_handlers(app)
    for module in ROUTERS:
        app.include_router(module.router)
    app.mount("/web", StaticFiles(directory=status.WEB_DIR))
    _add_docs(app)
    describe_as_sent(app)
    return app


@asynccontextmanager
async def serving(app: FastAPI, services: Services, prepare: Prepare) -> AsyncIterator[None]:
    """`app.state.ready` when a search has been answered, until the end of the block."""
    app.state.ready = False
    rehearsal = Rehearsal(app, services.settings)
    with started(services, prepare, rehearsal) as app.state.serving:
        await rehearsal.once(services.owner, words_to_rehearse(services))
        app.state.ready = True
        yield
        app.state.ready = False
        await rehearsal.close()


@contextmanager
def started(services: Services, prepare: Prepare, rehearsal: Rehearsal) -> Iterator[Serving]:
    """Warm from the start of the block to its end; the index follows the rows, and changes of model are made."""
    warm_up(services)
    services.live_index.start()
    services.serving.switch(services)
    expire(services)
    serving = services.serving
    serving.importing = importing = ImportWorker(serving, services.settings.import_workers)
    background = (
        ModelMover(serving, prepare),
        KeepWarm(serving, services.settings.keep_warm_s, rehearsal.soon),
        importing,
        LookFiller(serving),
        TextReader(serving),
        Mender(serving),
    )
    for worker in background:
        worker.start()
    yield serving
    for worker in background:
        worker.close()
    services.serving.current.close()


def operation_id(route: APIRoute) -> str:
    """The function's name: stable for generated clients, whatever the path becomes."""
    return route.name


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added is the first to see a request."""
    app.add_middleware(Admission, most_waiting=settings.search_queue_size)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_upload_bytes + MULTIPART_OVERHEAD_BYTES,
        elsewhere={
            "/imports": settings.max_bulk_bytes,
            "/embed-images": settings.max_bulk_bytes,
            "/imports/stream": None,  # a stream has a limit a line
        },
    )
    app.add_middleware(TusRules)
    app.add_middleware(
        SlowBody,
        grace_s=settings.body_grace_s,
        min_bytes_per_s=MIN_BYTES_PER_S,
        exempt={"/imports/stream"},  # its items come when they come
    )
    app.add_middleware(Guard, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_middleware(RequestContext)


def _add_docs(app: FastAPI) -> None:
    """Swagger UI and ReDoc from files of a package: they work with no internet."""
    assets = Path(fastapi_offline.__file__).parent / "static"
    app.mount(DOCS_ASSETS, StaticFiles(directory=assets))
    icon = f"{DOCS_ASSETS}/favicon.png"

    @app.get("/docs", include_in_schema=False)
    def swagger_ui() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Recollect API",
            swagger_js_url=f"{DOCS_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_ASSETS}/swagger-ui.css",
            swagger_favicon_url=icon,
        )

    @app.get("/redoc", include_in_schema=False)
    def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="/openapi.json",
            title="Recollect API",
            redoc_js_url=f"{DOCS_ASSETS}/redoc.standalone.js",
            redoc_favicon_url=icon,
            with_google_fonts=False,
        )
