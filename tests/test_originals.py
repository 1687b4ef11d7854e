"""The uploads folder must be the library's; rows are never changed because it is not."""

import shutil
from collections.abc import Callable

import pytest
from typer.testing import Result

from app.errors import StorageMissing
from app.services.photo_store import MARK
from tests.conftest import BUSES, DOG, PHOTOS, Running
from tests.postgres import ON_POSTGRES

Start = Callable[..., Running]


def test_a_new_folder_is_marked(app: Running) -> None:
    assert (app.services.settings.uploads_dir / MARK).is_file()


def test_a_library_without_the_mark_gets_one_if_its_originals_are_there(library: Running, start: Start) -> None:
    """As versions before the mark left it; a lost original does not make the folder another one."""
    folder = library.services.settings.uploads_dir
    (folder / MARK).unlink()
    (folder / library.upload(DOG)["path"]).unlink()
    start()
    assert (folder / MARK).is_file()


@pytest.mark.parametrize("what_is_there", ["nothing", "empty folder", "one photo"])
def test_nothing_starts_without_the_folder(library: Running, start: Start, what_is_there: str) -> None:
    folder = library.services.settings.uploads_dir
    dog = library.upload(DOG)
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    if what_is_there != "nothing":
        folder.mkdir()
    if what_is_there == "one photo":  # an older version went on beside the missing disk
        (folder / dog["path"]).parent.mkdir()
        shutil.copy(elsewhere / dog["path"], folder / dog["path"])
    before = sorted(folder.rglob("*"))
    with pytest.raises(StorageMissing):
        start()
    assert sorted(folder.rglob("*")) == before
    shutil.rmtree(folder, ignore_errors=True)
    elsewhere.rename(folder)
    restarted = start()
    assert len(restarted.services.index) == 16
    assert restarted.client.get(dog["url"]).content == (PHOTOS / DOG).read_bytes()


@pytest.mark.parametrize("mount_point", [False, True])
def test_a_folder_that_vanishes_is_told_and_nothing_is_written_in_its_place(
    app: Running, mount_point: bool
) -> None:
    dog = app.upload(DOG)
    folder = app.services.settings.uploads_dir
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    if mount_point:
        folder.mkdir()
    answers = [
        app.client.post("/upload", files={"file": ("b.jpg", (PHOTOS / BUSES).read_bytes())}),
        app.client.get(dog["url"]),
        app.client.get(dog["thumbnail_url"], params={"size": 640}),
        app.client.delete(f"/photo/{dog['id']}"),
    ]
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == 4 * [(503, "storage-missing")]
    assert str(folder) not in "".join(answer.text for answer in answers)
    assert folder.exists() == mount_point
    assert not mount_point or list(folder.iterdir()) == []
    assert app.search("a dog")[0]["photo_id"] == dog["id"]
    if mount_point:
        folder.rmdir()
    elsewhere.rename(folder)
    assert app.client.get(dog["url"]).status_code == 200
    app.upload(BUSES)


def test_commands_say_that_the_folder_is_not_there(library: Running, recollect: Callable[..., Result]) -> None:
    folder = library.services.settings.uploads_dir
    folder.rename(folder.with_name("elsewhere"))
    commands = (
        ["serve"],
        ["import", str(PHOTOS / BUSES)],
        ["search", "a dog"],
        ["reindex", "--model", "embedded"],
        *([] if ON_POSTGRES else [["backup", str(folder.with_name("backup"))]]),  # which copies the file of SQLite
    )
    for command in commands:
        done = recollect(*command)
        assert (done.exit_code, "is its disk mounted?" in done.stderr) == (1, True), command
        assert not folder.exists()
    assert len(library.services.index) == 16
