"""`recollect backup` beside uploads, and `recollect restore` of all that had been acknowledged."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from sqlmodel import select
from typer.testing import Result

from app.database import Database
from app.dependencies import Models, assemble
from app.flows import backup, import_queue
from app.flows.backup import back_up, restore
from app.flows.import_queue import Incoming
from app.flows.import_worker import bring_in
from app.flows.ingest import NewItem, add_item
from app.flows.services import Services
from app.services.photo_store import MARK, LocalPhotoStore
from app.settings import Settings
from app.tables import Photo, original_path
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running, picture_bytes
from tests.small_disk import mounted
from tests.test_integrity import flip_a_bit
from tests.test_live_index import eventually

pytestmark = pytest.mark.sqlite("its files are copied")

Recollect = Callable[..., Result]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def other(tmp_path: Path) -> dict[str, object]:
    """Settings of an empty library."""
    (tmp_path / "other").mkdir()
    return {
        "database_url": f"sqlite:///{tmp_path}/other/recollect.db",
        "uploads_dir": tmp_path / "other" / "uploads",
    }


def originals(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("uploads/??/*")}


def test_what_was_backed_up_is_restored_and_found(
    library: Running, recollect: Recollect, start: Callable[..., Running], copy: Path, other: dict[str, object]
) -> None:
    before = library.client.get("/photos").json()
    done = recollect("backup", copy)
    assert (done.exit_code, done.stdout) == (0, "16 copied\n")
    assert sorted(path.name for path in copy.iterdir()) == ["manifest.json", "recollect.db", "uploads"]
    manifest = json.loads((copy / "manifest.json").read_text())
    assert (manifest["photos"], manifest["originals"], manifest["links"], manifest["missing"]) == (16, 16, 0, 0)
    assert not list(copy.rglob("*.webp"))

    done = recollect("restore", copy, **other)
    assert done.exit_code == 0, done.stderr
    assert "16 photos restored, 0 without their original." in done.stdout
    restored = start(**other)
    assert restored.client.get("/photos").json() == before
    assert restored.search("a dog playing in the garden")[0]["filename"] == DOG
    dog = restored.upload(DOG)
    assert restored.client.get(dog["url"]).content == (PHOTOS / DOG).read_bytes()
    assert recollect("check", **other).exit_code == 0


def test_a_backup_is_incremental_and_can_verify(library: Running, recollect: Recollect, copy: Path) -> None:
    recollect("backup", copy)
    times = {path: path.stat().st_mtime_ns for path in copy.glob("uploads/??/*")}
    library.client.delete(f"/photo/{library.upload(DOG)['id']}")
    new = picture_bytes(Image.new("RGB", (40, 40), "red"))
    library.client.post("/upload", files={"file": ("new.jpg", new)})
    assert recollect("backup", copy).stdout == "15 there already, 1 copied\n"
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert new in originals(copy).values()

    short, wrong = (copy / "uploads" / library.upload(name)["path"] for name in (BUSES, PIZZA))
    short.write_bytes(short.read_bytes()[:-1])
    flip_a_bit(wrong)
    assert recollect("backup", copy).stdout == "15 there already, 1 copied\n"  # sizes tell of one
    assert recollect("backup", copy, "--verify").stdout == "15 there already, 1 copied\n"
    for path in (short, wrong):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_damage_does_not_reach_the_backup(library: Running, recollect: Recollect, copy: Path) -> None:
    folder = library.services.settings.uploads_dir
    dog, buses, pizza = (library.upload(name)["path"] for name in (DOG, BUSES, PIZZA))
    recollect("backup", copy)
    flip_a_bit(folder / dog)
    (folder / buses).unlink()
    assert recollect("backup", copy).stdout == "16 there already\n"
    (copy / "uploads" / pizza).unlink()
    flip_a_bit(folder / pizza)
    (copy / "uploads" / buses).unlink()
    done = recollect("backup", copy)
    assert done.exit_code == 1
    assert {"14 there already", "1 missing", "1 altered"} == set(done.stdout.strip().split(", "))
    assert not (copy / "uploads" / pizza).exists()
    assert json.loads((copy / "manifest.json").read_text())["missing"] == 2


def test_links_are_kept_and_counted(
    library: Running, recollect: Recollect, copy: Path, other: dict[str, object]
) -> None:
    path = library.services.settings.uploads_dir / library.upload(DOG)["path"]
    outside = path.rename(copy.with_name("outside.jpg"))
    path.symlink_to(outside)
    done = recollect("backup", copy)
    assert "1 links to files elsewhere" in done.stdout
    recollect("restore", copy, **other)
    restored = Path(str(other["uploads_dir"])) / original_path(path.name)
    assert restored.is_symlink()
    assert restored.readlink() == outside
    assert outside.read_bytes() == (PHOTOS / DOG).read_bytes()


def test_a_backup_under_uploads_has_all_that_was_acknowledged_before(
    app: Running, recollect: Recollect, copy: Path, other: dict[str, object]
) -> None:
    """And whatever else its rows name, although photos come and go while it is made."""
    stop, acknowledged = threading.Event(), list[str]()

    def upload(seed: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            data = picture_bytes(Image.new("RGB", (40, 40), (seed, number % 256, number // 256)), "PNG")
            answer = app.client.post("/upload", files={"file": ("p.png", data)})
            if number % 3:
                acknowledged.append(answer.json()["sha256"])
            else:
                app.client.delete(f"/photo/{answer.json()['id']}")

    threads = [threading.Thread(target=upload, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 20:
        stop.wait(0.01)
    for _ in range(3):
        before = list(acknowledged)
        done = recollect("backup", copy)
        assert done.exit_code == 0, done.stdout + done.stderr
    stop.set()
    for thread in threads:
        thread.join()
    done = recollect("restore", copy, **other)
    assert done.exit_code == 0, done.stdout + done.stderr
    restored = Database(str(other["database_url"]))
    with restored.read() as session:
        assert set(before) <= set(session.exec(select(Photo.sha256)))
    restored.dispose()
    assert recollect("check", **other).exit_code == 0


def test_a_photo_that_is_deleted_meanwhile_is_not_in_the_backup(
    library: Running,
    recollect: Recollect,
    copy: Path,
    other: dict[str, object],
    start: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dog, check_whole = library.upload(DOG)["id"], backup._check_whole

    def deleted_now(rows: Database) -> None:  # the rows are copied, and the originals are not
        assert library.client.delete(f"/photo/{dog}").status_code in (200, 204)
        check_whole(rows)

    monkeypatch.setattr(backup, "_check_whole", deleted_now)
    assert recollect("backup", copy).stdout in (
        "15 copied, 1 deleted meanwhile\n",
        "1 deleted meanwhile, 15 copied\n",
    )
    monkeypatch.undo()
    assert json.loads((copy / "manifest.json").read_text())["photos"] == 15
    done = recollect("restore", copy, **other)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert recollect("check", **other).exit_code == 0
    restored = start(**other)
    assert restored.client.get("/photos").json() == library.client.get("/photos").json()
    assert DOG not in {hit["filename"] for hit in restored.search("a dog playing in the garden", k=16)}


def test_a_library_or_a_used_backup_is_not_overwritten(
    library: Running, recollect: Recollect, copy: Path, other: dict[str, object], settings: Settings
) -> None:
    live = Path(settings.database_url.removeprefix("sqlite:///"))
    before = live.read_bytes()
    for folder in (live.parent, settings.uploads_dir, settings.uploads_dir / "copy"):
        done = recollect("backup", folder)
        assert (done.exit_code, "folder of its own" in done.stderr) == (1, True)
    assert live.read_bytes() == before
    recollect("import", PHOTOS / DOG, **other)
    done = recollect("backup", str(Path(str(other["uploads_dir"])).parent))
    assert "it would be overwritten" in done.stderr

    recollect("backup", copy)
    (copy / "recollect.db-wal").touch()
    assert "in use" in recollect("backup", copy).stderr


def test_restore_takes_only_an_empty_library_and_a_whole_backup(
    library: Running, recollect: Recollect, copy: Path, other: dict[str, object]
) -> None:
    assert "no backup" in recollect("restore", copy, **other).stderr
    recollect("backup", copy)
    assert "has 16 photos already" in recollect("restore", copy).stderr
    stray = Path(str(other["uploads_dir"])) / original_path("ab" * 32)
    stray.parent.mkdir()
    stray.touch()
    assert "restore into an empty" in recollect("restore", copy, **other).stderr
    stray.unlink()

    shutil.copytree(copy / "uploads", str(other["uploads_dir"]), dirs_exist_ok=True)  # as if it had been cut short
    lost = copy / "uploads" / library.upload(DOG)["path"]
    damaged = copy / "uploads" / library.upload(BUSES)["path"]
    for path in (lost, damaged):
        (Path(str(other["uploads_dir"])) / original_path(path.name)).unlink()
    lost.unlink()
    flip_a_bit(damaged)
    done = recollect("restore", copy, **other)
    assert done.exit_code == 1
    assert "16 photos restored, 2 without their original." in done.stdout
    assert {"1 missing", "1 altered", "14 there already"} == set(done.stdout.splitlines()[0].split(", "))


def test_postgresql_is_refused(recollect: Recollect, copy: Path) -> None:
    for command in ("backup", "restore"):
        done = recollect(command, copy, database_url="postgresql://localhost/recollect")
        assert (done.exit_code, "pg_dump" in done.stderr) == (1, True)
    assert not copy.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "768k")


def test_a_full_disk_leaves_the_backup_before_usable(
    app: Running, recollect: Recollect, small_disk: Path, other: dict[str, object]
) -> None:
    dog = app.upload(DOG)
    copy = small_disk / "backup"
    assert recollect("backup", copy).exit_code == 0
    app.upload_all()
    done = recollect("backup", copy)
    assert done.exit_code == 1
    assert "is still whole" in done.stderr
    assert not list(copy.rglob("*partial*"))
    done = recollect("restore", copy, **other)
    assert "1 photos restored, 0 without" in done.stdout
    assert (Path(str(other["uploads_dir"])) / dog["path"]).read_bytes() == (PHOTOS / DOG).read_bytes()
    assert (Path(str(other["uploads_dir"])) / MARK).is_file()


def accepted(services: Services, name: str) -> int:
    """The id of an import with one photo that nobody works on."""
    import_id = import_queue.open_import(services, "test")
    staged = services.staging.save((PHOTOS / name).read_bytes())
    import_queue.accept(services, import_id, [Incoming(name, {"filename": name}, staged=staged)])
    return import_id


@pytest.mark.parametrize("ready_meanwhile", [False, True])
def test_what_was_accepted_and_is_not_ready_yet_is_in_the_backup(
    settings: Settings,
    models: Models,
    start: Callable[..., Running],
    copy: Path,
    other: dict[str, object],
    ready_meanwhile: bool,
) -> None:
    services = assemble(settings, models)
    services.live_index.start()
    services.serving.switch(services)
    add_item(services, NewItem((PHOTOS / PIZZA).read_bytes(), "pizza.jpg"))
    import_id = accepted(services, DOG)

    def while_originals_are_copied(*_: object) -> None:
        if ready_meanwhile:
            for item in import_queue.claim(services.database, "worker", 1, import_id=import_id):
                import_queue.finish(services, [bring_in(services, item)])

    copy.mkdir()
    store = LocalPhotoStore(settings.uploads_dir)
    back_up(services.database, store, copy, verify=False, report=while_originals_are_copied)
    services.close()
    database, new_store = Database(str(other["database_url"])), LocalPhotoStore(Path(str(other["uploads_dir"])))
    new_store.set_up()
    restore(copy, database, new_store, report=lambda *_: None)
    database.dispose()
    restored = start(**other)
    assert eventually(lambda: restored.client.get(f"/imports/{import_id}").json()["ready"] == 1, seconds=30)
    assert restored.search("a dog playing in the garden", k=1)[0]["filename"] == DOG
