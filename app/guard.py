"""Who may do what: decided before a byte of the body is read.

Without any access key the service is for the people at this machine, and for the page that it serves itself: it
answers only to addresses of this machine, under names that no other web page can take (DNS rebinding), and no
other page can send it anything (cross-site requests). With a key, all but the page and its sign-in asks for one.
"""

import ipaddress
import logging
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import AppError, KeyNeeded, NotAllowed
from app.flows.access import AccessKeys, Caller
from app.problems import app_problem
from app.rate_limits import RateLimits
from app.rehearsal import is_rehearsal
from app.settings import Settings
from app.tables import Scope as Right

logger = logging.getLogger(__name__)

COOKIE = "recollect"
SAFE = {"GET", "HEAD", "OPTIONS"}
# What the page consists of, and what tells a supervisor whether the process lives.
PUBLIC = {"/", "/status", "/session", "/docs", "/redoc", "/openapi.json", "/health/live", "/health/ready"}
PUBLIC_FOLDERS = ("/web/", "/docs-assets/")
ADMINISTRATION = ("/keys", "/models/")
# Questions that are asked by POST, because a file or a list comes with them.
READ_BY_POST = ("/search", "/embed", "/photos/check")
ANYBODY = frozenset({Right.READ, Right.WRITE, Right.MONITOR})  # while there is no key; others need one to be made


def needed(method: str, path: str) -> Right | None:
    """What a key must allow for this request; None: nobody needs a key."""
    if path in PUBLIC or path.startswith(PUBLIC_FOLDERS):
        return None
    if path.startswith(ADMINISTRATION):
        return Right.ADMIN
    if path == "/metrics":
        return Right.MONITOR
    if path.startswith("/files"):  # also to ask how much of an upload has arrived
        return Right.WRITE
    return Right.READ if method in SAFE or path.startswith(READ_BY_POST) else Right.WRITE


def is_loopback(host: str) -> bool:
    """Whether this address, or name, is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Credential:
    """A key, or the cookie in its place, which a browser sends whoever has made it ask."""

    token: str
    from_cookie: bool


class Guard:
    """ASGI middleware. Puts the Caller into the scope, or answers 401, 403 or 429."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._limits = RateLimits(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_rehearsal(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            scope["recollect_caller"] = await self._admitted(request)
        except AppError as error:
            error.headers.setdefault("Connection", "close")  # nobody reads the body that may follow
            await app_problem(request, error)(scope, receive, send)
        else:
            await self._app(scope, receive, self._watching(send, request) if _signs_in(request) else send)

    def _watching(self, send: Send, request: Request) -> Send:
        """Counts a sign-in that is refused."""

        async def send_watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == KeyNeeded.status:
                await self._limits.count_wrong_key(_address(request))
            await send(message)

        return send_watched

    async def _admitted(self, request: Request) -> Caller | None:
        """None: nobody in particular, for what is public. Raises: KeyNeeded, NotAllowed, TooManyRequests."""
        keys: AccessKeys = request.app.state.serving.current.access
        credential, address = _credential(request.headers), _address(request)
        right = needed(request.method, request.url.path)
        if _signs_in(request) or (credential and not credential.from_cookie):
            await self._limits.check_wrong_keys(address)
        caller = await self._caller(keys, credential, address)
        if credential is None and not await _exist(keys):
            self._check_neighbour(request, address)
            caller = Caller(self._settings.owner, ANYBODY)
        if credential is None or credential.from_cookie:
            _check_same_site(request)
        if right is not None:
            _check_right(caller, right)
            if caller is None or caller.key or not is_loopback(address):
                await self._limits.count(caller.key if caller and caller.key else address)
        return caller

    async def _caller(self, keys: AccessKeys, credential: Credential | None, address: str) -> Caller | None:
        if credential is None:
            return None
        token = credential.token
        caller = keys.caller(token) if keys.remembers(token) else await run_in_threadpool(keys.caller, token)
        if caller is None and not credential.from_cookie:  # an old cookie is no attempt to guess
            await self._limits.count_wrong_key(address)
            raise KeyNeeded("This access key is not known here.")
        return caller

    def _check_neighbour(self, request: Request, address: str) -> None:
        """Raises: NotAllowed for other machines, and for names that somebody else may have pointed here."""
        if not self._settings.allow_anyone and not is_loopback(address):
            raise NotAllowed("Without an access key only this machine is served; `recollect keys add` makes one.")
        host = _host(request.headers)
        if not (_is_address(host) or host == "localhost" or host in self._settings.allowed_hosts):
            raise NotAllowed(f"The service does not go by the name {host[:100]!r}; see RECOLLECT_ALLOWED_HOSTS.")


def _signs_in(request: Request) -> bool:
    return request.url.path == "/session" and request.method == "POST"


def _check_right(caller: Caller | None, right: Right) -> None:
    if caller is None:
        raise KeyNeeded("Sign in, or send an access key: Authorization: Bearer … or X-API-Key: ….")
    if right not in caller.scopes:
        raise NotAllowed(f"This needs an access key with the scope {right.value!r}.")


def _check_same_site(request: Request) -> None:
    """Raises: NotAllowed for what a page of another site sends without knowing a key."""
    if request.method in SAFE:
        return
    origin = request.headers.get("origin")
    foreign = request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
    if foreign or (origin is not None and origin.partition("://")[2] != request.headers.get("host")):
        raise NotAllowed("Pages of other sites may not do this.")


async def _exist(keys: AccessKeys) -> bool:
    """Where the rows must be asked, in a thread of its own."""
    return keys.exist if keys.remembers() else await run_in_threadpool(lambda: keys.exist)


def _credential(headers: Headers) -> Credential | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if token:
        return Credential(token, from_cookie=False)
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return None
    return Credential(cookies[COOKIE].value, from_cookie=True) if COOKIE in cookies else None


def _address(request: Request) -> str:
    """Of who asks, as far as uvicorn trusts a proxy to tell; empty for a Unix socket."""
    return request.client.host if request.client else ""


def _host(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
