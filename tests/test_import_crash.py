"""Imports that are killed end complete all the same, and large ones do not grow."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from tests.conftest import picture_bytes
from tests.server import RECOLLECT, Server, memory, running
from tests.test_live_index import eventually

QUEUED = 20


def write_pictures(folder: Path, count: int) -> None:
    """Small pictures that all differ."""
    folder.mkdir()
    for i in range(count):
        picture = Image.new("RGB", (24, 24), (i % 256, i // 256, 99))
        (folder / f"{i:05}.png").write_bytes(picture_bytes(picture, "PNG"))


def count(server: Server, what: str) -> int:
    """Rows of the library, read beside whoever writes; 0 before there is a table."""
    engine = create_engine(server.environment["RECOLLECT_DATABASE_URL"])
    try:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {what}").scalar_one())
    except SQLAlchemyError:
        return 0
    finally:
        engine.dispose()


def originals(server: Server) -> list[Path]:
    return [path for path in (server.folder / "uploads").glob("??/*") if path.is_file()]


def half_written(server: Server) -> list[Path]:
    uploads = server.folder / "uploads"
    return [path for name in (".incoming", ".staged") for path in (uploads / name).glob("*")]


def kill_import(server: Server, folder: Path, after: int) -> None:
    """Kills `recollect import` once it has brought in so many more photos."""
    before = count(server, "photos")
    with subprocess.Popen(
        [RECOLLECT, "import", str(folder)], env=server.environment, cwd=server.folder
    ) as process:
        while process.poll() is None and count(server, "photos") < before + after:
            time.sleep(0.01)
        process.kill()


def import_through_kills(server: Server, kills: int) -> None:
    pictures = 8 * kills + 24
    folder = server.folder / "photos"
    write_pictures(folder, pictures)
    server.run("import", str(folder), "--dry-run")  # makes the tables
    chance = random.Random(7)
    for _ in range(kills):
        kill_import(server, folder, after=chance.randrange(1, 8))
    last = server.run("import", str(folder))
    assert last.returncode == 0, last.stderr
    assert count(server, "photos") == count(server, "embeddings") == len(originals(server)) == pictures
    assert count(server, "import_items WHERE status IN ('pending', 'working', 'failed')") == 0
    assert half_written(server) == []


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_an_import_that_is_killed_fifty_times_ends_complete(tmp_path: Path) -> None:
    import_through_kills(Server(tmp_path), kills=50)


def test_what_a_killed_server_had_accepted_is_ready_after_its_next_start(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", QUEUED)
    files = [("files", (path.name, path.read_bytes())) for path in sorted((tmp_path / "photos").iterdir())]
    with running(tmp_path, RECOLLECT_WHISPER_MODEL="none") as server:
        import_id = httpx2.post(f"{server.url}/imports", files=files, timeout=30).json()["id"]
        server.stop(signal.SIGKILL)
        server.start()
        finished = eventually(
            lambda: httpx2.get(f"{server.url}/imports/{import_id}").json()["finished"], seconds=120
        )
        assert finished
        assert httpx2.get(f"{server.url}/imports/{import_id}").json()["ready"] == QUEUED
        assert httpx2.get(f"{server.url}/health").json()["image_count"] == QUEUED
    assert len(originals(server)) == QUEUED
    assert half_written(server) == []


@pytest.mark.parametrize(
    "files", [pytest.param(30_000, marks=pytest.mark.stress), pytest.param(100_000, marks=pytest.mark.soak)]
)
@pytest.mark.timeout(3600)
def test_many_tiny_photos_do_not_grow_the_memory(tmp_path: Path, files: int) -> None:
    """Copies of few pictures: encoding so many different ones would take long, and is the same for each."""
    write_pictures(tmp_path / "different", 20)
    folder = tmp_path / "photos"
    different = sorted((tmp_path / "different").iterdir())
    for i in range(files):
        if i % 1000 == 0:
            (folder / f"{i // 1000:03}").mkdir(parents=True)
        shutil.copyfile(different[i % 20], folder / f"{i // 1000:03}" / f"{i}.png")
    server = Server(tmp_path)
    server.run("import", str(folder), "--dry-run", "--ignore", "*")  # makes the tables
    sizes: dict[int, int] = {}
    command = [str(RECOLLECT), "import", str(folder)]
    with subprocess.Popen(command, env=server.environment, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(1)
            done = count(server, "import_items WHERE status = 'known'")
            if done and process.poll() is None:
                sizes[done] = memory(process)
    assert process.returncode == 0
    assert count(server, "import_items WHERE status = 'known'") == files - 20
    early = max(size for done, size in sizes.items() if 5_000 < done < 15_000)
    late = max(size for done, size in sizes.items() if files - 10_000 < done < files - 100)  # then it ends
    assert late - early < 10 * 2**20, sizes  # a hundred bytes for each would be nearly as much
