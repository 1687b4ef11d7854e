"""A real server in a process of its own, as a user starts it: `recollect serve` on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from tests.postgres import database_url

RECOLLECT = Path(sys.executable).with_name("recollect")

# One client for all: each new one reads the system's certificates, for 50 ms. It lets go of connections before the
# servers do, which is after five seconds.
http = httpx2.Client(timeout=60, limits=httpx2.Limits(keepalive_expiry=2))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def memory(process: "psutil.Process | subprocess.Popen[bytes]") -> int:
    """Bytes of its own: pages of files are touched by and by, and come and go with what the machine has free."""
    held = psutil.Process(process.pid).memory_info()
    own: int = held.rss - held.shared
    return own


class Server:
    """Started in `folder`, which holds its database and uploads; stopped by its process id."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "RECOLLECT_DATABASE_URL": database_url(folder),
            "RECOLLECT_UPLOADS_DIR": str(folder / "uploads"),
            "RECOLLECT_MODEL": "embedded",
            "RECOLLECT_OCR": "false",  # a second of work for each photo, behind the test's back
            "RECOLLECT_HOST": "127.0.0.1",
            "RECOLLECT_PORT": str(self.port),
            **settings,
        }
        self.command: list[str | Path] = [RECOLLECT, "serve"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait_s: float = 120) -> "Server":
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            try:
                if http.get(f"{self.url}/health/ready").status_code == 200:
                    return self
            except httpx2.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"not ready after {wait_s} s: {self.log()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status; how=SIGKILL is a crash."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        return self.process.wait(60)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command line, on the same library."""
        return subprocess.run(
            [RECOLLECT, *arguments],
            check=False,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def log(self) -> str:
        return (self.folder / "server.log").read_text()[-3000:]


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Server]:
    server = Server(folder, **settings)
    try:
        yield server.start()
    finally:
        server.stop()
