"""Many requests at a rate of one's own: clients that wait for an answer would slow down with the server."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    status: int  # 0: none came
    seconds: float
    headers: bytes  # in small letters; of none: why


@dataclass
class Load:
    """GET requests over as many connections as it takes; those that are free are used again."""

    port: int
    _free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def at_rate(self, paths: Iterator[str], per_s: float, seconds: float) -> list[Answer]:
        """Asks `per_s` times a second, whatever is answered."""
        began, asked = time.monotonic(), []
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            asked.append(asyncio.create_task(self.ask(next(paths))))
        return await asyncio.gather(*asked)

    async def by_clients(self, paths: Iterator[str], clients: int, seconds: float) -> list[Answer]:
        """So many clients, each of which asks again as soon as it is answered."""
        until = time.monotonic() + seconds

        async def client() -> list[Answer]:
            answers = []
            while time.monotonic() < until:
                answers.append(await self.ask(next(paths)))
            return answers

        return list(chain.from_iterable(await asyncio.gather(*(client() for _ in range(clients)))))

    async def ask(self, path: str) -> Answer:
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                head = await self._exchange(path)
        except (TimeoutError, OSError, EOFError) as error:
            return Answer(0, time.monotonic() - began, repr(error).encode())
        return Answer(int(head.split()[1]), time.monotonic() - began, head.lower())

    async def _exchange(self, path: str) -> bytes:
        """The head of the answer. Servers close connections that were free for long, perhaps just as they are used
        again: whoever gets not a byte from such a one asks once more (RFC 9110, section 9.2.2)."""
        while self._free:
            connection = self._free.pop()
            try:
                return await self._answer(path, *connection)
            except ConnectionError:
                connection[1].close()
            except asyncio.IncompleteReadError as error:
                connection[1].close()
                if error.partial:
                    raise
        return await self._answer(path, *await asyncio.open_connection("127.0.0.1", self.port))

    async def _answer(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length))
        self._free.append((reader, writer))
        return head

    def close(self) -> None:
        for _, writer in self._free:
            writer.close()


def percentile(answers: list[Answer], share: float) -> float:
    """Seconds in which that share of the answers came."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, int(share * len(times)))]
