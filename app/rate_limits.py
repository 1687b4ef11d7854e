"""How many requests one key or address may make, counted in memory or in Redis."""

import logging
import math
import time

from limits import RateLimitItem, parse
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from app.errors import TooManyRequests
from app.settings import Settings

logger = logging.getLogger(__name__)


class RateLimits:
    """Refuses what is over the limits of the settings; if the counting fails, nothing is refused."""

    def __init__(self, settings: Settings) -> None:
        self._requests = _rate(settings.rate_limit)
        self._wrong_keys = _rate(settings.wrong_key_limit)
        client = {"implementation": "redispy"} if settings.rate_limit_url.startswith("redis") else {}
        storage = storage_from_string(f"async+{settings.rate_limit_url}", **client)
        assert isinstance(storage, Storage), "async+ names an asynchronous storage"
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    async def count(self, caller: str) -> None:
        """One more request. Raises: TooManyRequests."""
        if self._requests and not await self._count(self._requests, "requests", caller):
            await self._refuse(self._requests, "requests", caller)

    async def count_wrong_key(self, address: str) -> None:
        if self._wrong_keys:
            await self._count(self._wrong_keys, "wrong keys", address)

    async def check_wrong_keys(self, address: str) -> None:
        """Raises: TooManyRequests once too many have come from there."""
        try:
            if self._wrong_keys and not await self._limiter.test(self._wrong_keys, "wrong keys", address):
                await self._refuse(self._wrong_keys, "wrong keys", address)
        except TooManyRequests:
            raise
        except Exception as error:  # whatever the storage's client raises
            logger.warning("requests are not counted: %r", error)

    async def _count(self, rate: RateLimitItem, kind: str, caller: str) -> bool:
        try:
            return await self._limiter.hit(rate, kind, caller)
        except Exception as error:
            logger.warning("requests are not counted: %r", error)
            return True

    async def _refuse(self, rate: RateLimitItem, kind: str, caller: str) -> None:
        window = await self._limiter.get_window_stats(rate, kind, caller)
        wait_s = max(1, math.ceil(window.reset_time - time.time()))
        raise TooManyRequests(f"More than {rate} {kind}.", retry_after_s=wait_s)


def _rate(text: str) -> RateLimitItem | None:
    return None if text == "none" else parse(text)
