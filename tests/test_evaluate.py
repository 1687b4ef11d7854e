"""`recollect evaluate` on the test photos, whose captions were written by people."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from app.settings import Settings
from tests.conftest import DOG, PHOTOS

CAPTIONS = PHOTOS / "captions.csv"

Recollect = Callable[..., Result]


@pytest.fixture
def written(recollect: Recollect, tmp_path: Path) -> Path:
    """What the command writes about the embedded model and the test photos."""
    path = tmp_path / "vectors.json"
    done = recollect("evaluate", CAPTIONS, "--model", "embedded", "--json", path)
    assert done.exit_code == 0, done.output
    return path


def read(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def test_people_find_their_photos_and_the_library_is_left_alone(written: Path, settings: Settings) -> None:
    report = read(written)
    assert (report["model"], report["photos"], report["captions"]) == ("embedded/compact-1", 16, 80)
    found = report["metrics"]["recall@1"]
    assert 0.75 < found["low"] < found["value"] < found["high"] < 1
    assert found["value"] == report["ranks"].count(1) / 80
    assert not settings.uploads_dir.exists()


def test_through_the_search_the_same_is_found_and_no_difference_is_shown(
    recollect: Recollect, written: Path, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "search.json"
    done = recollect("evaluate", CAPTIONS, "--through", "search", "--against", written, "--json", path)
    assert done.exit_code == 0, done.output
    assert "No difference shown, by ndcg@10." in done.stdout
    report = read(path)
    assert (report["through"], report["better"]) == ("search", None)
    assert report["metrics"]["recall@10"]["value"] == pytest.approx(
        read(written)["metrics"]["recall@10"]["value"], abs=0.02
    )
    assert not settings.uploads_dir.exists()


def test_a_model_does_not_differ_from_itself(recollect: Recollect) -> None:
    done = recollect("evaluate", CAPTIONS, "--against", "embedded")
    assert "ndcg@10" in done.stdout
    assert "A − B 0.0 % (0.0 to 0.0)" in done.stdout
    assert "No difference shown" in done.stdout


def test_the_better_one_is_named(recollect: Recollect, written: Path, tmp_path: Path) -> None:
    worse = tmp_path / "worse.json"
    report = read(written)
    ranks = [rank + 1 for rank in report["ranks"][:-1]] + [None]  # the last photo was not found at all
    worse.write_text(json.dumps(report | {"ranks": ranks}))
    done = recollect("evaluate", CAPTIONS, "--against", worse)
    assert "A is better, by ndcg@10." in done.stdout


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ("image_filename,caption\nnowhere.jpg,a dog\n", (), "1 of 1 photos are not in"),
        ("image_filename,caption\ndog.jpg,\n", (), "line 2"),
        ("image_filename,caption\n", (), "no captions"),
        ("filename,text\ndog.jpg,a dog\n", (), "names none of the columns"),
        ("image_filename,caption\nbroken.jpg,a dog\n", (), "broken.jpg: "),
        ("image_filename,caption\ndog.jpg,a dog\n", ("--images", "nowhere"), "are not in nowhere"),
        ("image_filename,caption\ndog.jpg,a dog\n", ("--against", "nowhere.json"), "no file nowhere.json"),
        ("image_filename,caption\ndog.jpg,a dog\n", ("--model", "NoSuchModel/weights"), "NoSuchModel"),
    ],
)
def test_mistakes_are_told_with_status_2(
    recollect: Recollect, tmp_path: Path, rows: str, options: tuple[str, ...], says: str
) -> None:
    (tmp_path / "dog.jpg").write_bytes((PHOTOS / DOG).read_bytes())
    (tmp_path / "broken.jpg").write_bytes((PHOTOS / DOG).read_bytes()[:3000])
    (tmp_path / "captions.csv").write_text(rows)
    done = recollect("evaluate", tmp_path / "captions.csv", *options)
    assert done.exit_code == 2
    assert says in done.stderr


def test_other_captions_are_not_compared(recollect: Recollect, written: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(f"image_filename,caption\n{DOG},a dog\n")
    done = recollect("evaluate", tmp_path / "captions.csv", "--images", PHOTOS, "--against", written)
    assert (done.exit_code, "other photos or captions" in done.stderr) == (2, True)
    written.write_text("[1, 2]")
    done = recollect("evaluate", CAPTIONS, "--against", written)
    assert (done.exit_code, "was not written by" in done.stderr) == (2, True)


def test_a_missing_file_is_told(recollect: Recollect) -> None:
    done = recollect("evaluate", "nowhere.csv")
    assert (done.exit_code, "nowhere.csv" in done.stderr) == (2, True)
