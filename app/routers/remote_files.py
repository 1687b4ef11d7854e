"""Originals that lie elsewhere: sent on to where they are, or through this process, whole or in part."""

import re

from fastapi.responses import RedirectResponse, Response, StreamingResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from app.services.interfaces import RemoteFile

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def remote_answer(file: RemoteFile, request: Headers, headers: Headers, media_type: str | None) -> Response:
    """307 to its address if it has one, else its bytes: 200, or 206 for one range. Raises: HTTPException (416)."""
    if file.url:
        return RedirectResponse(file.url, headers={"Cache-Control": "no-store"})
    part = byte_range(request.get("range", ""), file.size)
    if request.get("if-range", headers["ETag"]) != headers["ETag"]:
        part = None
    start, end = part or (0, file.size)
    told = dict(headers) | {"accept-ranges": "bytes", "content-length": str(end - start)}
    if part:
        told["content-range"] = f"bytes {start}-{end - 1}/{file.size}"
    return StreamingResponse(file.read(start, end), 206 if part else 200, told, media_type)


def byte_range(asked: str, size: int) -> tuple[int, int] | None:
    """First byte, and the one after the last; None, which means all, for several ranges or what is no range.

    Raises: HTTPException (416).
    """
    match = _RANGE.fullmatch(asked.replace(" ", ""))
    first, last = match.groups() if match else ("", "")
    if first and last and int(first) > int(last):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= end:
        raise HTTPException(416, "There are no such bytes.", {"Content-Range": f"bytes */{size}"})
    return start, end
