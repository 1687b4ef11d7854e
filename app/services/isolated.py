"""JPEG XL and RAW are decoded in processes of their own, within limits of time and memory.

Their decoders know no bounds: few bytes of JPEG XL may hold more frames than there is time for, and a crash in a
RAW decoder would take the service with it. Such a process serves one picture after the other until this one ends.
"""

import atexit
import json
import logging
import os
import resource
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

import app
from app.errors import BrokenMedia, TooLarge
from app.services.jxl import decode_jxl
from app.services.raw import develop

logger = logging.getLogger(__name__)

Kind = Literal["jxl", "raw"]

TIME_LIMIT_S = 60.0
MEMORY_LIMIT = 6 * 2**30  # bytes of address space; 50 megapixels of floating point take 3 GB

_LENGTH = struct.Struct(">Q")
_idle: list[subprocess.Popen[bytes]] = []  # never more than there are pictures decoded at a time


def decode_isolated(kind: Kind, data: bytes, max_pixels: int, at_least: int | None) -> tuple[bytes, int, int]:
    """What decode_jxl and develop return. Raises: TooLarge, BrokenMedia (also when a limit is reached)."""
    process = _take()
    timer = threading.Timer(TIME_LIMIT_S, process.kill)
    timer.start()
    try:
        reply, picture = _ask(process, [kind, max_pixels, at_least], data)
    except (OSError, EOFError) as error:
        _end(process)
        logger.warning("A decoder of %s ended with status %s.", kind, process.returncode)
        raise BrokenMedia("The picture is damaged, or takes too long or too much memory to decode.") from error
    finally:
        timer.cancel()
    _idle.append(process)
    if "too_large" in reply:
        raise TooLarge(reply["too_large"])
    if "broken" in reply:
        raise BrokenMedia("The picture is damaged or cut short.")
    return picture, reply["width"], reply["height"]


def _take() -> subprocess.Popen[bytes]:
    while True:
        try:
            process = _idle.pop()
        except IndexError:
            return _start()
        if process.poll() is None:
            return process
        _end(process)  # the system may have stopped it to get its memory


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(app.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(  # noqa: S603 — our own module
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C lets uploads under way be finished
        env=os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)},
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was written last may not have got through
            if pipe:
                pipe.close()
    process.wait()


@atexit.register
def _end_idle() -> None:
    while _idle:
        _end(_idle.pop())


def _ask(process: subprocess.Popen[bytes], question: list[object], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Raises: OSError, EOFError (the process is gone)."""
    assert process.stdin is not None
    assert process.stdout is not None
    _send(process.stdin, json.dumps(question).encode(), data)
    return json.loads(_receive(process.stdout)), _receive(process.stdout)


def _send(pipe: IO[bytes], *messages: bytes) -> None:
    for message in messages:
        pipe.write(_LENGTH.pack(len(message)))
        pipe.write(message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    """Raises: EOFError."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    if len(message) < length:
        raise EOFError
    return message


def _serve() -> None:
    """The process's own loop."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # decoders may print
    while True:
        try:
            question, data = json.loads(_receive(questions)), _receive(questions)
        except EOFError:
            return
        reply, picture = _answer(data, *question)
        _send(answers, json.dumps(reply).encode(), picture)


def _answer(data: bytes, kind: Kind, max_pixels: int, at_least: int | None) -> tuple[dict[str, Any], bytes]:
    try:
        decoded = decode_jxl(data, at_least) if kind == "jxl" else develop(data, max_pixels, at_least)
    except TooLarge as error:
        return {"too_large": error.detail}, b""
    except BaseException:  # decoders raise nearly everything; a panic in Rust is no Exception
        return {"broken": True}, b""
    picture, width, height = decoded
    return {"width": width, "height": height}, picture


if __name__ == "__main__":
    _serve()
