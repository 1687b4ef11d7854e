"""Vectors of texts that several processes share, in Redis. It only saves work: without it, all goes on."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.services.interfaces import Vectors

logger = logging.getLogger(__name__)

EXPIRY_S = 7 * 86_400
TIMEOUT_S = 0.2  # a text is encoded in less than a tenth of that
PAUSE_S = 10.0  # after a failure, so that not every search waits for the next one
UNIT_TOLERANCE = 1e-3


class SharedVectors:
    """(dim,) float32 vectors of one space by their text; safe for any number of threads, and raises nothing."""

    def __init__(self, url: str, space: str, dim: int) -> None:
        """`url` is redis://host:6379/0 or the like. Raises: ValueError."""
        self._space, self._dim = space, dim
        self._paused_until = 0.0  # monotonic s
        self._redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # once, for a connection that the server has closed meanwhile
        )

    def get(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """Those that are known."""
        if not texts or self._is_paused():
            return {}
        try:
            values = cast(list[bytes | None], self._redis.mget([self._key(text) for text in texts]))
        except RedisError as error:
            self._pause(error)
            return {}
        rows = {text: self._vector(value) for text, value in zip(texts, values, strict=True) if value}
        return {text: row for text, row in rows.items() if row is not None}

    def put(self, vectors: Mapping[str, Vectors]) -> None:
        if not vectors or self._is_paused():
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for text, vector in vectors.items():
                    pipeline.set(self._key(text), vector.astype("<f4").tobytes(), ex=EXPIRY_S)
                pipeline.execute()
        except RedisError as error:
            self._pause(error)

    def close(self) -> None:
        self._redis.close()

    def _key(self, text: str) -> str:
        """Not the text itself: it may be long, and what people ask is nobody else's business."""
        return f"recollect:{self._space}:{hashlib.sha256(text.encode()).hexdigest()}"

    def _vector(self, value: bytes) -> Vectors | None:
        """None for what was not written here."""
        if len(value) != 4 * self._dim:
            return None
        row = np.frombuffer(value, "<f4").astype(np.float32)
        return row if abs(float(np.linalg.norm(row)) - 1) < UNIT_TOLERANCE else None

    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def _pause(self, error: RedisError) -> None:
        logger.warning("vectors are not shared for %g s: %r", PAUSE_S, error)
        self._paused_until = time.monotonic() + PAUSE_S
