"""A bucket: localbucket, a small S3-compatible server, in a process of its own; objects are files of a folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.server import free_port

NAME = "photos"


class BucketServer:
    """`with BucketServer(folder) as bucket: …`; `stop` and `start` in between are an outage."""

    url = f"s3://{NAME}/library"

    def __init__(self, folder: Path) -> None:
        (folder / NAME).mkdir(parents=True)
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command: list[str | Path] = [sys.executable, "-m", "localbucket", "--port", str(self._port), self._folder]
        with (self._folder.parent / "bucket.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the bucket did not start")

    def stop(self) -> None:
        if self._process:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    def objects(self) -> set[str]:
        """Names of all objects of the library, below its prefix."""
        root = self._folder / NAME / "library"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    def originals(self) -> set[str]:
        """SHA-256 of all originals."""
        return {name.rpartition("/")[2] for name in self.objects() if not name.startswith(".")}
