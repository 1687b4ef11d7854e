"""The database's machine is gone, and its replica takes over: no upload that was acknowledged is lost."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from app.flows.originals import MEND_POLL_S
from tests.postgres import LOCALE, Cluster, cluster
from tests.server import Server, http, running
from tests.test_crash import check_whole, pictures
from tests.test_live_index import eventually

LONGEST_OUTAGE_S = 10.0


@pytest.fixture
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary with an empty database, and its synchronous replica."""
    with ExitStack() as stack:
        primary = stack.enter_context(cluster(durable=True))
        primary.execute(f"CREATE DATABASE photos TEMPLATE template0 {LOCALE}")
        replica = primary.replica()
        stack.callback(replica.stop)
        yield primary, replica


class Uploads:
    """One after the other, until told to stop; what was acknowledged, and when something was not."""

    def __init__(self, server: Server) -> None:
        self.acknowledged: dict[int, str] = {}
        self.moments: list[float] = []
        self.failed: list[float] = []
        self._url = server.url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for data in pictures(100_000, seed=1):
            if self._stop.is_set():
                return
            answer = http.post(f"{self._url}/upload", files={"file": ("p.png", data)}, timeout=60)
            if answer.status_code in (200, 201):
                self.acknowledged[answer.json()["id"]] = sha256(data).hexdigest()
                self.moments.append(time.monotonic())
            else:
                self.failed.append(time.monotonic())
                time.sleep(0.1)

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.acknowledged) >= count

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.stress
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_replica_takes_over(tmp_path: Path, pair: tuple[Cluster, Cluster]) -> None:
    primary, replica = pair
    hosts = f"host=127.0.0.1:{primary.port}&host=127.0.0.1:{replica.port}"
    url = f"postgresql+psycopg://postgres@/photos?{hosts}&target_session_attrs=read-write"
    with running(tmp_path, RECOLLECT_DATABASE_URL=url, RECOLLECT_WHISPER_MODEL="none") as server:
        uploads = Uploads(server)
        uploads.wait_for(50)
        killed = time.monotonic()
        primary.kill()
        replica.run("pg_ctl", "promote", "-w", "-D", replica.data)
        uploads.wait_for(len(uploads.acknowledged) + 50)
        uploads.stop()
        outage = next(moment for moment in uploads.moments if moment > killed + 0.05) - killed
        assert outage <= LONGEST_OUTAGE_S, f"{len(uploads.failed)} uploads failed"
        assert all(moment - killed <= LONGEST_OUTAGE_S for moment in uploads.failed)
        # A commit whose connection was lost is in doubt, until somebody looks at what the new primary has.
        incoming = server.folder / "uploads" / ".incoming"
        assert eventually(lambda: not any(incoming.iterdir()), MEND_POLL_S + 30)
        check_whole(server, uploads.acknowledged)
