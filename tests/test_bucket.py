"""Originals and thumbnails in a bucket, of a real S3-compatible server."""

import hashlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import httpx2
import pytest

from app.errors import CapabilityMissing, StorageUnreachable
from app.flows.originals import mend
from app.services import bucket_notes
from app.services.photo_store import INCOMING, MARK
from tests.bucket import BucketServer
from tests.conftest import BUSES, DOG, PHOTOS, Running

pytest.importorskip("obstore")

from app.services.bucket import Bucket
from app.services.bucket_photo_store import BucketPhotoStore

PROCESSES = multiprocessing.get_context("spawn")
DATA = b"the bytes of a photo" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
DOG_BYTES = (PHOTOS / DOG).read_bytes()


@pytest.fixture
def store(bucket: BucketServer) -> BucketPhotoStore:
    store = BucketPhotoStore(Bucket(bucket.url))
    store.set_up()
    return store


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits for half a minute here; times in a listing are whole seconds."""
    monkeypatch.setattr(bucket_notes, "LEASE_S", 2.0)
    monkeypatch.setattr(bucket_notes, "RENEW_S", 0.5)


@pytest.fixture
def app(bucket: BucketServer, start: Callable[..., Running]) -> Running:
    return start(storage_url=bucket.url)


def test_a_library_in_a_bucket(app: Running, bucket: BucketServer) -> None:
    photo = app.upload(DOG)
    sha256 = hashlib.sha256(DOG_BYTES).hexdigest()
    assert bucket.originals() == {sha256}
    assert not list(app.services.settings.uploads_dir.glob("[0-9a-f][0-9a-f]"))
    answer = app.client.get(photo["url"])
    assert answer.content == DOG_BYTES
    assert (answer.headers["Content-Type"], answer.headers["ETag"]) == ("image/jpeg", f'"{sha256}"')
    assert app.client.get(photo["url"], headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert app.client.get(photo["thumbnail_url"]).headers["Content-Type"] == "image/webp"
    similar = app.client.post(f"/search/image-to-image?reference_photo_id={photo['id']}&crop=0,0,0.5,0.5")
    assert similar.status_code == 200
    assert app.client.delete(f"/photo/{photo['id']}").status_code == 204
    assert bucket.objects() == {MARK}


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-99", 206, slice(0, 100)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-100", 206, slice(-100, None)),
        (f"bytes=0-{10**9}", 206, slice(0, None)),
        ("bytes=0-1,5-6", 200, slice(0, None)),
        ("bytes=9-3", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
        (f"bytes={10**9}-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_parts_of_an_original(app: Running, asked: str, status: int, part: slice | None) -> None:
    url, size = app.upload(DOG)["url"], len(DOG_BYTES)
    answer = app.client.get(url, headers={"Range": asked})
    assert answer.status_code == status
    if part is None:
        assert answer.json()["type"] == "range-not-satisfiable"
        assert answer.headers["Content-Range"] == f"bytes */{size}"
        return
    assert answer.content == DOG_BYTES[part]
    if status == 206:
        start, end, _ = part.indices(size)
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        changed = app.client.get(url, headers={"Range": asked, "If-Range": '"another"'})
        assert (changed.status_code, changed.content) == (200, DOG_BYTES)


def test_browsers_fetch_an_original_themselves(bucket: BucketServer, start: Callable[..., Running]) -> None:
    app = start(storage_url=bucket.url, storage_redirect_s=60)
    answer = app.client.get(app.upload(DOG)["url"], follow_redirects=False)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (307, "no-store")
    assert "X-Amz-Expires=60" in answer.headers["Location"]
    assert httpx2.get(answer.headers["Location"]).content == DOG_BYTES


def test_another_machine_sees_the_same(app: Running, start: Callable[..., Running], bucket: BucketServer) -> None:
    photo = app.upload(DOG)
    thumbnail = app.client.get(photo["thumbnail_url"]).content
    other = start(storage_url=bucket.url, uploads_dir=app.services.settings.uploads_dir.with_name("elsewhere"))
    assert other.client.get(photo["thumbnail_url"]).content == thumbnail
    assert other.client.get(photo["url"]).content == DOG_BYTES


def test_while_the_bucket_is_down_nothing_is_lost(app: Running, bucket: BucketServer) -> None:
    known = app.upload(DOG)
    bucket.stop()
    for answer in (
        app.client.post("/upload", files={"file": (BUSES, (PHOTOS / BUSES).read_bytes())}),
        app.client.get(known["url"]),
        app.client.delete(f"/photo/{known['id']}"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (503, "storage-unreachable")
        assert "Retry-After" in answer.headers
    assert app.client.get(known["thumbnail_url"]).status_code == 200  # there is a copy on this machine
    assert [hit["photo_id"] for hit in app.search("a dog")] == [known["id"]]
    bucket.start()
    assert app.client.get(known["url"]).content == DOG_BYTES
    assert app.upload(BUSES)["id"] != known["id"]
    assert len(bucket.originals()) == 2


def test_imports_wait_for_the_bucket(app: Running, bucket: BucketServer) -> None:
    accepted = app.client.post("/imports", files=[("files", (DOG, DOG_BYTES))]).json()
    bucket.stop()
    time.sleep(0.2)
    bucket.start()
    deadline = time.monotonic() + 60
    while app.client.get(accepted["url"]).json()["ready"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@dataclass(frozen=True)
class Died:
    saved: list[str]  # acknowledged
    held: str  # the original whose note its process held


def save_until_killed(url: str, told: "Connection[Any, Any]") -> None:
    """One original after another, each named to the parent before and after it is saved."""
    store = BucketPhotoStore(Bucket(url))
    for number in range(10_000):
        data = hashlib.shake_256(str(number).encode()).digest(2**20)
        sha256 = hashlib.sha256(data).hexdigest()
        with store.noted(sha256):
            told.send(("begun", sha256))
            store.save(sha256, data)
            told.send(("saved", sha256))


def killed_while_saving(url: str) -> Died:
    receiving, sending = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=save_until_killed, args=(url, sending))
    process.start()
    sending.close()
    saved: list[str] = []
    while True:
        what, sha256 = receiving.recv()
        if what == "saved":
            saved.append(sha256)
        elif len(saved) == 3:
            process.kill()  # between "begun" and "saved"
            process.join()
            return Died(saved, sha256)


def test_a_kill_in_the_middle_leaves_whole_objects_and_a_note(
    store: BucketPhotoStore, bucket: BucketServer, short_lease: None
) -> None:
    died = killed_while_saving(bucket.url)
    for sha256 in died.saved:
        with store.open(sha256) as file:
            assert hashlib.sha256(file.read()).hexdigest() == sha256
    if store.has(died.held):
        with store.open(died.held) as file:
            assert hashlib.sha256(file.read()).hexdigest() == died.held
    assert store.is_noted(died.held)
    time.sleep(bucket_notes.LEASE_S + 2)
    assert store.left_notes() == [died.held]


def test_what_a_dead_process_left_is_mended(app: Running, bucket: BucketServer, short_lease: None) -> None:
    """The rows decide: nobody knows what it was storing, so it goes."""
    known = app.upload(DOG)
    died = killed_while_saving(bucket.url)
    mend(app.services)
    assert app.services.store.is_noted(died.held)  # it may be alive, for all that anybody knows
    time.sleep(bucket_notes.LEASE_S + 2)
    mend(app.services)
    assert not app.services.store.is_noted(died.held)
    assert bucket.originals() == {*died.saved, hashlib.sha256(DOG_BYTES).hexdigest()}
    assert app.client.get(known["url"]).status_code == 200


def test_a_holder_that_lives_is_not_robbed(
    store: BucketPhotoStore, bucket: BucketServer, short_lease: None
) -> None:
    """It goes on writing its note; the next one waits for it, longer than a lease."""
    order: list[str] = []

    def second() -> None:
        with BucketPhotoStore(Bucket(bucket.url)).noted(SHA256):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.noted(SHA256):
        thread.start()
        time.sleep(bucket_notes.LEASE_S + 2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    assert bucket.objects() == {MARK, f"{INCOMING}-clock"}


def test_a_holder_that_stood_still_is_told(
    store: BucketPhotoStore, bucket: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_notes, "LEASE_S", 0.1)  # and RENEW_S is ten seconds: it cannot keep it
    with pytest.raises(StorageUnreachable, match="not certain"), store.noted(SHA256):
        time.sleep(0.2)
    assert store.is_noted(SHA256)


def test_a_bucket_without_conditional_writes_is_refused(
    bucket: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Bucket(bucket.url)
    # There is no such server to try this with: as if it overwrote what is there.
    monkeypatch.setattr(there, "create", lambda name, data: True)
    with pytest.raises(CapabilityMissing, match="If-None-Match"):
        BucketPhotoStore(there).set_up()


def test_what_needs_the_originals_on_this_machine_says_so(
    bucket: BucketServer, recollect: Callable[..., Any]
) -> None:
    done = recollect("check", RECOLLECT_STORAGE_URL=bucket.url)
    assert done.exit_code == 2
    assert bucket.url in done.stderr
