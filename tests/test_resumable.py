"""Uploads in parts (tus 1.0.0): whatever comes in between, the photo gets in, once and whole."""

import base64
import hashlib
import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlmodel import select

from app.errors import StorageFull
from app.flows import import_queue
from app.services import growing_file
from app.tables import Import, ImportItem, PartialUpload
from tests.conftest import DOG, PHOTOS, Running

PART = "application/offset+octet-stream"
PHOTO = (PHOTOS / DOG).read_bytes()


class Tus:
    """The protocol as a client speaks it, on a TestClient or an httpx2.Client."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def request(self, method: str, path: str, content: bytes = b"", /, **headers: object) -> httpx2.Response:
        """upload_length=5 is the header Upload-Length: 5; None leaves a header out."""
        named = {"tus_resumable": "1.0.0", **headers}
        sent = [
            (name.replace("_", "-").encode(), str(value).encode("latin-1"))
            for name, value in named.items()
            if value is not None
        ]
        return self.client.request(method, path, content=content, headers=sent)

    def create(self, length: int = len(PHOTO), /, **metadata: str) -> str:
        answer = self.request("POST", "/files", upload_length=length, upload_metadata=header(metadata))
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    def patch(self, path: str, offset: int, data: bytes, **headers: object) -> httpx2.Response:
        return self.request("PATCH", path, data, **{"upload_offset": offset, "content_type": PART, **headers})

    def offset(self, path: str) -> int:
        answer = self.request("HEAD", path)
        assert answer.status_code == 200, answer.headers
        return int(answer.headers["upload-offset"])

    def upload(self, path: str, data: bytes = PHOTO) -> httpx2.Response:
        """What is still missing, in one part."""
        offset = self.offset(path)
        return self.patch(path, offset, data[offset:])


def header(metadata: dict[str, str]) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())


@pytest.fixture
def tus(app: Running) -> Tus:
    return Tus(app.client)


def slug(answer: httpx2.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["tus-resumable"] == "1.0.0"
    return str(answer.json()["type"])


def rows(app: Running, table: type[Any]) -> list[Any]:
    with app.services.database.read() as session:
        return list(session.exec(select(table)))


def staged(app: Running) -> list[str]:
    return [path.name for path in (app.services.settings.uploads_dir / ".staged").iterdir()]


def check_whole(client: httpx2.Client, data: bytes, total: int = 1) -> dict[str, Any]:
    """The newest of `total` photos, once a worker has brought it in; it has these bytes."""
    deadline = time.monotonic() + 20
    while len((page := client.get("/photos").json())["photos"]) < total:
        assert time.monotonic() < deadline, "no worker has brought it in"
        time.sleep(0.02)
    photo: dict[str, Any] = page["photos"][0]
    assert page["total"] == total
    assert client.get(photo["url"]).content == data
    return photo


def test_options_say_what_the_server_can_do(tus: Tus) -> None:
    answer = tus.client.options("/files")  # the one request without Tus-Resumable
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,creation-with-upload,expiration,checksum,termination"
    assert (answer.headers["tus-max-size"], answer.headers["tus-checksum-algorithm"]) == (
        "52428800",
        "sha1,sha256",
    )


@pytest.mark.parametrize("percent", [0, 1, 50, 99])
def test_a_cut_upload_goes_on_where_it_was(tus: Tus, percent: int) -> None:
    cut = len(PHOTO) * percent // 100
    path = tus.create(filename="dog.jpg", title="Bello", tags="dog, snow", filetype="image/jpeg")
    assert tus.patch(path, 0, PHOTO[:cut]).headers["upload-offset"] == str(cut)
    assert tus.offset(path) == cut
    last = tus.upload(path)
    assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(PHOTO)))
    photo = check_whole(tus.client, PHOTO)
    assert (photo["filename"], photo["title"], photo["tags"]) == ("dog.jpg", "Bello", ["dog", "snow"])


def test_bytes_may_come_with_the_creation(tus: Tus) -> None:
    first = tus.request("POST", "/files", PHOTO[:100], upload_length=len(PHOTO), content_type=PART)
    assert (first.status_code, first.headers["upload-offset"]) == (201, "100")
    assert "recollect-item" not in first.headers
    assert tus.upload(first.headers["location"]).headers["recollect-item"]
    whole = tus.request("POST", "/files", PHOTO, upload_length=len(PHOTO), content_type=PART)
    assert whole.headers["recollect-item"]
    check_whole(tus.client, PHOTO)


def test_a_client_that_missed_the_last_answer_learns_that_all_is_there(tus: Tus, app: Running) -> None:
    path = tus.create()
    last = tus.upload(path)
    for _ in ("at once", "when the worker has taken the file"):
        assert tus.offset(path) == len(PHOTO)
        again = tus.patch(path, 0, PHOTO)
        assert (again.status_code, slug(again)) == (409, "offset-conflict")
        assert again.headers["upload-offset"] == str(len(PHOTO))
        empty = tus.patch(path, len(PHOTO), b"")
        assert (empty.status_code, empty.headers["recollect-item"]) == (204, last.headers["recollect-item"])
        check_whole(tus.client, PHOTO)
    assert [item.import_id for item in rows(app, ImportItem)] == [int(last.headers["recollect-import"])]


def test_a_crash_between_the_last_byte_and_the_queue_is_mended_by_asking(tus: Tus, app: Running) -> None:
    path = tus.create()
    growing_file.append(app.services.staging.path(path.removeprefix("/files/")), 0, PHOTO)
    assert rows(app, ImportItem) == []
    assert tus.request("HEAD", path).headers["recollect-item"]
    check_whole(tus.client, PHOTO)


NOT_STARTED: list[tuple[dict[str, object], int, str]] = [
    ({"tus_resumable": None}, 412, "unsupported-protocol"),
    ({"tus_resumable": "0.2.2"}, 412, "unsupported-protocol"),
    ({"upload_length": None}, 422, "validation-error"),
    ({"upload_length": None, "upload_defer_length": 1}, 422, "validation-error"),
    ({"upload_length": 0}, 422, "validation-error"),
    ({"upload_length": -1}, 422, "validation-error"),
    ({"upload_length": "NaN"}, 422, "validation-error"),
    ({"upload_length": "1e3"}, 422, "validation-error"),
    ({"upload_length": "9" * 5000}, 422, "validation-error"),
    ({"upload_length": 2**63}, 422, "validation-error"),
    ({"upload_length": 2**63 - 1}, 413, "too-large"),
    ({"upload_length": 50 * 2**20 + 1}, 413, "too-large"),
    ({"upload_metadata": "filename %%%"}, 400, "invalid-request"),
    ({"upload_metadata": "filename /w=="}, 400, "invalid-request"),  # not UTF-8
    ({"upload_metadata": "filename YQ== YQ=="}, 400, "invalid-request"),
    ({"upload_metadata": "title AA=="}, 422, "validation-error"),  # NUL
    ({"upload_metadata": header({"title": "x" * 256})}, 422, "validation-error"),
    ({"upload_metadata": header({"sha256": "../../etc/passwd"})}, 422, "validation-error"),
    ({"upload_metadata": header({"import_id": "-1"})}, 422, "validation-error"),
    ({"upload_metadata": header({"import_id": "77"})}, 404, "import-not-found"),
]


def test_what_cannot_be_started_leaves_nothing(tus: Tus, app: Running) -> None:
    for headers, status, kind in NOT_STARTED:
        answer = tus.request("POST", "/files", **{"upload_length": 10, **headers})
        assert (answer.status_code, slug(answer)) == (status, kind), headers
    assert (rows(app, PartialUpload), rows(app, Import), staged(app)) == ([], [], [])


REFUSED: list[tuple[dict[str, object], int, str]] = [
    ({"tus_resumable": None}, 412, "unsupported-protocol"),
    ({"content_type": None}, 415, "unsupported-media"),
    ({"content_type": "application/octet-stream"}, 415, "unsupported-media"),
    ({"upload_offset": None}, 422, "validation-error"),
    ({"upload_offset": -1}, 422, "validation-error"),
    ({"upload_offset": "NaN"}, 422, "validation-error"),
    ({"upload_offset": 4}, 409, "offset-conflict"),
    ({"upload_offset": 6}, 409, "offset-conflict"),
    ({"upload_offset": 2**63 - 1}, 409, "offset-conflict"),
    ({"upload_checksum": "md5 XrY7u+Ae7tCTyyK7j1rNww=="}, 400, "invalid-request"),
    ({"upload_checksum": "sha1"}, 460, "checksum-mismatch"),
    ({"upload_checksum": "sha256 é"}, 460, "checksum-mismatch"),
]


def test_a_refused_part_changes_nothing(tus: Tus) -> None:
    path = tus.create(10)
    tus.patch(path, 0, b"hello")
    for headers, status, kind in REFUSED:
        answer = tus.patch(path, 5, b"xyz", **headers)
        assert (answer.status_code, slug(answer)) == (status, kind), headers
        assert tus.offset(path) == 5


def test_an_upload_never_grows_past_its_length(tus: Tus, app: Running) -> None:
    path = tus.create(10)
    assert slug(tus.patch(path, 0, b"x" * 11)) == "too-large"
    limit = app.services.settings.max_upload_bytes
    assert slug(tus.patch(path, 0, b"", content_length=limit + 2**20 + 1)) == "too-large"
    assert tus.offset(path) == 0


def test_only_uploads_are_reached_by_their_ids(tus: Tus, app: Running) -> None:
    outside = app.services.settings.uploads_dir / "1-00000000000000000000000000000000"  # beside the staging folder
    outside.write_bytes(b"not yours")
    for name in ("nobody", f"..%2f{outside.name}", "..%2f..%2frecollect.db", "%2e%2e", "%00", "x" * 101, "%e9"):
        for method in ("HEAD", "PATCH", "DELETE"):
            answer = tus.request(method, f"/files/{name}", upload_offset=0, content_type=PART)
            assert answer.status_code in (404, 405, 422), (method, name)
    assert outside.read_bytes() == b"not yours"


def test_names_from_outside_are_shown_and_never_used(tus: Tus, app: Running) -> None:
    metadata = {"filename": "../../etc/\x07cron.d/hörse.jpg", "relativePath": "/etc/passwd", "empty": ""}
    path = tus.create(**metadata)
    assert staged(app) == [path.removeprefix("/files/")]
    said = tus.request("HEAD", path).headers["upload-metadata"]
    assert said == header(metadata).strip()
    tus.upload(path)
    assert check_whole(app.client, PHOTO)["filename"] == "hörse.jpg"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_part_counts_only_with_its_checksum(tus: Tus, algorithm: str) -> None:
    path, digest = tus.create(), base64.b64encode(hashlib.new(algorithm, PHOTO).digest()).decode()
    damaged = tus.patch(path, 0, PHOTO[:-1] + b"x", upload_checksum=f"{algorithm} {digest}")
    assert (damaged.status_code, slug(damaged), tus.offset(path)) == (460, "checksum-mismatch", 0)
    assert tus.patch(path, 0, PHOTO, upload_checksum=f"{algorithm} {digest}").status_code == 204
    check_whole(tus.client, PHOTO)


def test_a_file_counts_only_with_its_sha256(tus: Tus, app: Running) -> None:
    announced = hashlib.sha256(PHOTO).hexdigest().upper()
    path = tus.create(sha256=announced)
    other = tus.upload(path, PHOTO[:-1] + b"x")
    assert (other.status_code, slug(other)) == (460, "checksum-mismatch")
    assert tus.request("HEAD", path).status_code == 404
    assert (rows(app, PartialUpload), rows(app, ImportItem), staged(app)) == ([], [], [])
    assert tus.upload(tus.create(sha256=announced)).status_code == 204
    check_whole(tus.client, PHOTO)


def test_of_parts_sent_at_once_one_counts(tus: Tus, app: Running) -> None:
    path, size = tus.create(), len(PHOTO) // 4
    together = threading.Barrier(4)

    def send() -> int:
        together.wait()
        return tus.patch(path, 0, PHOTO[:size]).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(future.result() for future in [pool.submit(send) for _ in range(4)])
    assert statuses == [204, 409, 409, 409]
    assert tus.offset(path) == size
    tus.upload(path)
    check_whole(app.client, PHOTO)


def test_a_full_disk_keeps_what_still_fitted(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: like it, it stops a write half-way."""
    path, (_, hard) = tmp_path / "part", resource.getrlimit(resource.RLIMIT_FSIZE)
    growing_file.start(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageFull):
            growing_file.append(path, 0, PHOTO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert growing_file.durable_size(path) == 1000
    growing_file.append(path, 1000, PHOTO[1000:])
    assert path.read_bytes() == PHOTO


def test_an_upload_that_is_given_up_is_gone(tus: Tus, app: Running) -> None:
    path = tus.create()
    tus.patch(path, 0, PHOTO[:100])
    assert tus.request("DELETE", path).status_code == 204
    assert (rows(app, PartialUpload), staged(app)) == ([], [])
    for method in ("HEAD", "PATCH", "DELETE"):
        assert tus.request(method, path, upload_offset=100, content_type=PART).status_code == 404


def test_what_is_complete_stays_when_its_upload_goes(tus: Tus) -> None:
    path = tus.create()
    tus.upload(path)
    assert tus.request("POST", path, x_http_method_override="DELETE").status_code == 204  # behind an old proxy
    assert tus.request("HEAD", path).status_code == 404
    check_whole(tus.client, PHOTO)


def test_uploads_of_a_day_are_one_import_unless_the_client_names_another(tus: Tus, app: Running) -> None:
    first, second = (tus.request("HEAD", tus.create()).headers["recollect-import"] for _ in range(2))
    assert first == second
    other = import_queue.open_import(app.services, "a phone")
    path = tus.create(import_id=str(other))
    assert tus.request("HEAD", path).headers["recollect-import"] == str(other)


def test_what_is_abandoned_expires(start: Callable[..., Running]) -> None:
    app = start(resumable_ttl_s=1)
    tus = Tus(app.client)
    whole, cut = tus.create(), tus.create()
    tus.patch(cut, 0, PHOTO[:100])
    tus.upload(whole)
    expires = parsedate_to_datetime(tus.request("HEAD", cut).headers["upload-expires"])
    assert abs((expires - datetime.now(UTC)).total_seconds()) <= 2
    check_whole(app.client, PHOTO)
    time.sleep(1.1)
    assert (tus.request("HEAD", cut).status_code, tus.patch(cut, 100, b"x").status_code) == (404, 404)
    again = start()
    assert (rows(again, PartialUpload), staged(again)) == ([], [])
    check_whole(again.client, PHOTO)
    assert len(rows(again, ImportItem)) == 1
