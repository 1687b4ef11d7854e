"""POST /upload: what is accepted, what is refused, and that nothing half done stays behind."""

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from sqlmodel import col, func, select

from app.dependencies import Models, assemble
from app.errors import StorageFull
from app.flows.services import Services
from app.services.photo_store import MARK, LocalPhotoStore
from app.settings import Settings
from app.tables import Embedding, Photo
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running, picture_bytes, shared

Start = Callable[..., Running]


def stored_files(app: Running) -> list[Path]:
    """Originals, and anything half-written; thumbnails and caches do not count."""
    folder = app.services.settings.uploads_dir
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if not {".thumbnails", ".cache", ".staged.lock", MARK} & set(path.parts)]


def stored_thumbnails(app: Running) -> list[str]:
    return sorted(path.name for path in app.services.settings.uploads_dir.glob(".thumbnails/*/*.webp"))


def counts(app: Running) -> tuple[int, int, int, int]:
    """Rows, vectors in the database, vectors in the index, files: equal for a library of photos that is whole."""
    with app.services.database.read() as session:
        photos = session.exec(select(func.count(col(Photo.id)))).one()
        embeddings = session.exec(select(func.count(col(Embedding.id)))).one()
    return photos, embeddings, len(app.services.index), len(stored_files(app))


def test_a_new_photo_is_stored_described_and_found(app: Running) -> None:
    answer = app.client.post(
        "/upload",
        files={"file": ("holiday/Bus stop.jpg", (PHOTOS / BUSES).read_bytes(), "image/jpeg")},
        data={
            "title": " Buses ",
            "caption": "in town",
            "tags": "bus, city,bus",
            "category": "travel",
            "item_id": "b-1",
        },
    )
    assert answer.status_code == 201
    body = answer.json()
    assert body["filename"] == "Bus stop.jpg"
    assert (body["title"], body["caption"], body["category"], body["item_id"]) == (
        "Buses",
        "in town",
        "travel",
        "b-1",
    )
    assert body["tags"] == ["bus", "city"]
    assert body["sha256"] == hashlib.sha256((PHOTOS / BUSES).read_bytes()).hexdigest()
    assert (app.services.settings.uploads_dir / body["path"]).read_bytes() == (PHOTOS / BUSES).read_bytes()
    assert app.search("buses on a street")[0]["photo_id"] == body["id"]
    assert counts(app) == (1, 1, 1, 1)


def test_the_same_bytes_are_the_same_photo(app: Running) -> None:
    first = app.upload(BUSES)
    again = app.client.post("/upload", files={"file": ("other name.jpg", (PHOTOS / BUSES).read_bytes())})
    assert again.status_code == 200
    assert again.json()["id"] == first["id"]
    assert again.json()["message"] == "This photo is already in the library."
    assert counts(app) == (1, 1, 1, 1)


def test_twenty_equal_uploads_at_once_make_one_photo(app: Running) -> None:
    data = (PHOTOS / BUSES).read_bytes()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: app.client.post("/upload", files={"file": ("b.jpg", data)}), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert counts(app) == (1, 1, 1, 1)


def test_two_processes_that_race_for_the_same_bytes_share_one_photo(start: Start) -> None:
    """Two apps stand for two processes: they share the database and the folder, but no lock."""
    apps = [start(), start()]
    data = (PHOTOS / DOG).read_bytes()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda app: app.client.post("/upload", files={"file": ("d.jpg", data)}), apps * 4))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(stored_files(apps[0])) == 1


def accepted_pictures() -> Iterator[tuple[str, str, bytes]]:
    pillow_heif.register_heif_opener()
    with Image.open(PHOTOS / DOG) as photo:
        image = photo.convert("RGB")
    for kind, mime in {
        "JPEG": "image/jpeg",
        "PNG": "image/png",
        "WEBP": "image/webp",
        "GIF": "image/gif",
        "BMP": "image/bmp",
        "TIFF": "image/tiff",
        "HEIF": "image/heic",
        "AVIF": "image/avif",
    }.items():
        yield kind, mime, picture_bytes(image, kind)


@pytest.mark.parametrize(("kind", "mime", "data"), list(accepted_pictures()), ids=lambda value: str(value)[:12])
def test_every_accepted_format_is_found_by_meaning(app: Running, kind: str, mime: str, data: bytes) -> None:
    app.upload(PIZZA)
    answer = app.client.post("/upload", files={"file": (f"dog.{kind.lower()}", data, "application/octet-stream")})
    assert answer.status_code == 201, answer.text
    assert answer.json()["mime"] == mime
    assert app.search("a dog playing in the garden")[0]["photo_id"] == answer.json()["id"]


@pytest.mark.parametrize(
    ("name", "data", "status", "slug"),
    [
        ("notes.jpg", b"these are just words, whatever the name says", 415, "unsupported-media"),
        (
            "page.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            415,
            "unsupported-media",
        ),
        ("cut.jpg", (PHOTOS / DOG).read_bytes()[:3000], 422, "broken-media"),
        ("empty.jpg", b"", 422, "broken-media"),
    ],
)
def test_a_bad_file_is_refused_and_leaves_nothing(
    app: Running, name: str, data: bytes, status: int, slug: str
) -> None:
    answer = app.client.post("/upload", files={"file": (name, data)})
    assert (answer.status_code, answer.json()["type"]) == (status, slug)
    assert answer.headers["content-type"] == "application/problem+json"
    assert counts(app) == (0, 0, 0, 0)


def test_too_many_pixels_or_bytes_are_refused(start: Start) -> None:
    app = start(max_pixels=10_000, max_upload_bytes=40_000)
    pixels = app.client.post(
        "/upload", files={"file": ("p.png", picture_bytes(Image.new("1", (200, 100)), "PNG"))}
    )
    size = app.client.post("/upload", files={"file": ("s.jpg", bytes(40_001))})
    assert [pixels.status_code, size.status_code] == [413, 413]
    assert "200 × 100" in pixels.json()["detail"]
    assert counts(app) == (0, 0, 0, 0)


def test_a_long_body_is_refused_declared_or_not(start: Start) -> None:
    app = start(max_upload_bytes=1000)
    declared = app.client.post("/upload", files={"file": ("s.jpg", bytes(3 * 2**20))})
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="s.jpg"\r\n\r\n'
    chunks = itertools.chain([head], itertools.repeat(bytes(2**20), 5))
    chunked = app.client.post(
        "/upload", content=chunks, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    for answer in (declared, chunked):
        assert (answer.status_code, answer.json()["type"]) == (413, "too-large")


def test_an_item_id_belongs_to_one_photo(app: Running) -> None:
    first = app.upload(BUSES, item_id="mine")
    taken = app.client.post(
        "/upload", files={"file": ("d.jpg", (PHOTOS / DOG).read_bytes())}, data={"item_id": "mine"}
    )
    assert (taken.status_code, taken.json()["type"]) == (409, "item-id-taken")
    assert app.upload(BUSES, item_id="mine")["id"] == first["id"]
    assert counts(app) == (1, 1, 1, 1)


class FullStore(LocalPhotoStore):
    """Stands for a full disk, which a test cannot safely make."""

    def save(self, sha256: str, data: bytes) -> None:
        raise StorageFull("The disk is full.")


def test_a_full_disk_is_told_and_leaves_nothing(start: Start, models: Models) -> None:
    def build(settings: Settings) -> Services:
        return replace(assemble(settings, models), store=FullStore(settings.uploads_dir))

    app = start(build)
    answer = app.client.post("/upload", files={"file": ("d.jpg", (PHOTOS / DOG).read_bytes())})
    assert (answer.status_code, answer.json()["type"]) == (507, "storage-full")
    assert counts(app) == (0, 0, 0, 0)


def test_a_failed_commit_leaves_no_file(start: Start, models: Models) -> None:
    class TableTaken(LocalPhotoStore):
        """After the file is on disk the table is taken away, so that the commit must fail."""

        def save(self, sha256: str, data: bytes) -> None:
            super().save(sha256, data)
            with app.services.database.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE embeddings RENAME TO gone")

    def build(settings: Settings) -> Services:
        return replace(assemble(settings, models), store=TableTaken(settings.uploads_dir))

    app = start(build, index_poll_s=3600.0)
    answer = app.client.post("/upload", files={"file": ("d.jpg", (PHOTOS / DOG).read_bytes())})
    assert answer.status_code >= 500
    with app.services.database.read() as session:
        assert session.exec(select(func.count(col(Photo.id)))).one() == 0
    assert not stored_files(app)
    assert not stored_thumbnails(app)


def test_a_thumbnail_is_there_after_the_upload_and_made_again_where_it_could_not_be(app: Running) -> None:
    dog = app.upload(DOG)
    assert stored_thumbnails(app) == [f"{hashlib.sha256((PHOTOS / DOG).read_bytes()).hexdigest()}-320.webp"]

    folder = app.services.settings.uploads_dir / ".thumbnails"
    app.client.delete(f"/photo/{dog['id']}")
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be")
    dog = app.upload(DOG)
    folder.unlink()
    assert app.client.get(dog["thumbnail_url"]).status_code == 200


def test_naughty_strings_as_file_name_title_and_tags(app: Running) -> None:
    strings: list[str] = json.loads(shared("corpora/text/blns.json").read_text())
    data = (PHOTOS / DOG).read_bytes()
    folder = app.services.settings.uploads_dir.resolve()
    for text in [*strings, "../../../../tmp/evil.jpg", "..\\..\\evil.jpg", "a" * 5000]:
        answer = app.client.post(
            "/upload", files={"file": (text or "x", data)}, data={"title": text, "tags": text}
        )
        assert answer.status_code < 500, text
    assert all(path.resolve().is_relative_to(folder) for path in stored_files(app))
    assert len(stored_files(app)) <= 1


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.stress)])
def test_the_corpus_of_odd_images_is_judged_as_expected(app: Running, step: int) -> None:
    folder = shared("corpora/images")
    expected = json.loads((folder / "expected.json").read_text())
    wrong = []
    for name, verdict in list(expected.items())[::step]:
        if not (folder / name).is_file():
            continue
        answer = app.client.post("/upload", files={"file": (name, (folder / name).read_bytes())})
        fits = verdict[0] == "ok" and verdict[2][0] * verdict[2][1] <= app.services.settings.max_pixels
        if (answer.status_code in (200, 201)) != fits or answer.status_code >= 500:
            wrong.append((name, answer.status_code, verdict))
    assert wrong == []
