"""Importing a folder: resumed after a stop, unchanged files passed over, originals in place never touched."""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import select

from app.errors import InvalidRequest
from app.flows import import_queue, in_place, source_files
from app.flows.import_queue import Incoming
from app.flows.source_import import Ended, Options, SourceImport, dry_run
from app.flows.watch import watch
from app.tables import DEFAULT_OWNER, Photo, SourceFile, original_path
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, SKIER, Running
from tests.test_live_index import eventually

Start = Callable[..., Running]


class Recorder:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.total = 0
        self.all: list[Ended] = []

    def found(self, count: int) -> None:
        self.total += count

    def ended(self, entry: Ended) -> None:
        self.all.append(entry)

    @property
    def statuses(self) -> dict[str, str]:
        return {entry.name: entry.status for entry in self.all}


def import_folder(
    app: Running, folder: Path, options: Options | None = None, stop: threading.Event | None = None
) -> Recorder:
    recorder = Recorder()
    SourceImport(app.services, folder, options or Options(), recorder).run(stop or threading.Event())
    return recorder


IN_PLACE = Options(in_place=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    for name in (DOG, BUSES):
        shutil.copy(PHOTOS / name, made / name)
    return made


def total(app: Running) -> int:
    count: int = app.client.get("/photos").json()["total"]
    return count


def test_a_second_pass_reads_no_unchanged_file(app: Running, folder: Path) -> None:
    first = import_folder(app, folder)
    assert (first.statuses, first.total) == ({DOG: "ready", BUSES: "ready"}, 2)
    shutil.copy(PHOTOS / PIZZA, folder / PIZZA)
    (folder / DOG).chmod(0)  # whoever is root can read it all the same; the time of access tells
    os.utime(folder / DOG, ns=(1, (folder / DOG).stat().st_mtime_ns))
    second = import_folder(app, folder)
    assert second.statuses == {DOG: "known", BUSES: "known", PIZZA: "ready"}
    assert (folder / DOG).stat().st_atime_ns == 1
    assert len(app.client.get("/imports").json()) == 2


def test_a_photo_deleted_from_the_library_comes_back_only_when_asked_for(app: Running, folder: Path) -> None:
    first = import_folder(app, folder)
    for entry in first.all:
        app.client.delete(f"/photo/{entry.photo_id}")
    assert set(import_folder(app, folder, Options(bring_back=False)).statuses.values()) == {"known"}
    assert total(app) == 0
    assert set(import_folder(app, folder).statuses.values()) == {"ready"}


def test_a_stopped_import_goes_on_where_it_was(app: Running, folder: Path) -> None:
    """What an interrupted pass leaves is rows that wait: here, two of the three files of the folder."""
    shutil.copy(PHOTOS / PIZZA, folder / PIZZA)
    left = import_queue.open_import(app.services, str(folder))
    waiting = [Incoming(name, {"filename": name}, path=str(folder / name), local=True) for name in (DOG, BUSES)]
    import_queue.accept(app.services, left, waiting)
    stopped = threading.Event()
    stopped.set()
    assert import_folder(app, folder, stop=stopped).statuses == {}
    resumed = import_folder(app, folder)
    assert resumed.statuses == {DOG: "ready", BUSES: "ready", PIZZA: "ready"}
    assert resumed.total == 3
    assert [found["id"] for found in app.client.get("/imports").json()] == [left]


def test_the_server_leaves_files_outside_the_library_to_the_command(app: Running, folder: Path) -> None:
    left = import_queue.open_import(app.services, str(folder))
    import_queue.accept(app.services, left, [Incoming(DOG, {}, path=str(folder / DOG), local=True)])
    assert import_queue.claim(app.services.database, "server", 10) == []


def test_originals_in_place_are_neither_copied_nor_touched(start: Start, folder: Path) -> None:
    app = start()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    entries = import_folder(app, folder, IN_PLACE).all
    originals = list(app.services.settings.uploads_dir.glob("??/*"))
    assert {path.readlink() for path in originals} == set(before)
    for entry in entries:
        data = app.client.get(f"/photo/{entry.photo_id}/file").content
        assert data == (folder / entry.name).read_bytes()
        assert app.client.get(f"/photo/{entry.photo_id}/thumbnail?size=160").status_code == 200
    for entry in entries:
        assert app.client.delete(f"/photo/{entry.photo_id}").status_code == 204
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    assert not any(app.services.settings.uploads_dir.glob("??/*"))


def test_a_changed_file_in_place_keeps_the_words_and_votes_of_its_photo(app: Running, folder: Path) -> None:
    old = {entry.name: entry.photo_id for entry in import_folder(app, folder, IN_PLACE).all}[DOG]
    time.sleep(1.1)  # words that came with the file itself are not kept
    app.client.patch(f"/photo/{old}", json={"title": "Mine", "tags": ["kept"], "item_id": "x"})
    app.client.post("/feedback", json={"photo_id": old, "query": "food", "vote": 1})
    shutil.copy(PHOTOS / PIZZA, folder / DOG)
    changed = import_folder(app, folder, IN_PLACE)
    assert changed.statuses == {DOG: "ready", BUSES: "known"}
    new = next(entry.photo_id for entry in changed.all if entry.name == DOG)
    photo = app.client.get(f"/photo/{new}").json()
    assert (photo["title"], photo["tags"], photo["item_id"]) == ("Mine", ["kept"], "x")
    assert photo["sha256"] == hashlib.sha256((PHOTOS / PIZZA).read_bytes()).hexdigest()
    assert app.client.get(f"/photo/{old}").status_code == 404
    hit = app.search("food", k=1)[0]
    assert (hit["photo_id"], hit["vote"]) == (new, 1)
    assert len(list(app.services.settings.uploads_dir.glob("??/*"))) == 2


def test_a_moved_file_is_found_again(app: Running, folder: Path) -> None:
    import_folder(app, folder, IN_PLACE)
    (folder / "deep").mkdir()
    shutil.move(folder / DOG, folder / "deep" / "moved.jpg")
    moved = import_folder(app, folder, IN_PLACE).all
    photo_id = next(entry.photo_id for entry in moved if entry.name == "deep/moved.jpg")
    assert app.client.get(f"/photo/{photo_id}/file").status_code == 200
    assert in_place.prune(app.services, folder) == 0
    assert total(app) == 2


@pytest.mark.parametrize("change", [Path.unlink, partial(shutil.copy, PHOTOS / PIZZA)])
def test_another_file_with_the_same_bytes_becomes_the_original(
    app: Running, folder: Path, change: Callable[[Path], None]
) -> None:
    shutil.copy(folder / DOG, folder / "the same.jpg")
    photo_id = next(entry.photo_id for entry in import_folder(app, folder, IN_PLACE).all if entry.name == DOG)
    original = app.services.store.linked(app.client.get(f"/photo/{photo_id}").json()["sha256"])
    assert original is not None
    change(original)
    import_folder(app, folder, IN_PLACE)
    assert list(in_place.lost(app.services, folder)) == []
    assert app.client.get(f"/photo/{photo_id}/file").content == (PHOTOS / DOG).read_bytes()
    assert in_place.prune(app.services, folder) == 0
    assert app.client.get(f"/photo/{photo_id}/file").status_code == 200


def test_pruning_takes_out_what_is_gone_but_not_what_is_not_mounted(app: Running, folder: Path) -> None:
    import_folder(app, folder, IN_PLACE)
    parked = folder.rename(folder.with_name("unmounted"))
    with pytest.raises(InvalidRequest, match="not there"):
        in_place.prune(app.services, folder)
    folder.mkdir()
    with pytest.raises(InvalidRequest, match="empty"):
        in_place.prune(app.services, folder)
    assert total(app) == 2
    folder.rmdir()
    parked.rename(folder)
    (folder / DOG).unlink()
    assert [Path(row.path).name for row in in_place.lost(app.services, folder)] == [DOG]
    assert in_place.prune(app.services, folder) == 1
    assert [photo["filename"] for photo in app.client.get("/photos").json()["photos"]] == [BUSES]


def test_pruning_never_takes_out_what_is_in_the_library_as_a_copy(app: Running, folder: Path) -> None:
    photo = app.upload(DOG)
    import_folder(app, folder, IN_PLACE)
    (folder / DOG).unlink()
    assert in_place.prune(app.services, folder) == 0
    assert app.client.get(photo["url"]).content == (PHOTOS / DOG).read_bytes()


@pytest.mark.parametrize("path", ["/upload", "/imports"])
def test_what_is_sent_is_kept_though_it_is_in_the_library_in_place(app: Running, folder: Path, path: str) -> None:
    import_folder(app, folder, IN_PLACE)
    field = "file" if path == "/upload" else "files"
    sent = app.client.post(path, files={field: (DOG, (PHOTOS / DOG).read_bytes())})
    if path == "/imports":
        eventually(lambda: app.client.get(f"/imports/{sent.json()['id']}").json()["finished"])
    (folder / DOG).unlink()
    import_folder(app, folder, IN_PLACE)
    assert in_place.prune(app.services, folder) == 0
    (photo,) = (photo for photo in app.client.get("/photos").json()["photos"] if photo["filename"] == DOG)
    assert app.client.get(photo["url"]).content == (PHOTOS / DOG).read_bytes()


def test_a_copy_stays_when_its_source_is_gone(app: Running, folder: Path) -> None:
    import_folder(app, folder)
    (folder / DOG).unlink()
    assert import_folder(app, folder).statuses == {BUSES: "known"}
    assert in_place.prune(app.services, folder) == 0
    assert total(app) == 2


def test_a_lost_original_is_restored_by_importing_it_again(app: Running, folder: Path) -> None:
    photo = app.upload(DOG)
    (app.services.settings.uploads_dir / original_path(photo["sha256"])).unlink()
    assert app.client.get(photo["url"]).status_code == 404
    assert import_folder(app, folder).statuses[DOG] == "known"
    assert app.client.get(photo["url"]).content == (PHOTOS / DOG).read_bytes()


def test_a_name_that_is_not_utf8_is_imported_and_known_again(app: Running, tmp_path: Path) -> None:
    folder = tmp_path / "latin"
    folder.mkdir()
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")
    shutil.copy(PHOTOS / DOG, odd)
    assert set(import_folder(app, folder, IN_PLACE).statuses.values()) == {"ready"}
    assert set(import_folder(app, folder, IN_PLACE).statuses.values()) == {"known"}
    assert list(source_files.known(app.services.database, [odd], DEFAULT_OWNER)) == [odd]
    with app.services.database.read() as session:
        assert [row.path for row in session.exec(select(SourceFile))] == [odd]
        assert session.exec(select(Photo.filename)).one().isprintable()


def test_a_dry_run_tells_what_would_happen_and_does_nothing(app: Running, folder: Path) -> None:
    app.upload(DOG)
    (folder / "words.jpg").write_text("not a picture")
    foretold = dry_run(app.services.database, app.services.settings, folder, Options())
    statuses = {entry.name: (entry.status, entry.problem) for entry in foretold}
    assert statuses == {
        DOG: ("known", None),
        BUSES: ("new", None),
        "words.jpg": ("failed", "unsupported-media"),
    }
    assert (total(app), app.client.get("/imports").json()) == (1, [])


def test_watching_notices_new_files_and_stops(app: Running, folder: Path) -> None:
    stop = threading.Event()
    options = Options(bring_back=False)
    watcher = threading.Thread(target=watch, args=(folder, lambda: import_folder(app, folder, options), stop))
    watcher.start()
    assert eventually(lambda: total(app) == 2, seconds=30)
    (folder / "new").mkdir()
    shutil.copy(PHOTOS / SKIER, folder / "new" / SKIER)
    assert eventually(lambda: total(app) == 3, seconds=30)
    stop.set()
    watcher.join(10)
    assert not watcher.is_alive()
