"""Opaque cursors: where the next page of a list begins."""

import base64
import binascii
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from app.errors import InvalidRequest

Position = TypeVar("Position")


def make_cursor(position: Any) -> str:
    """Of anything that fits into JSON."""
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode()


def read_cursor(cursor: str, kind: type[Position]) -> Position:
    """The position of this type that make_cursor was given. Raises: InvalidRequest."""
    try:
        return TypeAdapter(kind).validate_json(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValidationError, ValueError):
        raise InvalidRequest("This cursor was not made by this service.") from None
