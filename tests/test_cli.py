"""The command line in a process of its own, as a user types it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from typer.testing import Result

from tests.conftest import BUSES, DOG, PHOTOS, PIZZA
from tests.server import Server, running
from tests.test_live_index import eventually

Recollect = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good photos, and every kind of bad file, in folders."""
    source = tmp_path / "photos"
    (source / "deep" / "deeper").mkdir(parents=True)
    (source / ".hidden").mkdir()
    shutil.copy(PHOTOS / DOG, source / "dog.jpg")
    shutil.copy(PHOTOS / DOG, source / "deep" / "the same dog.JPG")
    shutil.copy(PHOTOS / BUSES, source / "deep" / "deeper" / "buses without ending")
    shutil.copy(PHOTOS / PIZZA, source / ".hidden" / "pizza.jpg")
    (source / "words.jpg").write_text("not a picture")
    (source / "empty.png").touch()
    (source / "cut.jpg").write_bytes((PHOTOS / PIZZA).read_bytes()[:2000])
    (source / "notes.txt").write_text("these are not meant to be photos")
    (source / "dangling.jpg").symlink_to(source / "nowhere")
    return source


def test_a_folder_is_imported_and_bad_files_stop_nothing(
    tmp_path: Path, folder: Path, recollect: Recollect
) -> None:
    server = Server(tmp_path)
    first = server.run("import", str(folder))  # in a process of its own, as a user starts it
    assert first.returncode == 0, first.stderr
    assert first.stdout == "2 added, 1 known already, 3 failed.\n"
    failures = [line for line in first.stderr.splitlines() if line.startswith("failed")]
    assert [line.split(":")[0].split()[-1] for line in sorted(failures)] == ["cut.jpg", "empty.png", "words.jpg"]
    again = recollect("import", folder)
    assert again.stdout == "0 added, 3 known already, 3 failed.\n"
    found = recollect("search", "a dog playing in the garden", "-k", "1")
    assert found.exit_code == 0
    assert "dog" in found.stdout


def test_duplicates_are_listed_the_one_to_keep_first(tmp_path: Path, recollect: Recollect) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    shutil.copy(PHOTOS / DOG, source / "dog.jpg")
    shutil.copy(PHOTOS / PIZZA, source / "pizza.jpg")
    (source / "longer.jpg").write_bytes((PHOTOS / DOG).read_bytes() + b"and a few bytes")
    assert recollect("import", source).stdout == "3 added, 0 known already, 0 failed.\n"
    keep, other, _ = recollect("duplicates").stdout.split("\n", 2)
    assert keep.split(maxsplit=1)[1] == "longer.jpg  keep: larger file"
    assert other.split()[1:] == ["dog.jpg", "1.000"]


def test_a_running_server_notices_an_import(tmp_path: Path) -> None:
    with running(tmp_path, RECOLLECT_INDEX_POLL_S="0.2") as server:
        done = server.run("import", str(PHOTOS))
        assert done.stdout == "16 added, 0 known already, 0 failed.\n", done.stderr
        assert eventually(lambda: httpx2.get(f"{server.url}/health").json()["image_count"] == 16)
        hits = httpx2.get(f"{server.url}/search", params={"q": "a pizza on a plate"}).json()["results"]
        assert hits[0]["filename"] == PIZZA
        server.stop()
        assert "Application shutdown complete" in server.log()


def test_csv_and_jsonl_describe_items_with_and_without_pictures(tmp_path: Path, recollect: Recollect) -> None:
    source = tmp_path / "items"
    (source / "images").mkdir(parents=True)
    shutil.copy(PHOTOS / DOG, source / "images" / "dog.jpg")
    shutil.copy(PHOTOS / PIZZA, source / "pizza.jpg")
    (source / "items.csv").write_text(
        "id,image_filename,caption,title,tags,category\n"
        'a,dog.jpg,"Rex, in the garden",Rex,"dog;garden",pets\n'
        "b,pizza.jpg,,,,\n"
        "c,,a poem about the sea,,,texts\n"
        "d,missing.jpg,,,,\n"
        "e,,,,,\n",
        encoding="utf-8-sig",
    )
    (source / "items.jsonl").write_text(
        json.dumps({"id": "f", "caption": "how to bake bread", "tags": ["recipe", "kitchen"]})
        + "\n\nnot json\n[1]\n"
        + json.dumps({"id": "b", "image_filename": "pizza.jpg"})
        + "\n"
    )
    with running(tmp_path) as server:
        first = recollect("import", source / "items.csv")
        assert first.stdout == "3 added, 0 known already, 2 failed.\n", first.stderr
        assert "there is no file missing.jpg" in first.stderr
        assert recollect("import", source / "items.csv").stdout == "0 added, 3 known already, 2 failed.\n"
        second = recollect("import", source / "items.jsonl")
        assert second.stdout == "1 added, 1 known already, 2 failed.\n", second.stderr
        photos = httpx2.get(f"{server.url}/photos").json()["photos"]
        by_id = {photo["item_id"]: photo for photo in photos}
        assert (by_id["a"]["caption"], by_id["a"]["tags"]) == ("Rex, in the garden", ["dog", "garden"])
        assert (by_id["a"]["category"], by_id["c"]["sha256"]) == ("pets", None)
        assert eventually(lambda: httpx2.get(f"{server.url}/health").json()["image_count"] == 4)
        hits = httpx2.get(f"{server.url}/search", params={"q": "verses about the ocean"}).json()["results"]
        assert hits[0]["item_id"] == "c"


@pytest.mark.parametrize(
    ("arguments", "setting", "status", "says"),
    [
        (["import", "no such folder"], {}, 1, "There is no file or folder"),
        (["import", "app/flows"], {}, 1, "There are no pictures"),
        (["serve"], {"RECOLLECT_PORT": "many"}, 2, "RECOLLECT_PORT"),
        (["serve"], {"RECOLLECT_INDEX": "magic"}, 2, "RECOLLECT_INDEX"),
        (["serve"], {"RECOLLECT_MODEL": "NoSuchModel/weights"}, 1, "NoSuchModel"),
        (["serve"], {"RECOLLECT_DATABASE_URL": "sqlite:////no/such/folder/r.db"}, 1, "cannot be used"),
        (["serve"], {"RECOLLECT_DATABASE_URL": "nonsense"}, 1, "cannot be used"),
        (["search", "a dog"], {"RECOLLECT_UPLOADS_DIR": "/proc/nowhere"}, 1, "/proc"),
        (["search", "a dog"], {"RECOLLECT_MODEL": "ViT-B-32/no-such-weights"}, 1, "no-such-weights"),
    ],
)
def test_mistakes_are_told_plainly(
    recollect: Recollect, arguments: list[str], setting: dict[str, str], status: int, says: str
) -> None:
    done = recollect(*arguments, **setting)
    assert done.exit_code == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_models_list_says_what_is_used_and_why(tmp_path: Path) -> None:
    done = Server(tmp_path, RECOLLECT_MODEL="auto", HF_HUB_CACHE=str(tmp_path)).run("models", "list")
    assert done.returncode == 0
    assert "In use: embedded/compact-1 (auto: the weights of ViT-B-32/laion2b_s34b_b79k" in done.stdout.replace(
        "\n", " "
    )
