"""The durable queue: everything accepted comes to an end, whatever happens in between."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from app.dependencies import Models, assemble
from app.errors import EncoderFailed, ImportNotFound, StorageFull
from app.flows import import_queue, imports
from app.flows.import_queue import MAX_ATTEMPTS, Incoming
from app.flows.services import Services
from app.services.interfaces import Vectors
from app.settings import Settings
from app.tables import ImportItem, ItemStatus
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, SKIER, Running
from tests.test_live_index import eventually

Start = Callable[..., Running]

NOBODY = "elsewhere 1 0.0"  # a worker on another host
DEAD = f"{import_queue.worker_name().rsplit(' ', 2)[0]} 1 0.0"  # process 1 of this host was not started in 1970


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.flows.import_worker.PAUSE_S", 0.05)
    monkeypatch.setattr("app.flows.import_worker.POLL_S", 0.05)


@pytest.fixture
def idle(settings: Settings, models: Models) -> Any:
    """Services on this test's library, and nobody who works on the queue."""
    services = assemble(settings, models)
    services.live_index.start()
    yield services
    services.close()


def staged(services: Services, name: str) -> Incoming:
    data = (PHOTOS / name).read_bytes()
    return Incoming(name, {"filename": name}, staged=services.staging.save(data))


def rows(services: Services) -> list[ImportItem]:
    with services.database.read() as session:
        return list(session.exec(select(ImportItem).order_by(col(ImportItem.id))))


def set_rows(services: Services, **values: Any) -> None:
    with services.database.write() as session:
        for row in session.exec(select(ImportItem)):
            for name, value in values.items():
                setattr(row, name, value)


def staged_files(services: Services) -> list[Path]:
    return list((services.settings.uploads_dir / ".staged").iterdir())


def done(app: Running) -> bool:
    return eventually(lambda: imports.depth(app.services) == 0, seconds=60)


def test_every_item_ends_as_ready_known_or_failed_with_a_reason(app: Running) -> None:
    services = app.services
    import_id = import_queue.open_import(services, "test")
    items = [
        staged(services, DOG),
        Incoming("words.jpg", staged=services.staging.save(b"not a picture")),
        Incoming("poem", {"caption": "a poem about the sea", "tags": ["verse"]}),
        staged(services, DOG),
        Incoming("nothing at all"),
        Incoming("gone.jpg", path="/nowhere/gone.jpg", status=ItemStatus.FAILED, problem="unreadable-file"),
    ]
    import_queue.accept(services, import_id, items)
    assert done(app)
    ended = [(row.status.value, row.problem) for row in rows(services)]
    assert sorted(ended[i] for i in (0, 3)) == [("known", None), ("ready", None)]
    assert [ended[i] for i in (1, 2, 4, 5)] == [
        ("failed", "unsupported-media"),
        ("ready", None),
        ("failed", "invalid-request"),
        ("failed", "unreadable-file"),
    ]
    assert staged_files(services) == []
    assert [hit["filename"] for hit in app.search("a dog in the garden", k=1)] == [DOG]
    assert app.search("verses about the ocean", k=1)[0]["tags"] == ["verse"]


def test_what_was_accepted_before_a_stop_is_done_after_it(idle: Services, start: Start) -> None:
    import_id = import_queue.open_import(idle, "test")
    import_queue.accept(idle, import_id, [staged(idle, name) for name in (DOG, BUSES, PIZZA)])
    set_rows(idle, status=ItemStatus.WORKING, worker=DEAD, leased_until=2e9, attempts=1)
    app = start()
    assert done(app)
    assert {row.status for row in rows(idle)} == {ItemStatus.READY}
    assert app.client.get("/photos").json()["total"] == 3


def test_what_another_living_worker_has_in_hand_is_left_to_it(idle: Services) -> None:
    import_id = import_queue.open_import(idle, "test")
    import_queue.accept(idle, import_id, [Incoming("a"), Incoming("b")])
    set_rows(idle, status=ItemStatus.WORKING, worker=NOBODY, leased_until=2e9)
    assert import_queue.release(idle.database) == 0
    set_rows(idle, leased_until=1.0)
    assert import_queue.release(idle.database) == 2


def test_an_item_is_claimed_by_one_worker_only(idle: Services) -> None:
    import_id = import_queue.open_import(idle, "test")
    import_queue.accept(idle, import_id, [Incoming(str(i)) for i in range(5)])
    first = import_queue.claim(idle.database, "one", 3)
    second = import_queue.claim(idle.database, "two", 3)
    assert [item.name for item in (*first, *second)] == ["0", "1", "2", "3", "4"]
    assert import_queue.claim(idle.database, "three", 3) == []


def test_items_with_which_the_process_died_come_alone_and_then_not_any_more(idle: Services, start: Start) -> None:
    import_id = import_queue.open_import(idle, "test")
    import_queue.accept(idle, import_id, [staged(idle, DOG), staged(idle, BUSES)])
    set_rows(idle, attempts=import_queue.SUSPECT)
    assert import_queue.claim(idle.database, "busy", 10, alone=False) == []
    assert len(import_queue.claim(idle.database, "idle", 10)) == 1
    set_rows(idle, status=ItemStatus.PENDING, attempts=MAX_ATTEMPTS, leased_until=0.0)
    app = start()
    assert done(app)
    assert {(row.status.value, row.problem) for row in rows(idle)} == {("failed", "crashed")}
    assert len(staged_files(idle)) == 2  # a newer version may get on with them
    assert app.client.get("/photos").json()["total"] == 0


class FullDisk:
    """A store without room for a while: what a full disk does, without filling one."""

    def __init__(self, store: Any, refusals: int) -> None:
        self.store = store
        self.refusals = refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def save(self, sha256: str, data: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StorageFull("no room")
        self.store.save(sha256, data)


def test_a_full_disk_only_delays(start: Start, models: Models) -> None:
    def build(settings: Settings) -> Services:
        services = assemble(settings, models)
        return replace(services, store=FullDisk(services.store, refusals=3 * MAX_ATTEMPTS))

    app = start(build)
    import_id = import_queue.open_import(app.services, "test")
    import_queue.accept(app.services, import_id, [staged(app.services, DOG)])
    assert eventually(lambda: app.client.get("/health").json()["imports_paused"] == "no room")
    assert app.client.get("/health").json()["imports_waiting"] == 1
    assert done(app)
    assert eventually(lambda: app.client.get("/health").json()["imports_paused"] is None)
    assert rows(app.services)[0].status is ItemStatus.READY


class Broken:
    """The encoder itself, but it fails on pictures while `broken`."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode_images(self, images: Sequence[Any]) -> Vectors:
        if self.broken:
            raise EncoderFailed("not today")
        vectors: Vectors = self.encoder.encode_images(images)
        return vectors


def test_what_failed_for_our_fault_can_be_retried(
    start: Start, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.flows.import_worker.MAX_TRIES", 1)
    encoder = Broken(models.encoder)
    app = start(partial(assemble, models=replace(models, encoder=encoder)))
    import_id = import_queue.open_import(app.services, "test")
    encoder.broken = True
    import_queue.accept(app.services, import_id, [staged(app.services, SKIER)])
    assert done(app)
    row = rows(app.services)[0]
    assert (row.status, row.problem, row.error) == (ItemStatus.FAILED, "encoder-failed", "not today")
    encoder.broken = False
    assert import_queue.retry(app.services, import_id) == 1
    assert done(app)
    assert rows(app.services)[0].status is ItemStatus.READY
    assert staged_files(app.services) == []
    assert import_queue.retry(app.services, import_id) == 0


def test_removing_an_import_gives_up_what_waits(idle: Services) -> None:
    import_id = import_queue.open_import(idle, "test")
    import_queue.accept(idle, import_id, [staged(idle, DOG), Incoming("poem", {"caption": "words"})])
    import_queue.remove(idle, import_id)
    assert (rows(idle), staged_files(idle)) == ([], [])
    with pytest.raises(ImportNotFound):
        import_queue.accept(idle, import_id, [Incoming("late")])


def test_files_that_no_row_names_are_cleaned_up(idle: Services) -> None:
    import_id = import_queue.open_import(idle, "test")
    import_queue.accept(idle, import_id, [staged(idle, DOG)])
    wanted = staged_files(idle)
    idle.staging.save(b"its row was never committed")
    assert import_queue.clean_staging(idle) == 0  # it might be about to be
    idle.staging.close()
    assert import_queue.clean_staging(idle) == 1
    assert staged_files(idle) == wanted
