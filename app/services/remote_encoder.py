"""Pictures and words are encoded by other Recollect processes, so that this one needs no model of its own."""

import io
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx2
import numpy as np
from PIL import Image

from app.drop_in_schemas import EncoderFacts
from app.errors import EncoderFailed, EncoderUnreachable
from app.services.interfaces import Vectors

logger = logging.getLogger(__name__)

Input = TypeVar("Input")

PICTURES_A_REQUEST, TEXTS_A_REQUEST = 16, 64
CONNECT_S = 2.0
PASSED_OVER_S = 5.0  # an address that failed is asked last for so long
WAIT_POLL_S = 0.5  # between two looks for an encoder at start
BUSY = {429, 502, 503, 504}
VECTORS = "application/octet-stream"  # rows of float32, little-endian
SPACE_HEADER = "Recollect-Space"


class RemoteEncoder:
    """ImageTextEncoder over the routes /embed-images and /embed-text of one or more servers of one space.

    A batch is shared out among the addresses; what one does not take, another does. Safe for many threads.
    """

    def __init__(
        self, urls: Sequence[str], *, key: str | None = None, timeout_s: float = 60, wait_s: float = 0
    ) -> None:
        """Waits for the first encoder that answers.

        Raises: EncoderUnreachable (none within wait_s), EncoderFailed (the key is refused).
        """
        self._urls = [url.rstrip("/") for url in urls]
        self._failed: dict[str, tuple[str, float]] = {}  # why, and until when it is passed over (monotonic s)
        self._turns = itertools.count()
        self._space: str | None = None  # that of the first one which answers
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(timeout_s, connect=CONNECT_S),
        )
        self._pool = ThreadPoolExecutor(2 * len(self._urls), thread_name_prefix="remote-encoder")
        try:
            facts = self._awaited(wait_s)
        except BaseException:
            self.close()
            raise
        self.space = self._space = facts.space
        self.dim, self.device = facts.dim, facts.device
        self.image_size, self.logit_scale = facts.image_size, facts.logit_scale

    def fitted(self, image: Image.Image) -> Image.Image:
        """As it is: only where the model is, it is known what is cut away."""
        return image

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Unit vectors, float32, (len(images), dim), for upright RGB pictures.

        Raises: EncoderUnreachable, EncoderFailed.
        """
        return self._encoded("/embed-images", images, PICTURES_A_REQUEST, _as_files)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, (len(texts), dim). Raises: EncoderUnreachable, EncoderFailed."""
        return self._encoded("/embed-text", texts, TEXTS_A_REQUEST, lambda part: {"json": {"texts": list(part)}})

    def states(self) -> dict[str, str]:
        """`ok`, or what is wrong, for each address; those that failed are asked again, but not all the time."""
        now = time.monotonic()
        for url in [url for url, (_, until) in self._failed.items() if until < now]:
            self._facts(url, timeout_s=1)
        return {url: self._failed[url][0] if url in self._failed else "ok" for url in self._urls}

    def close(self) -> None:
        self._pool.shutdown()
        self._client.close()

    def _awaited(self, wait_s: float) -> EncoderFacts:
        deadline = time.monotonic() + wait_s
        for attempt in itertools.count():
            for url in self._urls:
                if facts := self._facts(url, timeout_s=CONNECT_S):
                    return facts
            if time.monotonic() >= deadline:
                raise EncoderUnreachable(f"No encoder has answered within {wait_s:g} s: {self._reasons()}.")
            if attempt == 0:
                logger.info("waiting up to %g s for an encoder: %s", wait_s, self._reasons())
            time.sleep(WAIT_POLL_S)
        raise AssertionError("the loop above ends by itself only")

    def _facts(self, url: str, timeout_s: float) -> EncoderFacts | None:
        """What is encoded there; None if nothing is, or in another space. Raises: EncoderFailed (a wrong key)."""
        try:
            response = self._client.get(f"{url}/encoder", timeout=timeout_s)
        except httpx2.TransportError as error:
            self._pass_over(url, _told(error))
            return None
        if response.status_code in (401, 403):
            raise EncoderFailed(f"The encoder at {url} answers {response.status_code}: see RECOLLECT_ENCODER_KEY.")
        if response.status_code != 200:
            self._pass_over(url, f"answers {response.status_code}")
            return None
        facts = EncoderFacts.model_validate_json(response.content)
        return facts if self._is_of_space(url, facts.space) else None

    def _encoded(
        self,
        route: str,
        inputs: Sequence[Input],
        most: int,
        as_request: Callable[[Sequence[Input]], dict[str, Any]],
    ) -> Vectors:
        if not inputs:
            return np.empty((0, self.dim), np.float32)
        size = min(most, math.ceil(len(inputs) / len(self._urls)))
        parts = [inputs[start : start + size] for start in range(0, len(inputs), size)]

        def ask(part: Sequence[Input]) -> Vectors:
            return self._asked(route, as_request(part), len(part))

        # Most are one picture or one text, for which no other thread is worth its while.
        return np.concatenate([ask(parts[0])] if len(parts) == 1 else list(self._pool.map(ask, parts)))

    def _asked(self, route: str, request: dict[str, Any], count: int) -> Vectors:
        for url in self._in_turn():
            try:
                response = self._client.post(f"{url}{route}", headers={"Accept": VECTORS}, **request)
            except httpx2.TransportError as error:
                self._pass_over(url, _told(error))
                continue
            if response.status_code in BUSY:
                self._pass_over(url, f"answers {response.status_code}")
            elif response.status_code != 200:
                raise EncoderFailed(f"The encoder answered {response.status_code}.")
            elif self._is_of_space(url, response.headers.get(SPACE_HEADER)):
                return self._vectors(response.content, count)
        raise EncoderUnreachable("No encoder can be reached at present; try again in a moment.")

    def _in_turn(self) -> Iterator[str]:
        """Every address, each time another one first, and last those that failed lately.

        The only one comes twice: a connection that was kept open may have been closed at the other end.
        """
        first, now = next(self._turns) % len(self._urls), time.monotonic()
        urls = self._urls[first:] + self._urls[:first]
        yield from sorted(urls, key=lambda url: self._failed.get(url, ("", 0.0))[1] > now)
        if len(urls) == 1:
            yield urls[0]

    def _vectors(self, data: bytes, count: int) -> Vectors:
        if len(data) != count * self.dim * 4:
            raise EncoderFailed(f"The encoder gave {len(data)} bytes for {count} vectors.")
        return np.frombuffer(data, "<f4").reshape(count, self.dim).astype(np.float32)

    def _is_of_space(self, url: str, space: str | None) -> bool:
        """Vectors of another model must not come among those of the library."""
        if self._space not in (None, space):
            self._pass_over(url, f"has the model {space}, not {self._space}")
            return False
        self._failed.pop(url, None)
        return True

    def _pass_over(self, url: str, reason: str) -> None:
        if url not in self._failed:
            logger.warning("encoder %s: %s", url, reason)
        self._failed[url] = reason, time.monotonic() + PASSED_OVER_S

    def _reasons(self) -> str:
        return ", ".join(f"{url}: {reason}" for url, (reason, _) in self._failed.items())


def _as_files(images: Sequence[Image.Image]) -> dict[str, Any]:
    return {"files": [("files", ("picture.bmp", _as_bmp(image), "image/bmp")) for image in images]}


def _as_bmp(image: Image.Image) -> bytes:
    """No pixel changes, and in a local network it is sent in less time than it would take to pack it."""
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    return buffer.getvalue()


def _told(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
