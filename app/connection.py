"""One HTTP connection, with limits for what comes before a body: Uvicorn has none for its fastest parser."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024  # request line and headers
HEAD_S = 20.0  # until they have come; between two requests of a connection Uvicorn waits five seconds


class BoundedConnection(HttpToolsProtocol):
    """Answers 400 to a head that is too long, and hangs up on whoever does not send one in time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._patience: asyncio.TimerHandle | None = None  # runs while a head is waited for

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn's
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._patience is None and self.cycle is not None and self.cycle.response_complete:
            self._wait_for_head()  # the next request of this connection begins
        self._head_bytes += len(data)
        super().data_received(data)
        if self._patience and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            raise ValueError("the head of the request is too long")  # which the parser makes a 400
        super().on_headers_complete()

    def _wait_for_head(self) -> None:
        self._head_bytes = 0
        self._patience = self.loop.call_later(HEAD_S, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._patience:
            self._patience.cancel()
        self._patience = None

    def _hang_up(self) -> None:
        self._patience = None
        self.transport.close()
