"""`recollect check` finds every damage, calls nothing damaged that is not, and loses nothing when it mends."""

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlmodel import col, delete, select
from typer.testing import Result

from app.flows.filters import PhotoFilter
from app.flows.full_text import text_matches
from app.flows.integrity import Kind
from app.flows.services import Services
from app.services.photo_store import INCOMING, MARK
from app.settings import Settings
from app.tables import Embedding, Photo, original_path
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, SKIER, Running, picture_bytes
from tests.postgres import ON_POSTGRES

Recollect = Callable[..., Result]
CELL_COUNT_OFFSET = 3  # in the header of a b-tree page of SQLite


def findings(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code in (0, 1), done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def kinds(done: Result) -> Counter[str]:
    return Counter(finding["kind"] for finding in findings(done))


def original_of(app: Running, name: str) -> Path:
    path: str = app.upload(name)["path"]
    return app.services.settings.uploads_dir / path


def put_stray(settings: Settings, data: bytes) -> Path:
    path = settings.uploads_dir / original_path(hashlib.sha256(data).hexdigest())
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_library_has_no_findings(library: Running, recollect: Recollect) -> None:
    library.client.get(library.upload(DOG)["thumbnail_url"], params={"size": 640})
    done = recollect("check")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "0 found." in done.stderr


def test_every_damage_is_found_and_nothing_is_touched(library: Running, recollect: Recollect) -> None:
    """Four of each kind; with --fast what has the right size passes for whole."""
    settings = library.services.settings
    originals = [settings.uploads_dir / original_path(sha256) for sha256 in sorted(sha256s(library.services))]
    for path in originals[:4]:
        path.unlink()
    for path in originals[4:8]:
        path.write_bytes(path.read_bytes()[:-1])
    for path in originals[8:12]:
        flip_a_bit(path)
    for number in range(4):
        put_stray(settings, b"stray %d" % number)
    before = {path: path.read_bytes() for path in settings.uploads_dir.rglob("*") if path.is_file()}
    done = recollect("check", "--json")
    assert done.exit_code == 1
    assert kinds(done) == {Kind.MISSING: 4, Kind.ALTERED: 8, Kind.STRAY: 4}
    damaged = {finding["path"] for finding in findings(done) if finding["kind"] != Kind.STRAY}
    assert damaged == {original_path(path.name) for path in originals[:12]}
    assert kinds(recollect("check", "--json", "--fast")) == {Kind.MISSING: 4, Kind.ALTERED: 4, Kind.STRAY: 4}
    assert {path: path.read_bytes() for path in settings.uploads_dir.rglob("*") if path.is_file()} == before
    assert len(sha256s(library.services)) == 16


def sha256s(services: Services) -> list[str]:
    with services.database.read() as session:
        return [str(sha256) for sha256 in session.exec(select(Photo.sha256))]


def test_repair_mends_what_it_can_and_leaves_the_rest_to_a_person(library: Running, recollect: Recollect) -> None:
    services, folder = library.services, library.services.settings.uploads_dir
    missing, altered = original_of(library, DOG), original_of(library, BUSES)
    missing.unlink()
    flip_a_bit(altered)
    picture = picture_bytes(Image.open(PHOTOS / PIZZA).rotate(180))
    stray, junk = put_stray(services.settings, picture), put_stray(services.settings, b"not a picture")
    notes = folder / "notes.txt"
    notes.write_text("somebody's own file")
    thumbnail = folder / ".thumbnails" / "ab" / f"ab{'0' * 62}-320.webp"
    thumbnail.parent.mkdir(exist_ok=True)
    thumbnail.touch()
    skier = library.upload(SKIER)["id"]
    with services.database.write() as session:
        session.exec(delete(Embedding).where(col(Embedding.photo_id) == skier))
    # The service itself leaves no vector without its photo.
    with services.database.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql(
            "SET session_replication_role = replica" if ON_POSTGRES else "PRAGMA foreign_keys=OFF"
        )
        connection.exec_driver_sql(
            "INSERT INTO embeddings (photo_id, space, vector) SELECT 9999, space, vector FROM embeddings LIMIT 1"
        )
        connection.exec_driver_sql(
            "SET session_replication_role = origin" if ON_POSTGRES else "PRAGMA foreign_keys=ON"
        )
        connection.commit()

    found = {Kind.MISSING: 1, Kind.ALTERED: 1, Kind.STRAY: 3, Kind.ORPHAN_THUMBNAIL: 1}
    vectors = {Kind.NO_VECTOR: 1, Kind.ORPHAN_VECTOR: 1}
    assert kinds(recollect("check", "--json")) == found | vectors
    done = recollect("check", "--json", "--repair")
    assert done.exit_code == 1
    assert "1 vectors made" in done.stderr
    left = [finding for finding in findings(done) if finding["done"] is None]
    assert Counter(finding["kind"] for finding in left) == {Kind.MISSING: 1, Kind.ALTERED: 1, Kind.STRAY: 2}
    assert kinds(recollect("check", "--json")) == {Kind.MISSING: 1, Kind.ALTERED: 1, Kind.STRAY: 2}
    assert stray.name in sha256s(services)
    assert not thumbnail.exists()
    assert junk.exists()

    recollect("check", "--repair", "--delete-strays")
    assert not junk.exists()
    assert notes.exists()
    assert {missing.name, altered.name, stray.name} <= set(sha256s(services))
    assert stray.read_bytes() == picture


def test_a_link_is_looked_at_through_and_never_written_through(library: Running, recollect: Recollect) -> None:
    """Photos that stay where they are: `uploads/ab/ab12…` is a link to them."""
    outside = library.services.settings.uploads_dir.parent / "outside"
    outside.mkdir()
    links = [original_of(library, name) for name in (DOG, BUSES, PIZZA)]
    for link in links:
        link.rename(outside / link.name)
        link.symlink_to(outside / link.name)
    assert recollect("check").exit_code == 0
    stray = put_stray(library.services.settings, b"soon replaced")
    (outside / "stray").write_bytes(b"not a picture")
    stray.unlink()
    stray.symlink_to(outside / "stray")
    (outside / links[0].name).unlink()
    flip_a_bit(outside / links[1].name)
    before = {path: path.read_bytes() for path in outside.iterdir()}
    done = recollect("check", "--json", "--repair", "--delete-strays")
    assert kinds(done) == {Kind.MISSING: 1, Kind.ALTERED: 1, Kind.STRAY: 1}
    assert all("link to" in finding["detail"] for finding in findings(done) if finding["kind"] != Kind.STRAY)
    assert {path: path.read_bytes() for path in outside.iterdir()} == before
    assert not os.path.lexists(stray)
    assert links[0].is_symlink()
    stray.symlink_to(outside / "nowhere")  # the picture may come back
    assert recollect("check", "--json", "--repair", "--delete-strays").exit_code == 1
    assert stray.is_symlink()


def test_leftovers_are_told_once_they_are_old(app: Running, recollect: Recollect) -> None:
    app.upload(DOG)
    folder = app.services.settings.uploads_dir
    half, staged = folder / INCOMING / "tmphalf", folder / ".staged" / "nobodys"
    for path in (half, staged):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert recollect("check").exit_code == 0
    for path in (half, staged):
        os.utime(path, (0, 0))
    assert kinds(recollect("check", "--json")) == {Kind.LEFTOVER: 2}


def test_beside_uploads_and_deletions_there_are_no_false_alarms(app: Running, recollect: Recollect) -> None:
    stop, worked = threading.Event(), Counter[str]()

    def work(seed: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            data = picture_bytes(Image.new("RGB", (40, 40), (seed, number % 256, number // 256)), "PNG")
            answer = app.client.post("/upload", files={"file": ("p.png", data)})
            worked[str(answer.status_code)] += 1
            if number % 2:
                worked[str(app.client.delete(f"/photo/{answer.json()['id']}").status_code)] += 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 4
    checks = 0
    while time.monotonic() < until:
        done = recollect("check", "--json")
        assert (done.exit_code, done.stdout) == (0, "")
        checks += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert checks >= 3
    assert set(worked) == {"201", "204"}


@pytest.mark.sqlite("damage done to its file")
def test_a_damaged_database_is_told(library: Running, recollect: Recollect, settings: Settings) -> None:
    """An index without its entries: no query fails, but some find less than they should."""
    with library.services.database.engine.connect() as connection:
        root = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_photos_category'"
        page = connection.exec_driver_sql(root).scalar_one()
        page_bytes = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    library.services.close()
    with Path(settings.database_url.removeprefix("sqlite:///")).open("rb+") as file:
        file.seek((page - 1) * page_bytes + CELL_COUNT_OFFSET)
        file.write(b"\0\0")
    done = recollect("check", "--json")
    assert kinds(done)[Kind.DATABASE] > 0
    assert set(kinds(done)) <= {Kind.DATABASE, Kind.TEXT_INDEX}  # the latter is counted by a damaged index
    assert "ix_photos_category" in done.stdout


def test_it_says_when_it_could_not_look(library: Running, recollect: Recollect, settings: Settings) -> None:
    (settings.uploads_dir / MARK).unlink()
    settings.uploads_dir.rename(settings.uploads_dir.with_name("elsewhere"))
    done = recollect("check")
    assert done.exit_code == 2
    assert "is its disk mounted?" in done.stderr
    assert recollect("check", "--delete-strays").exit_code == 2
    assert recollect("check", database_url="sqlite:////no/such/folder/r.db").exit_code == 2


@pytest.mark.sqlite("damage done to its full-text tables")
def test_a_full_text_index_that_does_not_fit_is_filled_anew(library: Running, recollect: Recollect) -> None:
    with library.services.database.write() as session:
        connection = session.connection()
        connection.exec_driver_sql("DELETE FROM photo_words_data WHERE id > 10")
        connection.exec_driver_sql("INSERT INTO photo_parts(photo_parts) VALUES ('delete-all')")
    assert kinds(recollect("check", "--json")) == {Kind.TEXT_INDEX: 2}
    assert recollect("check", "--repair").exit_code == 0
    assert recollect("check").exit_code == 0
    with library.services.database.read() as session:
        assert text_matches(session, DOG, PhotoFilter(), 10)
