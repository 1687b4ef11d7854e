"""A new database and uploads folder for each app; the real models, loaded once for all tests."""

import os

# Before torch is imported. Tests and the servers that they start share the cores; threads that wait must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import csv
import io
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner, Result

from app.cli import cli
from app.dependencies import Models, assemble, load_models, prepare_successor
from app.flows.model_mover import Prepare
from app.flows.services import Services
from app.main import create_app
from app.postgres import is_postgres
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import Vectors
from app.services.model_choice import ModelChoice, choose_model
from app.services.packed_layers import has_kernels
from app.settings import Settings
from tests import postgres
from tests.bucket import BucketServer
from tests.postgres import Cluster

DATA = Path(__file__).parent / "data"
PHOTOS = Path(__file__).parent.parent / "app" / "samples"
SHARED = Path(__file__).parent.parent.parent / "shared"

BUSES = "coco_000000423617.jpg"
DOG = "coco_000000017029.jpg"
PIZZA = "coco_000000121647.jpg"
SKIER = "coco_000000000785.jpg"

# In which a model can multiply here, whatever it would choose by itself.
DTYPES = [
    torch.float32,
    pytest.param(
        torch.bfloat16,
        marks=pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no bfloat16 on this processor"),
    ),
]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RECOLLECT_{name.upper()}", raising=False)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The embedded encoder and Whisper tiny.en; if their weights are missing the suite fails, it does not skip."""
    settings = Settings(model="embedded", uploads_dir=tmp_path_factory.mktemp("models"))
    loaded = load_models(settings, choose_model(settings.model))
    assert loaded.transcriber is not None, "Whisper could not be loaded"
    return loaded


@pytest.fixture(scope="session")
def encoder(models: Models) -> EmbeddedEncoder:
    assert isinstance(models.encoder, EmbeddedEncoder)
    return models.encoder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Cluster]:
    with postgres.server() as started:
        yield started


@pytest.fixture(autouse=postgres.ON_POSTGRES)
def on_postgres(request: pytest.FixtureRequest, postgres_server: Cluster) -> Iterator[None]:
    """This test's databases are in PostgreSQL, and gone afterwards; RECOLLECT_TEST_DATABASE=postgres: of all."""
    if reason := request.node.get_closest_marker("sqlite"):
        pytest.skip(f"SQLite only: {reason.args[0]}")
    yield
    postgres.drop_all()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Of this test's database."""
    return postgres.database_url(tmp_path)


def settings_in(folder: Path, database_url: str = "") -> Settings:
    return Settings(
        database_url=database_url or f"sqlite:///{folder}/recollect.db",
        uploads_dir=folder / "uploads",
        index_poll_s=0.1,
        model="embedded",
        ocr=False,  # a second for each photo; its own tests switch it on
    )


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_in(tmp_path, database_url)


@dataclass(frozen=True)
class Running:
    """An app that has started, and a client for it."""

    client: TestClient

    @property
    def services(self) -> Services:
        """Those that answer requests now."""
        services: Services = self.client.app.state.serving.current  # type: ignore[attr-defined]
        return services

    def upload(self, name: str, **fields: str) -> dict[str, Any]:
        """One of the test photos; answers its JSON, whether it was new or known."""
        answer = self.client.post("/upload", files={"file": (name, (PHOTOS / name).read_bytes())}, data=fields)
        assert answer.status_code in (200, 201), answer.text
        body: dict[str, Any] = answer.json()
        return body

    def upload_all(self) -> dict[str, int]:
        """All test photos; their ids by file name."""
        return {path.name: self.upload(path.name)["id"] for path in sorted(PHOTOS.glob("*.jpg"))}

    def search(self, words: str, k: int = 10, **params: Any) -> list[dict[str, Any]]:
        answer = self.client.get("/search/text", params={"q": words, "k": k, **params})
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results


def app_client(settings: Settings, build: Callable[[Settings], Services], prepare: Prepare) -> TestClient:
    return TestClient(
        create_app(settings, build, prepare),
        base_url="http://127.0.0.1:8000",
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    )


@pytest.fixture
def start(models: Models, settings: Settings) -> Iterator[Callable[..., Running]]:
    """start(max_upload_bytes=…) runs an app on this test's database; again, it is the same library restarted."""
    with ExitStack() as stack:

        def start_app(
            build: Callable[[Settings], Services] | None = None,
            prepare: Prepare = prepare_successor,
            **changes: Any,
        ) -> Running:
            changed = settings.model_copy(update=changes)
            build = build or partial(assemble, models=models)
            client = app_client(changed, build, prepare)
            if changed.admin_key:
                client.headers["X-API-Key"] = changed.admin_key.get_secret_value()
            stack.enter_context(client)
            # FastAPI builds its routes at the first request, with warnings off for the whole process: two apps
            # that did so at once, each in its thread, would switch them on for each other.
            client.get("/health")
            return Running(client)

        yield start_app


@pytest.fixture
def app(start: Callable[..., Running]) -> Running:
    return start()


@pytest.fixture(scope="session")
def uploaded(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library that uploads of all test photos made; each test has a copy."""
    folder = tmp_path_factory.mktemp("uploaded")
    settings = settings_in(folder)
    with app_client(settings, partial(assemble, models=models), prepare_successor) as client:
        Running(client).upload_all()
    return folder


@pytest.fixture
def library(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, start: Callable[..., Running]
) -> Running:
    """An app with all test photos."""
    if is_postgres(settings.database_url):
        app = start()
        app.upload_all()
        return app
    shutil.copytree(request.getfixturevalue("uploaded"), tmp_path, dirs_exist_ok=True)
    return start()


@pytest.fixture
def recollect(
    settings: Settings, models: Models, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Result]]:
    """recollect("check", "--fast") runs a command on this test's library, in this process.

    Further settings are given by their names in the environment.
    """

    # Not a stand-in: the embedded model is loaded once for all tests, and three seconds faster for each command.
    def load(settings: Settings, choice: ModelChoice, *, voice: bool = True) -> Models:
        return models if choice.space == models.choice.space else load_models(settings, choice, voice=voice)

    monkeypatch.setattr("app.dependencies.load_models", load)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: str | Path, **changes: Any) -> Result:
        environment = {name: changes.pop(name) for name in list(changes) if name.isupper()}
        changed = settings.model_copy(update=changes)
        fields = ("database_url", "uploads_dir", "model")
        environment = {f"RECOLLECT_{name.upper()}": str(getattr(changed, name)) for name in fields} | environment
        return CliRunner().invoke(cli, [str(argument) for argument in arguments], env=environment)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """An S3-compatible server of its own, and AWS_… pointing at it."""
    for module in ("obstore", "localbucket"):
        pytest.importorskip(module)
    with BucketServer(tmp_path / "buckets") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def captions() -> dict[str, list[str]]:
    """Five captions for each test photo."""
    found: dict[str, list[str]] = {}
    with (PHOTOS / "captions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["image_filename"], []).append(row["caption"])
    return found


def picture_bytes(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def assert_same(vectors: Vectors, others: Vectors) -> None:
    """Unit vectors, but for rounding: in half precision they depend a little on what is encoded beside them."""
    assert (vectors * others).sum(axis=1).min() > 0.9999


def shared(path: str) -> Path:
    """A file or folder of the shared test material; the test is skipped where there is none."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs ../shared/{path}, which lies beside the project where it is developed")
    return found
