"""The process that serves: Uvicorn, which stops in time whatever hangs."""

import logging
import os
import threading
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.connection import BoundedConnection
from app.settings import Settings

logger = logging.getLogger(__name__)

REQUESTS_S = 15  # for requests that are being answered when the signal comes
STOP_S = 25.0  # for everything; those who stop services give 30 s and more before they kill


class Server(uvicorn.Server):
    """On SIGTERM or SIGINT: no new requests, those at hand are answered, items of imports in work are finished.

    The others wait in the queue for the next start. What was acknowledged is on disk, so a stop by force loses
    nothing, either.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._app = app
        config = uvicorn.Config(
            app,
            http=BoundedConnection,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=REQUESTS_S,
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self._app.state.ready = False  # streams of events end now, for they would never end by themselves
            stop = threading.Timer(STOP_S, _stop_by_force)
            stop.daemon = True
            stop.start()
        super().handle_exit(sig, frame)


def serve(app: FastAPI, settings: Settings) -> bool:
    """Until a signal comes; False: it could not start, and the log says why."""
    server = Server(app, settings)
    with suppress(KeyboardInterrupt):
        server.run()
    return server.started


def _stop_by_force() -> None:
    logger.error("Something has not stopped within %g s; it is left behind.", STOP_S)
    logging.shutdown()
    os._exit(1)
