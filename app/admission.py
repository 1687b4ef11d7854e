"""How many searches are answered at the same time: those beyond are refused at once, and none waits for long."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Overloaded
from app.problems import app_problem

AT_WORK = 16  # most of them wait for a model, which encodes their queries together
BUSY = "Too many searches are waiting; try again in a second."
_SEARCHES = ("/search", "/embed-")
_VOICE = "/search/voice"  # waits for Whisper, in a queue of its own: it must not keep the places of the others


class Admission:
    """ASGI middleware: AT_WORK searches at a time, `most_waiting` in their turn, and 503 for all others.

    A request takes its place when its body has arrived: slow senders keep nobody waiting.
    """

    def __init__(self, app: ASGIApp, most_waiting: int) -> None:
        self._app = app
        self._most = AT_WORK + most_waiting
        self._inside = 0
        self._turns = asyncio.Semaphore(AT_WORK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == _VOICE or not scope["path"].startswith(_SEARCHES):
            await self._app(scope, receive, send)
            return
        place = _Place(self)
        try:
            if scope["method"] == "POST":
                await self._app(scope, place.after_body(receive), send)
                return
            await place.take()
            await self._app(scope, receive, send)
        except Overloaded as error:
            await app_problem(Request(scope), error)(scope, receive, send)
        finally:
            place.leave()

    async def enter(self) -> None:
        """Raises: Overloaded."""
        if self._inside >= self._most:
            raise Overloaded(BUSY)
        self._inside += 1
        try:
            await self._turns.acquire()
        except BaseException:  # the client is gone
            self._inside -= 1
            raise

    def leave(self) -> None:
        self._inside -= 1
        self._turns.release()


class _Place:
    """One request's: left once, if it was taken."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._taken = False

    async def take(self) -> None:
        """Raises: Overloaded."""
        await self._admission.enter()
        self._taken = True

    def leave(self) -> None:
        if self._taken:
            self._admission.leave()

    def after_body(self, receive: Receive) -> Receive:
        async def receive_then_take() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not self._taken:
                try:
                    await self.take()
                except Overloaded as error:  # FastAPI makes any other exception, while it reads a form, a 400
                    raise HTTPException(error.status, error.detail, error.headers) from None
            return message

        return receive_then_take
