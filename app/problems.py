"""Every error as problem+json (RFC 9457), from five origins: ours, validation, HTTP, database, unexpected."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from app.errors import AppError, Overloaded, StorageFull
from app.schemas import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
VALIDATION = "validation-error"

# What Starlette and the body limit raise by number; clients get a slug all the same.
_HTTP_SLUGS = {
    400: ("invalid-request", "Invalid request"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    408: ("too-slow", "The request came too slowly"),
    413: ("too-large", "Too large"),
    416: ("range-not-satisfiable", "Range not satisfiable"),
    503: (Overloaded.slug, Overloaded.title),
}


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(OperationalError, _database_error)
    app.add_exception_handler(Exception, _unexpected)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses=`: these statuses, described as problem+json."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": "Problem", "model": Problem, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def problem(
    request: Request,
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> JSONResponse:
    """The one shape of an error body."""
    body = Problem(
        type=slug,
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=request.scope.get("recollect_request_id"),
        errors=errors,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def _app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)
    return app_problem(request, error)


def app_problem(request: Request, error: AppError) -> JSONResponse:
    """For those that answer before a route does."""
    return problem(request, error.status, error.slug, error.title, error.detail, headers=error.headers)


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    """Without the input: it may not even be encodable (a lone surrogate, NaN)."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": ".".join(str(part) for part in item["loc"]), "message": item["msg"]} for item in error.errors()
    ]
    detail = "; ".join(f"{item['where']}: {item['message']}" for item in errors[:3])
    return problem(request, 422, VALIDATION, "The request does not fit", detail, errors=errors[:20])


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    slug, title = _HTTP_SLUGS.get(error.status_code, (f"http-{error.status_code}", "The request was refused"))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request)
    return problem(request, error.status_code, slug, title, str(error.detail), headers=headers)


def _allowed(request: Request) -> str:
    """All methods of the path; FastAPI names those of one route, and each method has a route of its own."""
    paths = request.app.openapi()["paths"]
    methods = paths.get(getattr(request.scope.get("route"), "path", None), {"get": {}})
    return ", ".join(sorted(method.upper() for method in methods))


def _database_error(request: Request, error: Exception) -> JSONResponse:
    logger.error("database: %s", error)
    if "disk is full" in str(error):
        return _app_error(request, StorageFull("The disk of the database is full; nothing was stored."))
    return _app_error(request, Overloaded("The database did not answer in time; try again."))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Fixed text: an exception's own may hold paths, addresses or other people's data."""
    logger.error("unexpected error on %s", request.url.path, exc_info=error)
    return problem(
        request, 500, AppError.slug, AppError.title, "Something went wrong here; the log has the details."
    )
