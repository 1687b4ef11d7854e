"""How a line of the log looks: for people, or as JSON. Each line of a request ends with, or holds, its id."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


class ConsoleFormatter(logging.Formatter):
    """`2026-11-22 03:52:41,123 INFO app.access GET /search 200 12.3ms 0f8fad5bd9cb469fa165`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 — logging's own name
        return " ".join(filter(None, (super().formatMessage(record), request_id.get())))


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what a line was given as `extra` becomes fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None}, default=str)


def set_up_logging(level: str, log_format: str = "console") -> None:
    """To stderr, from `level` on, as `console` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel("WARNING")  # else a line for each batch that another server encodes
