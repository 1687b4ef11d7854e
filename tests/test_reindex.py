"""A change of model with no outage: every search during it is answered, and answered from one space.

The models changed to have random weights (open_clip's own cannot be fetched here): they tell which space an
answer comes from, and how the change goes; what they find means nothing.
"""

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx2
import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import torch
from fastapi.testclient import TestClient
from pydantic import SecretStr
from safetensors.torch import save_file
from sqlalchemy import create_engine, text
from sqlmodel import select
from typer.testing import CliRunner, Result

from app.cli import cli
from app.database import Database
from app.dependencies import Models, assemble, build_services, prepare_successor
from app.flows import model_changes, model_mover
from app.flows.ingest import NewItem, add_item
from app.flows.model_changes import Claim
from app.flows.reindex import count_missing
from app.flows.services import Services
from app.services import model_choice
from app.services.decode import DecodedImage, ImageDecoder
from app.services.interfaces import Vectors
from app.settings import Settings
from app.tables import DEFAULT_OWNER, Embedding, ModelChange, Scope, original_path
from tests.conftest import DOG, PHOTOS, PIZZA, Running
from tests.postgres import database_url
from tests.server import Server
from tests.test_clip_encoder import architecture
from tests.test_live_index import eventually

Start = Callable[..., Running]

TINY = "recollect-test-tiny"
SMALLEST = "ViT-S-32-alt"  # of open_clip's own: a server in another process knows no other ones
EMBEDDED = "embedded/compact-1"
KEY = "a key for the tests"
ADMIN = {"X-API-Key": KEY}
ITEMS = 120  # of the library that a server is killed over
WORDS = ("a dog playing in the garden", "a pizza on a plate", "two buses", "snow")


def random_checkpoint(name: str, path: Path, seed: int, dtype: torch.dtype = torch.float32) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = open_clip.create_model(name).state_dict()
    save_file({key: tensor.to(dtype).contiguous() for key, tensor in state.items()}, path)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that loads in a moment, as RECOLLECT_MODEL names it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / f"{TINY}.json").write_text(json.dumps(architecture(width=64, layers=1)))
    open_clip.add_model_config(folder)
    return f"{TINY}/{random_checkpoint(TINY, folder / 'tiny.safetensors', seed=1)}"


@pytest.fixture(scope="session")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("smallest") / "smallest.safetensors"
    return f"{SMALLEST}/{random_checkpoint(SMALLEST, path, seed=2, dtype=torch.float16)}"


class Gate:
    """A decoder that lets so many pictures through, and holds the others until it is opened."""

    def __init__(self, decoder: ImageDecoder, let_through: int) -> None:
        self._decoder, self._left = decoder, let_through
        self.open = threading.Event()

    def decode(self, data: bytes, at_least: int | None = None) -> DecodedImage:
        self._left -= 1
        if self._left < 0:
            assert self.open.wait(60), "the test never opened the gate"
        return self._decoder.decode(data, at_least)


@dataclass
class Held:
    """prepare_successor, with a gate in the new bundle's way."""

    gate: Gate | None = None
    let_through: int = 4

    def __call__(self, services: Services, change: ModelChange) -> Services:
        successor = prepare_successor(services, change)
        self.gate = Gate(successor.decoder, self.let_through)
        return replace(successor, decoder=cast(ImageDecoder, self.gate))

    def release(self) -> None:
        assert self.gate is not None
        self.gate.open.set()


@dataclass
class Searcher:
    """Searches as fast as it can, and keeps every answer."""

    client: TestClient | httpx2.Client
    answers: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        turn = 0
        while not stop.is_set():
            words = WORDS[turn % len(WORDS)]
            turn += 1
            try:
                answer = self.client.get("/search/text", params={"q": words, "k": 10})
            except Exception as error:  # whatever it is, it is what a user would have seen
                self.failures.append(repr(error))
                continue
            if answer.status_code != 200 or not answer.json()["results"]:
                self.failures.append(answer.text)
            else:
                self.answers.append((words, answer.json()))


@contextmanager
def searching(client: TestClient | httpx2.Client, threads: int = 2) -> Iterator[Searcher]:
    searcher, stop = Searcher(client), threading.Event()
    running = [threading.Thread(target=searcher.run, args=(stop,)) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield searcher
    finally:
        stop.set()
        for thread in running:
            thread.join()


def vectors_of(database: Database, space: str) -> dict[int, Vectors]:
    with database.read() as session:
        rows = session.exec(select(Embedding).where(Embedding.space == space)).all()
    return {row.photo_id: row.vector for row in rows}


def comes_from(answer: dict[str, Any], query: Vectors, vectors: dict[int, Vectors]) -> bool:
    """Whether each result has the similarity that its photo has in this space, to half precision: in bfloat16 the
    query's vector depends a little on what is encoded beside it."""
    return all(
        hit["photo_id"] in vectors and abs(hit["similarity"] - float(vectors[hit["photo_id"]] @ query)) < 5e-3
        for hit in answer["results"]
    )


def change_of(app: Running) -> dict[str, Any]:
    answer = app.client.get("/models/change")
    assert answer.status_code == 200, answer.text
    change: dict[str, Any] = answer.json()["change"]
    return change


def ask(app: Running, model: str) -> None:
    answer = app.client.post("/models/change", json={"model": model})
    assert answer.status_code == 202, answer.text


def space_of(app: Running) -> str:
    space: str = app.client.get("/health").json()["model"]
    return space


def moved_to(app: Running, start_of_space: str) -> bool:
    return eventually(lambda: space_of(app).startswith(start_of_space), 60)


def test_searches_go_on_while_the_model_changes_and_changes_back(start: Start, tiny: str) -> None:
    held = Held()
    app = start(prepare=held, admin_key=SecretStr(KEY))
    ids = app.upload_all()
    encoders = {EMBEDDED: app.services.encoder.encode_texts(WORDS)}
    with searching(app.client) as searcher:
        ask(app, tiny)
        assert eventually(lambda: change_of(app)["done"] >= 4, 30)
        before = len(searcher.answers)
        assert eventually(lambda: len(searcher.answers) > before + 20, 30)  # while the filling stands still
        assert space_of(app) == EMBEDDED
        assert len(vectors_of(app.services.database, EMBEDDED)) == len(ids)
        held.release()
        assert moved_to(app, TINY)
        tiny_space = space_of(app)
        encoders[tiny_space] = app.services.encoder.encode_texts(WORDS)
        after = len(searcher.answers)
        assert eventually(lambda: len(searcher.answers) > after + 20, 30)
        assert app.client.post("/models/rollback").status_code == 202
        assert moved_to(app, EMBEDDED)
        back = len(searcher.answers)
        assert eventually(lambda: len(searcher.answers) > back + 20, 30)
    assert searcher.failures == []
    stored = {space: vectors_of(app.services.database, space) for space in encoders}
    seen = []
    for words, answer in searcher.answers:
        turn = WORDS.index(words)
        spaces = [space for space in encoders if comes_from(answer, encoders[space][turn], stored[space])]
        assert len(spaces) == 1, f"{answer} mixes two spaces"
        assert len(answer["results"]) == 10
        seen += spaces
    assert {EMBEDDED, tiny_space} == set(seen)


def test_what_comes_changes_and_goes_during_the_change_is_right_after_it(start: Start, tiny: str) -> None:
    held = Held()
    app = start(prepare=held, admin_key=SecretStr(KEY))
    names = sorted(path.name for path in PHOTOS.glob("*.jpg") if path.name != PIZZA)
    first = app.upload(names[0])["id"]
    for name in names[1:-4]:
        app.upload(name)
    poem = add_item(app.services, NewItem(data=None, caption="a poem about the sea")).photo.id
    for name in names[-4:]:
        app.upload(name)
    ask(app, tiny)
    assert eventually(lambda: change_of(app)["done"] == 4, 30)  # the poem is in the batch that stands still
    uploaded: list[dict[str, Any]] = []
    upload = threading.Thread(target=lambda: uploaded.append(app.upload(PIZZA)))
    upload.start()
    assert app.client.patch(f"/photo/{poem}", json={"caption": "how to bake bread"}).status_code == 200
    assert app.client.delete(f"/photo/{first}").status_code == 204
    held.release()
    upload.join(60)
    assert moved_to(app, TINY)
    stored = vectors_of(app.services.database, space_of(app))
    assert uploaded[0]["id"] in stored
    assert np.allclose(stored[poem or 0], app.services.encoder.encode_texts(["how to bake bread"])[0], atol=1e-5)
    assert eventually(lambda: set(stored) == set(app.services.index.ids().tolist()))
    assert first not in stored
    assert count_missing(app.services) == 0


def test_an_upload_that_began_before_the_switch_is_found_after_it(start: Start, tiny: str) -> None:
    app = start(admin_key=SecretStr(KEY))
    app.upload(DOG)
    with app.services.serving.use() as old:
        ask(app, tiny)
        assert moved_to(app, TINY)
        late = add_item(old, NewItem(data=(PHOTOS / PIZZA).read_bytes())).photo.id
    assert late is not None
    assert late in app.services.index
    assert late in vectors_of(app.services.database, space_of(app))


def test_lost_originals_are_counted_and_do_not_hold_the_change_up(start: Start, tiny: str) -> None:
    app = start(admin_key=SecretStr(KEY))
    lost = app.upload(DOG)
    app.upload(PIZZA)
    (app.services.settings.uploads_dir / original_path(lost["sha256"])).unlink()
    ask(app, tiny)
    assert moved_to(app, TINY)
    change = change_of(app)
    assert (change["state"], change["total"], change["done"], change["skipped"]) == ("done", 2, 1, 1)


def test_a_missing_uploads_folder_does_not_empty_the_searches(start: Start, tiny: str, tmp_path: Path) -> None:
    app = start(admin_key=SecretStr(KEY))
    app.upload_all()
    (tmp_path / "uploads").rename(tmp_path / "elsewhere")
    ask(app, tiny)
    assert eventually(lambda: "16 of 16 originals" in (change_of(app)["error"] or ""), 30)
    assert space_of(app) == EMBEDDED
    assert app.search(WORDS[0])


def test_a_change_that_is_given_up_leaves_everything_as_it_was(start: Start, tiny: str) -> None:
    held = Held()
    app = start(prepare=held, admin_key=SecretStr(KEY))
    app.upload_all()
    ask(app, tiny)
    assert eventually(lambda: change_of(app)["done"] >= 4, 30)
    assert app.client.get("/health").json()["model_change"]["state"] == "pending"
    assert app.client.post("/models/rollback").json()["state"] == "cancelled"
    held.release()
    assert eventually(lambda: app.services.serving.next is None, 30)
    health = app.client.get("/health").json()
    assert (health["status"], health["model"], health["model_change"]) == ("healthy", EMBEDDED, None)
    assert app.search(WORDS[0])
    refused = app.client.post("/models/rollback")
    assert (refused.status_code, refused.json()["type"]) == (400, "invalid-request")


def test_weights_that_are_gone_leave_the_old_model_serving_and_health_says_so(
    start: Start, tiny: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(tiny.partition("/")[2]).read_bytes())
    app = start(admin_key=SecretStr(KEY))
    app.upload(DOG)
    model_changes.request_change(app.services.database, f"{TINY}/{tmp_path}/gone.safetensors")
    assert eventually(lambda: bool((app.client.get("/health").json()["model_change"] or {}).get("error")), 30)
    health = app.client.get("/health").json()
    assert (health["status"], health["model"]) == ("healthy", EMBEDDED)
    assert "gone.safetensors" in health["model_change"]["error"]
    assert app.search(WORDS[0])
    ask(app, f"{TINY}/{copy}")  # a new wish does not wait for the old one's next try
    assert moved_to(app, TINY)


def test_only_an_administrator_changes_models(start: Start, tiny: str) -> None:
    _, everyday = start().services.access.make("everyday", DEFAULT_OWNER, [Scope.READ, Scope.WRITE])
    app = start(admin_key=SecretStr(KEY))
    for key, expected in ((everyday, (403, "not-allowed")), ("no", (401, "key-needed"))):
        for answer in (
            app.client.get("/models/change", headers={"X-API-Key": key}),
            app.client.post("/models/change", json={"model": tiny}, headers={"X-API-Key": key}),
            app.client.post("/models/rollback", headers={"X-API-Key": key}),
        ):
            assert (answer.status_code, answer.json()["type"]) == expected
            assert KEY not in answer.text
    for model in ("NoSuchModel/weights", "ViT-B-32/no-such-weights", "nonsense"):
        answer = app.client.post("/models/change", json={"model": model})
        assert (answer.status_code, answer.json()["type"]) == (400, "invalid-request")


def test_two_processes_do_not_do_the_same_work(settings: Settings) -> None:
    database = Database(settings.database_url)
    change = model_changes.request_change(database, "ViT-B-32/laion2b_s34b_b79k")
    one, other = Claim.of(database, change), Claim.of(database, change)
    assert one.take()
    assert not other.take()
    with one:
        one.done = 7
        assert eventually(lambda: model_changes.by_id(database, one.change_id).done == 7)
    assert other.take()  # released
    assert not one.finish()
    silent = time.time() - model_changes.LEASE_S - 1
    with database.write() as session:
        session.get_one(ModelChange, one.change_id).heartbeat = silent
    third = Claim.of(database, change)
    assert third.take()  # the other one has crashed
    with third:
        model_changes.roll_back(database)
        assert third.lost.wait(10)
    database.dispose()


def restarted(start: Start, **changes: Any) -> Running:
    """The library as a new process would open it."""
    return start(build=build_services, whisper_model="none", admin_key=SecretStr(KEY), **changes)


def test_a_changed_setting_moves_the_library_and_an_unchanged_one_does_not_undo_a_request(
    start: Start, tiny: str
) -> None:
    app = restarted(start)
    app.upload_all()
    app.client.__exit__(None, None, None)
    again = restarted(start, model=tiny)
    assert space_of(again) == EMBEDDED  # not an empty index of the new space
    assert again.search(WORDS[0])
    assert moved_to(again, TINY)
    assert again.client.post("/models/rollback").status_code == 202
    assert moved_to(again, EMBEDDED)
    again.client.__exit__(None, None, None)
    third = restarted(start, model=tiny)
    assert space_of(third) == EMBEDDED
    time.sleep(1.5)  # longer than the look-out for changes takes
    assert space_of(third) == EMBEDDED
    assert "asked for" in third.client.get("/health").json()["model_choice"]


def test_a_library_filled_before_any_server_ran_keeps_its_model_until_the_new_one_is_ready(
    start: Start, tiny: str, models: Models, settings: Settings
) -> None:
    services = assemble(settings, models)
    add_item(services, NewItem(data=(PHOTOS / DOG).read_bytes()))
    services.close()
    app = restarted(start, model=tiny)
    assert space_of(app) == EMBEDDED
    assert moved_to(app, TINY)
    assert len(app.search(WORDS[0])) == 1


def test_a_checkpoint_that_was_exchanged_is_not_searched_with(start: Start, tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(Path(tiny.partition("/")[2]).read_bytes())
    app = restarted(start)
    app.upload(DOG)
    ask(app, f"{TINY}/{path}")
    assert moved_to(app, TINY)
    app.client.__exit__(None, None, None)
    random_checkpoint(TINY, path, seed=9)
    again = restarted(start)
    health = again.client.get("/health").json()
    assert health["model"] == EMBEDDED
    assert "cannot be loaded" in health["model_choice"]
    assert again.search(WORDS[0])


@pytest.fixture
def recommended(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A stand-in for the recommended CLIP, which cannot be fetched here; the call is its download."""
    source = Path(tiny.partition("/")[2])
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    name, repository = f"{TINY}/recommended", "recollect/test"
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, {"recommended": {"hf_hub": f"{repository}/"}})
    monkeypatch.setattr(model_choice, "RECOMMENDED", name)
    monkeypatch.setattr(model_choice, "RECOMMENDED_REPOSITORY", repository)
    monkeypatch.setattr(model_choice, "PINNED_SHA256", {name: sha256})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--recollect--test" / "snapshots" / ("c" * 40)

    def download() -> None:
        snapshot.mkdir(parents=True)
        (snapshot.parent.parent / "refs").mkdir()
        (snapshot.parent.parent / "refs" / "main").write_text("c" * 40)
        (snapshot / model_choice.RECOMMENDED_FILE).symlink_to(source)

    return download


@pytest.mark.stress
def test_auto_starts_on_the_embedded_model_and_moves_over_once_clip_is_there(
    start: Start, recommended: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_mover, "AUTO_POLL_S", 0.2)
    app = restarted(start, model="auto")
    assert space_of(app) == EMBEDDED
    app.upload_all()
    with searching(app.client) as searcher:
        recommended()
        assert moved_to(app, f"{TINY}/recommended")
        assert app.client.post("/models/rollback").status_code == 202
        assert moved_to(app, EMBEDDED)
        time.sleep(1.5)  # `auto` must not undo what was asked for
        assert space_of(app) == EMBEDDED
    assert searcher.failures == []


def embedded_rows(folder: Path, space_like: str) -> set[tuple[int, int]]:
    """(row, photo) of each vector in a space, read as another program would."""
    engine = create_engine(database_url(folder))
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT id, photo_id FROM embeddings WHERE space LIKE :space"), {"space": space_like}
        )
        found = {(int(row[0]), int(row[1])) for row in rows}
    engine.dispose()
    return found


def items_file(folder: Path, count: int) -> Path:
    lines = [json.dumps({"id": f"item {i}", "caption": f"note number {i} about things"}) for i in range(count)]
    (folder / "items.jsonl").write_text("\n".join(lines))
    return folder / "items.jsonl"


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_a_server_killed_in_the_middle_goes_on_where_it_was(tmp_path: Path, smallest: str) -> None:
    server = Server(tmp_path, RECOLLECT_WHISPER_MODEL="none", RECOLLECT_ADMIN_KEY=KEY)
    imported = server.run("import", str(items_file(tmp_path, ITEMS)))
    assert imported.returncode == 0, imported.stderr
    new = f"{SMALLEST}/%"
    try:
        server.start()
        with httpx2.Client(base_url=server.url, timeout=60, headers=ADMIN) as client:
            assert client.post("/models/change", json={"model": smallest}).status_code == 202
            assert eventually(lambda: len(embedded_rows(tmp_path, new)) >= 8, 120), server.log()
        server.stop(signal.SIGKILL)
        at_crash = embedded_rows(tmp_path, new)
        assert 8 <= len(at_crash) < ITEMS
        server.start()
        with (
            httpx2.Client(base_url=server.url, timeout=60, headers=ADMIN) as client,
            searching(client, threads=1) as searcher,
        ):
            assert client.get("/health").json()["model"] == EMBEDDED
            assert eventually(lambda: client.get("/health").json()["model"].startswith(SMALLEST), 180), (
                server.log()
            )
            assert client.get("/health").json()["image_count"] == ITEMS
        assert searcher.failures == []
        assert searcher.answers
        assert at_crash < embedded_rows(tmp_path, new)  # nothing was done twice
        assert len(embedded_rows(tmp_path, new)) == ITEMS
        back = server.run("reindex", "--rollback")
        assert back.returncode == 0, back.stderr
        assert back.stdout == f"{ITEMS} of {ITEMS} photos have a vector in embedded/compact-1.\n"
        with httpx2.Client(base_url=server.url, headers=ADMIN) as client:
            assert eventually(lambda: client.get("/health").json()["model"] == EMBEDDED, 30), server.log()
    finally:
        server.stop()


def test_the_command_line_changes_the_model_without_a_server(
    tmp_path: Path, smallest: str, recollect: Callable[..., Result]
) -> None:
    assert recollect("import", PHOTOS).exit_code == 0
    changed = recollect("reindex", "--model", smallest)
    assert changed.exit_code == 0, changed.stderr
    assert changed.stdout.startswith("16 of 16 photos have a vector in ViT-S-32-alt/sha256-")
    assert len(embedded_rows(tmp_path, "embedded/%")) == 16
    back = recollect("reindex", "--rollback")
    assert back.stdout == "16 of 16 photos have a vector in embedded/compact-1.\n", back.stderr
    assert recollect("reindex", "--forget").stdout == "16 vectors of models not in use deleted.\n"
    assert embedded_rows(tmp_path, "%") == embedded_rows(tmp_path, "embedded/%")
    found = recollect("search", "a dog playing in the garden", "-k", "1")
    assert DOG in found.stdout, found.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--model", "NoSuchModel/weights"], 1, "NoSuchModel"),
        (["--model", f"{SMALLEST}/nowhere/gone.safetensors"], 1, "gone.safetensors"),
        (["--rollback"], 1, "no earlier model"),
        (["--rollback", "--forget"], 2, "three different things"),
    ],
)
def test_mistakes_at_the_command_line_are_told_plainly(
    arguments: list[str], status: int, says: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOLLECT_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("RECOLLECT_MODEL", "embedded")
    done = CliRunner().invoke(cli, ["reindex", *arguments])
    assert (done.exit_code, says in done.stderr) == (status, True), done.output
