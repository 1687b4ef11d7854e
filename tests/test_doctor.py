"""What `recollect doctor` finds, on libraries that are well and on those that are not."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import Result

from app import doctor
from app.doctor import State
from app.settings import Settings
from tests.conftest import DOG, Running
from tests.small_disk import mounted

Recollect = Callable[..., Result]


def states(done: Result) -> dict[str, str]:
    return {line["subject"]: line["state"] for line in map(json.loads, done.stdout.splitlines())}


def is_file(settings: Settings) -> bool:
    return settings.database_url.startswith("sqlite")


def test_a_library_that_is_well(library: Running, recollect: Recollect, settings: Settings) -> None:
    done = recollect("doctor", "--json", RECOLLECT_PORT="9")  # discard: nobody listens there
    assert done.exit_code == 0, done.output
    disks = {"disk of uploads", "disk of database"} if is_file(settings) else {"disk of uploads"}
    assert states(done) == dict.fromkeys(disks, "ok") | {
        "database": "ok",
        "uploads": "ok",
        "memory": "ok",
        "image-text model": "ok",
        "voice search": "ok",
        "sound": "ok",
        "pictures": "ok",
        "server": "note",
    }


def test_before_the_first_start_nothing_is_made(tmp_path: Path, recollect: Recollect) -> None:
    done = recollect("doctor", RECOLLECT_PORT="9", RECOLLECT_WHISPER_MODEL="none", RECOLLECT_OCR="false")
    assert done.exit_code == 0, done.output
    assert "will be made by the first start" in " ".join(done.stdout.replace("│", "").split())
    assert list(tmp_path.iterdir()) == []


def test_what_must_be_done_is_told_and_is_the_exit_status(
    app: Running, tmp_path: Path, recollect: Recollect
) -> None:
    app.upload(DOG)
    (tmp_path / "uploads").rename(tmp_path / "unmounted")
    done = recollect("doctor", "--json", RECOLLECT_PORT="9", RECOLLECT_WHISPER_MODEL="none")
    assert done.exit_code == 1
    [wrong] = [line for line in map(json.loads, done.stdout.splitlines()) if line["state"] == "problem"]
    assert wrong["subject"] == "uploads"
    assert "Mount its disk" in wrong["advice"]


def test_an_uploads_folder_without_its_mark(app: Running, tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    app.upload(DOG)
    (uploads / ".recollect").unlink()
    assert doctor.examine_uploads(uploads, photos=1).state is State.PROBLEM
    (uploads / ".recollect").touch()
    assert doctor.examine_uploads(uploads, photos=1).state is State.OK


@pytest.mark.sqlite("damage done to its file")
def test_a_damaged_database(library: Running, settings: Settings, tmp_path: Path) -> None:
    library.client.__exit__(None, None, None)
    file = tmp_path / "recollect.db"
    data = bytearray(file.read_bytes())
    data[8192:40_000] = b"\x55" * (40_000 - 8192)
    file.write_bytes(data)
    found = doctor.examine_database(settings.database_url)
    assert (found.state, found.subject) == (State.PROBLEM, "database")
    assert "recollect restore" in found.advice
    file.write_text("this is not a database at all")
    assert doctor.examine_database(settings.database_url).state is State.PROBLEM
    assert doctor.count_photos(settings.database_url) == 0


@pytest.mark.parametrize(
    ("version", "state", "advice"),
    [("0001", State.NOTE, "The next start"), ("9999", State.PROBLEM, "Install a newer Recollect.")],
)
@pytest.mark.sqlite("the file is changed from outside")
def test_databases_of_other_versions(
    app: Running, settings: Settings, tmp_path: Path, version: str, state: State, advice: str
) -> None:
    with sqlite3.connect(tmp_path / "recollect.db") as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
    database.close()
    found = doctor.examine_database(settings.database_url)
    assert found.state is state
    assert found.advice.startswith(advice)


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/r.db", "nonsense", "nosuchdatabase://x"])
def test_databases_that_cannot_be(url: str) -> None:
    assert doctor.examine_database(url).state is State.PROBLEM


def test_a_model_that_is_not_here_is_not_fetched(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked = settings.model_copy(update={"model": "RN50/openai", "whisper_model": "base", "reranker": "blip"})
    model, voice, reranker = doctor.examine_models(asked)
    assert (model.state, model.advice) == (State.PROBLEM, "recollect models download RN50/openai")
    assert (voice.state, reranker.state) == (State.NOTE, State.NOTE)


def test_weights_with_another_sha256(settings: Settings, tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(b"something else")
    changes = {"model": f"ViT-B-32/{weights}", "model_sha256": "0" * 64, "whisper_model": "none"}
    found = next(doctor.examine_models(settings.model_copy(update=changes)))
    assert found.state is State.PROBLEM
    assert "has SHA-256" in found.found


def test_memory_is_compared_with_what_a_library_of_this_size_needs(settings: Settings) -> None:
    assert doctor.examine_memory(settings, photos=1000).state is not State.PROBLEM
    assert doctor.examine_memory(settings, photos=10**10).state is State.PROBLEM


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "small", "20m")


def test_a_disk_that_is_nearly_full(settings: Settings, small_disk: Path) -> None:
    asked = settings.model_copy(update={"uploads_dir": small_disk / "uploads"})
    uploads, *database = doctor.examine_disks(asked)
    assert (uploads.state, uploads.found) == (State.PROBLEM, "20 MB free")
    assert str(small_disk) in uploads.advice
    assert [disk.state for disk in database] == [State.OK] * is_file(settings)


class Other(BaseHTTPRequestHandler):
    """A server of something else."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def other_server() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_another_program_at_the_port(other_server: int) -> None:
    found = doctor.examine_server(Settings(port=other_server))
    assert found.state is State.PROBLEM
    assert f"RECOLLECT_PORT={other_server + 1}" in found.advice
