"""Stores of originals: whole and durable, or not there at all, also when killed or when the disk is full."""

import hashlib
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from app.errors import FileNotStored, StorageFull, StorageMissing
from app.services.interfaces import PhotoStore
from app.services.photo_store import INCOMING, MARK, LocalPhotoStore

PROCESSES = multiprocessing.get_context("spawn")
PATIENCE_S = 60
KILLS = 3
BIG_FILE_BYTES = 8 * 2**20
LIMIT_BYTES = 2**16
DATA = b"the bytes of a photo" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


def store_in(folder: Path) -> LocalPhotoStore:
    store = LocalPhotoStore(folder)
    store.set_up()
    return store


@pytest.fixture
def store(tmp_path: Path) -> LocalPhotoStore:
    return store_in(tmp_path / "deep" / "uploads")


@pytest.fixture(params=["folder", "bucket"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> PhotoStore:
    """What PhotoStore promises is promised by each."""
    if request.param == "folder":
        return store_in(tmp_path / "deep" / "uploads")
    server = request.getfixturevalue("bucket")
    from app.services.bucket import Bucket
    from app.services.bucket_photo_store import BucketPhotoStore

    store = BucketPhotoStore(Bucket(server.url))
    store.set_up()
    return store


def stored_files(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and INCOMING not in path.parts]
    return [path for path in files if path.name != MARK]


def half_written(folder: Path) -> list[Path]:
    return list((folder / INCOMING).glob("*"))


def test_what_is_saved_can_be_read(any_store: PhotoStore) -> None:
    assert any_store.is_set_up()
    any_store.check_mounted()
    for _ in range(2):
        any_store.save(SHA256, DATA)
        with any_store.open(SHA256) as file:
            assert file.read() == DATA
    assert any_store.has(SHA256)
    assert any_store.has_copy(SHA256)
    assert any_store.linked(SHA256) is None


def test_where_it_lies(store: LocalPhotoStore) -> None:
    store.save(SHA256, DATA)
    assert store.path(SHA256) == store.folder / SHA256[:2] / SHA256
    assert half_written(store.folder) == []


def test_saving_twice_is_the_same_as_once(store: LocalPhotoStore) -> None:
    store.save(SHA256, DATA)
    before = store.path(SHA256).stat()
    store.save(SHA256, DATA)
    after = store.path(SHA256).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(stored_files(store.folder)) == 1


def test_many_saves_of_one_photo_at_once(store: LocalPhotoStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.save(SHA256, DATA), range(32)))
    assert [path.read_bytes() for path in stored_files(store.folder)] == [DATA]
    assert half_written(store.folder) == []


def test_nobody_sees_half_a_file(store: LocalPhotoStore) -> None:
    """A reader beside the writer finds the photo whole, or not at all."""
    data = os.urandom(2 * BIG_FILE_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    writing = threading.Thread(target=store.save, args=(sha256, data))
    writing.start()
    sizes = set[int]()
    while writing.is_alive() or not sizes:
        try:
            sizes.add(store.path(sha256).stat().st_size)
        except FileNotStored:
            time.sleep(0.0005)
    assert sizes == {len(data)}


def test_delete(any_store: PhotoStore) -> None:
    any_store.save(SHA256, DATA)
    any_store.delete(SHA256)
    any_store.delete(SHA256)
    assert not any_store.has(SHA256)
    with pytest.raises(FileNotStored):
        any_store.open(SHA256)
    with pytest.raises(FileNotStored):
        any_store.path(SHA256)
    any_store.save(SHA256, DATA)
    with any_store.open(SHA256) as file:
        assert file.read() == DATA


def test_delete_leaves_the_neighbours(store: LocalPhotoStore) -> None:
    neighbour = SHA256[:-1] + ("0" if SHA256[-1] != "0" else "1")
    for name in (SHA256, neighbour):
        store.save(name, DATA)
    store.delete(SHA256)
    assert stored_files(store.folder) == [store.path(neighbour)]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc/passwd",
        "/etc/passwd",
        ".." + "/" * 62,
        SHA256[:-1],
        SHA256 + "0",
        SHA256 + "\n",
        SHA256.upper(),
        SHA256[:-1] + "\x00",
        SHA256[:-1] + "g",
        SHA256[:-1] + "٣",  # a digit, but not of ours
        "..%2f" + SHA256[5:],
    ],
)
def test_a_name_that_is_no_sha256_is_refused(any_store: PhotoStore, name: str) -> None:
    actions: list[Callable[[], object]] = [
        lambda: any_store.save(name, DATA),
        lambda: any_store.open(name),
        lambda: any_store.path(name),
        lambda: any_store.delete(name),
        lambda: any_store.noted(name).__enter__(),
        lambda: any_store.is_noted(name),
    ]
    for action in actions:
        with pytest.raises(ValueError, match="64 hex digits"):
            action()
    if isinstance(any_store, LocalPhotoStore):
        assert [path.name for path in any_store.folder.iterdir()] == [MARK]


def test_a_folder_in_place_of_a_file_is_not_a_photo(store: LocalPhotoStore) -> None:
    (store.folder / SHA256[:2] / SHA256).mkdir(parents=True)
    with pytest.raises(FileNotStored):
        store.path(SHA256)


def save_until_killed(folder: Path, seed: int, saved: "Connection[str, str]") -> None:
    """Saves one big file after another, and says each one's name once it is acknowledged."""
    store = store_in(folder)
    for number in range(10_000):
        data = hashlib.shake_256(f"{seed}/{number}".encode()).digest(BIG_FILE_BYTES)
        sha256 = hashlib.sha256(data).hexdigest()
        store.save(sha256, data)
        saved.send(sha256)


def kill_while_saving(folder: Path, seed: int) -> list[str]:
    """SIGKILL in the middle of a write, after two were acknowledged; the names of all that were."""
    receiving, sending = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=save_until_killed, args=(folder, seed, sending))
    process.start()
    sending.close()
    acknowledged = [receiving.recv() for _ in range(2)]
    deadline = time.monotonic() + PATIENCE_S
    while not any(path.stat().st_size for path in half_written(folder) if path.exists()):
        assert time.monotonic() < deadline, "nothing was being written"
    process.kill()
    process.join()
    while receiving.poll():
        try:
            acknowledged.append(receiving.recv())
        except EOFError:
            break
    return acknowledged


def test_a_kill_in_the_middle_leaves_whole_files_only(tmp_path: Path) -> None:
    store, acknowledged, leftovers = store_in(tmp_path), list[str](), 0
    for kill in range(KILLS):
        acknowledged += kill_while_saving(tmp_path, seed=kill)
        left = half_written(tmp_path)
        leftovers += len(left)
        assert store.remove_leftovers() == len(left)
        assert half_written(tmp_path) == []
    files = stored_files(tmp_path)
    assert {path.name for path in files} >= set(acknowledged)
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert leftovers, "no kill hit a write, so nothing was proved"


HOLD = "import fcntl, sys; file = open(sys.argv[1], 'wb'); fcntl.flock(file, fcntl.LOCK_EX); print(); input()"


def held_by_another(path: Path) -> "subprocess.Popen[bytes]":
    """A process that holds the file as its writer does, until it is killed."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    return other


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(store: LocalPhotoStore) -> None:
    incoming = store.folder / INCOMING
    incoming.mkdir()
    living = incoming / "tmp-living"
    (incoming / "tmp-dead").write_bytes(b"half")
    with held_by_another(living) as other:
        assert store.remove_leftovers() == 1
        assert half_written(store.folder) == [living]
        other.kill()
    assert store.remove_leftovers() == 1
    assert store.remove_leftovers() == 0


def test_a_note_stays_when_its_block_fails(any_store: PhotoStore) -> None:
    with any_store.noted(SHA256):
        assert any_store.is_noted(SHA256)
        assert any_store.left_notes() == []
    assert not any_store.is_noted(SHA256)
    with pytest.raises(ZeroDivisionError), any_store.noted(SHA256):
        raise ZeroDivisionError
    assert any_store.left_notes() == [SHA256]
    with any_store.noted(SHA256):
        any_store.save(SHA256, DATA)
    assert any_store.left_notes() == []
    assert not any_store.is_noted(SHA256)
    assert any_store.remove_leftovers() == 0


def test_a_note_stays_when_its_process_dies(store: LocalPhotoStore) -> None:
    with store.noted(SHA256):
        store.save(SHA256, DATA)
    assert half_written(store.folder) == []
    with held_by_another(store.folder / INCOMING / SHA256) as other:
        assert store.left_notes() == []
        other.kill()
    assert store.left_notes() == [SHA256]
    assert store.remove_leftovers() == 0


def test_an_original_that_was_there_before_is_not_noted_for_good(any_store: PhotoStore) -> None:
    """A failed upload of bytes that lie there already must not take them away; a deletion may."""
    any_store.save(SHA256, DATA)
    with pytest.raises(ZeroDivisionError), any_store.noted(SHA256):
        raise ZeroDivisionError
    assert not any_store.is_noted(SHA256)
    with pytest.raises(ZeroDivisionError), any_store.noted(SHA256, deleting=True):
        raise ZeroDivisionError
    assert any_store.left_notes() == [SHA256]


def test_one_at_a_time_works_on_an_original(any_store: PhotoStore) -> None:
    inside, most = 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with any_store.noted(SHA256):
            inside += 1
            most = max(most, inside)
            time.sleep(0.002)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(20)))
    assert most == 1
    assert not any_store.is_noted(SHA256)


def test_a_note_costs_next_to_nothing(store: LocalPhotoStore) -> None:
    def note_and_save(number: int) -> tuple[float, float]:
        data = DATA + str(number).encode()
        sha256 = hashlib.sha256(data).hexdigest()
        begun = time.perf_counter()
        with store.noted(sha256):
            saving = time.perf_counter()
            store.save(sha256, data)
            saved = time.perf_counter()
        return saved - saving, time.perf_counter() - begun - (saved - saving)

    saves, notes = zip(*(note_and_save(number) for number in range(50)), strict=True)
    assert sorted(notes)[25] < max(0.002, sorted(saves)[25])


def test_nothing_is_written_where_the_disk_is_not_mounted(store: LocalPhotoStore) -> None:
    store.save(SHA256, DATA)
    mounted = store.folder.rename(store.folder.with_name("elsewhere"))
    for bare in (False, True):
        if bare:
            store.folder.mkdir()
        for action in (store.path, store.open, lambda sha256: store.save(sha256, DATA), enter_note(store)):
            with pytest.raises(StorageMissing):
                action(SHA256)
    assert list(store.folder.iterdir()) == []
    store.folder.rmdir()
    mounted.rename(store.folder)
    assert store.path(SHA256).read_bytes() == DATA


def enter_note(store: LocalPhotoStore) -> Callable[[str], object]:
    return lambda sha256: store.noted(sha256).__enter__()


def test_leftovers_are_not_photos(store: LocalPhotoStore) -> None:
    store.save(SHA256, DATA)
    assert store.remove_leftovers() == 0
    assert store.path(SHA256).read_bytes() == DATA


def save_on_a_full_disk(folder: Path) -> None:
    """A limit on the size of files stands for the full disk: like it, it stops a write half-way."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))
    store = store_in(folder)
    too_big = DATA * 10
    with pytest.raises(StorageFull) as full:
        store.save(hashlib.sha256(too_big).hexdigest(), too_big)
    assert full.value.status == 507
    assert str(folder) not in full.value.detail
    assert stored_files(folder) == half_written(folder) == []
    store.save(SHA256, DATA)  # what still fits is still stored
    assert store.path(SHA256).read_bytes() == DATA


def test_a_full_disk_is_storage_full_and_leaves_nothing(tmp_path: Path) -> None:
    assert len(DATA) < LIMIT_BYTES < len(DATA) * 10
    process = PROCESSES.Process(target=save_on_a_full_disk, args=(tmp_path,))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / SHA256[:2]).write_bytes(b"a file where a folder should be")
    store = store_in(tmp_path)
    with pytest.raises(OSError, match="exists"):
        store.save(SHA256, DATA)
    assert half_written(tmp_path) == []
