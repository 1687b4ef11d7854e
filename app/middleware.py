"""Round every request: an id, a log line, metrics, security headers, and a limit on the body."""

import asyncio
import logging
import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import request_id
from app.problems import problem
from app.rehearsal import is_rehearsal
from app.telemetry import Telemetry

logger = logging.getLogger("app.access")

MULTIPART_OVERHEAD_BYTES = 2**20  # boundaries, part headers and text fields beside the file itself
MIN_BYTES_PER_S = 1024  # a phone on a bad line sends ten times as much
TUS_VERSION = "1.0.0"
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
# Swagger UI and ReDoc start from a script inside their page.
DOCS_POLICY = (
    PAGE_POLICY + "; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; worker-src blob:"
)
_DOCS = ("/docs", "/redoc")


class RequestContext:
    """Gives each request an id, and when it is answered logs and counts it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rehearsed = is_rehearsal(scope)
        name = scope["recollect_request_id"] = secrets.token_hex(10)
        previous = request_id.set(name)
        started = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), scope["path"], name)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            if not rehearsed:
                _record(scope, status, time.perf_counter() - started)
            request_id.reset(previous)


def _add_headers(headers: MutableHeaders, path: str, name: str) -> None:
    headers["X-Request-ID"] = name
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(self), microphone=(self), geolocation=()"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Content-Security-Policy", DOCS_POLICY if path.startswith(_DOCS) else PAGE_POLICY)


def _record(scope: Scope, status: int, seconds: float) -> None:
    # The route's pattern, not the path: one metric for each route, however many photos there are.
    route = getattr(scope.get("route"), "path", "none")
    serving: Any = getattr(scope["app"].state, "serving", None)
    if serving is not None:
        telemetry: Telemetry = serving.current.telemetry
        telemetry.requests.labels(scope["method"], route, str(status)).inc()
        telemetry.request_seconds.labels(route).observe(seconds)
    fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 1)}
    logger.info("%(method)s %(path)s %(status)d %(ms).1fms", fields, extra=fields)


class TusRules:
    """What the tus protocol asks of every request and answer below /files."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/files"):
            await self._app(scope, receive, send)
            return

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Tus-Resumable"] = TUS_VERSION
            await send(message)

        override = Headers(scope=scope).get("x-http-method-override")
        if scope["method"] == "POST" and override in {"PATCH", "DELETE"}:  # for proxies that know neither
            scope["method"] = override
        await self._app(scope, receive, send_with_version)


class BodyLimit:
    """Refuses a body over the limit: by Content-Length before a byte is read, else as soon as it is passed."""

    def __init__(self, app: ASGIApp, max_bytes: int, elsewhere: Mapping[str, int | None]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._elsewhere = elsewhere  # paths with a limit of their own; None: no limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._elsewhere.get(scope.get("path", ""), self._max_bytes)
        if scope["type"] != "http" or limit is None:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            detail, headers = _detail(limit), {"Connection": "close"}
            refusal = problem(Request(scope), 413, "too-large", "Too large", detail, headers=headers)
            await refusal(scope, receive, send)
            return
        await self._app(scope, _counted(receive, limit), send)


class SlowBody:
    """Refuses a body that comes slower than min_bytes_per_s after its first grace_s: Uvicorn waits for ever.

    On paths that are exempt a client may take its time.
    """

    def __init__(self, app: ASGIApp, grace_s: float, min_bytes_per_s: int, exempt: Collection[str]) -> None:
        self._app = app
        self._grace_s = grace_s
        self._min_bytes_per_s = min_bytes_per_s
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._exempt:
            receive = self._timed(receive)
        await self._app(scope, receive, send)

    def _timed(self, receive: Receive) -> Receive:
        allowed_until = time.monotonic() + self._grace_s
        complete = False

        async def receive_timed() -> Message:
            nonlocal allowed_until, complete
            if complete:  # what comes now is the end of the connection, and may take for ever
                return await receive()
            try:
                async with asyncio.timeout(allowed_until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The request came too slowly.", {"Connection": "close"}) from None
            allowed_until += len(message.get("body", b"")) / self._min_bytes_per_s
            complete = not message.get("more_body", False)
            return message

        return receive_timed


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            # HTTPException: FastAPI turns any other exception while it parses a form into a 400.
            raise HTTPException(413, _detail(limit))
        return message

    return receive_counted


def _detail(limit: int) -> str:
    return f"The request has more than {limit:,} bytes."
