"""A process without a model: other servers, over real sockets, encode for it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from pydantic import SecretStr

from app.database import Database
from app.dependencies import Models, assemble, remote_models
from app.errors import EncoderFailed, EncoderUnreachable
from app.main import create_app
from app.services.decode import decode_image
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import Vectors
from app.services.remote_encoder import SPACE_HEADER, VECTORS, RemoteEncoder
from app.services.weight_files import WeightsRefused
from app.settings import Settings
from app.tables import ChangeState, ModelChange
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running, picture_bytes
from tests.server import free_port

KEY = "a-key-for-encoders-only"
ALIKE = 0.9999


@contextmanager
def encoding(folder: Path, models: Models, port: int = 0, **changes: object) -> Iterator[str]:
    """The address of a server with the models; at the end of the block nothing listens there any more."""
    folder.mkdir(exist_ok=True)
    settings = Settings(
        database_url=f"sqlite:///{folder}/recollect.db",
        uploads_dir=folder / "uploads",
        model="embedded",
        ocr=False,
    ).model_copy(update=changes)
    app = create_app(settings, partial(assemble, models=models))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def address(tmp_path: Path, models: Models) -> Iterator[str]:
    with encoding(tmp_path / "encoder", models) as url:
        yield url


@pytest.fixture
def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def photos() -> list[Image.Image]:
    return [decode_image((PHOTOS / name).read_bytes(), 10**8, at_least=520).image for name in (BUSES, DOG, PIZZA)]


def remote(settings: Settings) -> Callable[[Settings], object]:
    return lambda changed: assemble(changed, remote_models(changed, voice=False))


def cosines(one: Vectors, other: Vectors) -> Vectors:
    found: Vectors = (one * other).sum(axis=1)
    return found


def test_vectors_are_those_of_the_model(address: str, encoder: EmbeddedEncoder, photos: list[Image.Image]) -> None:
    there = RemoteEncoder([address])
    texts = ["a dog", "zwei Busse 🚌", "a dog"] * 30  # more than one request takes
    pictures = photos * 7
    assert (there.space, there.dim, there.image_size) == (encoder.space, encoder.dim, encoder.image_size)
    assert there.logit_scale == encoder.logit_scale
    images = there.encode_images(pictures)
    assert images.dtype == np.float32
    assert cosines(images, encoder.encode_images(pictures)).min() > ALIKE
    np.testing.assert_allclose(there.encode_images([photos[1]]), encoder.encode_images([photos[1]]), atol=1e-6)
    assert cosines(there.encode_texts(texts), encoder.encode_texts(texts)).min() > ALIKE
    assert there.encode_images([]).shape == there.encode_texts([]).shape == (0, encoder.dim)
    there.close()


def test_a_batch_is_shared_out_and_what_one_does_not_take_another_does(
    tmp_path: Path, models: Models, nowhere: str, photos: list[Image.Image]
) -> None:
    with encoding(tmp_path / "one", models) as one, encoding(tmp_path / "two", models) as two:
        there = RemoteEncoder([one, two, nowhere])
        vectors = there.encode_images(photos * 4)
        assert cosines(vectors, models.encoder.encode_images(photos * 4)).min() > ALIKE
        states = there.states()
        assert (states[one], states[two]) == ("ok", "ok")
        assert "refused" in states[nowhere]
    with pytest.raises(EncoderUnreachable):
        there.encode_texts(["a dog"])
    there.close()


def test_a_whole_library_without_a_model(address: str, start: Callable[..., Running], settings: Settings) -> None:
    app = start(remote(settings), encoder_url=address)
    ids = app.upload_all()
    assert app.search("two city buses on a wet street")[0]["photo_id"] == ids[BUSES]
    health = app.client.get("/health").json()
    assert health["encoders"] == {address: "ok"}
    assert health["model"] == "embedded/compact-1"
    assert "ENCODER_URL" in health["model_choice"]


def test_an_encoder_that_is_gone_for_a_while(
    tmp_path: Path, models: Models, start: Callable[..., Running], settings: Settings
) -> None:
    """Requests are told to come again, nothing of an upload stays, and imports wait."""
    port = free_port()
    with encoding(tmp_path / "encoder", models, port) as address:
        app = start(remote(settings), encoder_url=address, keep_warm_s=0)
        known = app.upload(DOG)["id"]
    picture = (PHOTOS / BUSES).read_bytes()
    answer = app.client.post("/upload", files={"file": (BUSES, picture)})
    assert (answer.status_code, answer.json()["type"]) == (503, "encoder-unreachable")
    assert "Retry-After" in answer.headers
    assert app.client.get("/search/text", params={"q": "something new"}).status_code == 503
    assert [photo["id"] for photo in app.client.get("/photos").json()["photos"]] == [known]
    assert (
        len([path for path in settings.uploads_dir.rglob("??/*") if path.is_file() and "." not in path.name]) == 1
    )
    health = app.client.get("/health")
    assert health.status_code == 503
    assert "no encoder answers" in health.json()["problems"]
    import_id = app.client.post("/imports", files=[("files", (BUSES, picture))]).json()["id"]
    with encoding(tmp_path / "encoder", models, port):
        deadline = time.monotonic() + 60
        while app.client.get(f"/imports/{import_id}").json()["ready"] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert app.client.get("/health").json()["encoders"] == {address: "ok"}


def test_a_start_waits_for_its_encoder_but_not_for_ever(tmp_path: Path, models: Models, nowhere: str) -> None:
    with pytest.raises(EncoderUnreachable, match=r"within 0.2 s: .*refused"):
        RemoteEncoder([nowhere], wait_s=0.2)
    found: list[RemoteEncoder] = []
    waiting = threading.Thread(target=lambda: found.append(RemoteEncoder([nowhere], wait_s=60)))
    waiting.start()
    with encoding(tmp_path / "encoder", models, int(nowhere.rpartition(":")[2])):
        waiting.join(60)
        assert found[0].space == models.encoder.space
        found[0].close()


def test_the_key(tmp_path: Path, models: Models) -> None:
    with encoding(tmp_path / "encoder", models, admin_key=SecretStr(KEY)) as address:
        with pytest.raises(EncoderFailed, match="answers 401: see RECOLLECT_ENCODER_KEY"):
            RemoteEncoder([address])
        there = RemoteEncoder([address], key=KEY)
        assert there.encode_texts(["a dog"]).shape == (1, there.dim)
        there.close()


def test_a_model_that_is_not_the_librarys_is_refused(address: str, settings: Settings) -> None:
    database = Database(settings.database_url)
    with database.write() as session:
        session.add(ModelChange(model="other", space="other/model", origin="other", state=ChangeState.DONE))
    database.dispose()
    with pytest.raises(
        WeightsRefused, match=r"has embedded/compact-1, and the library has vectors of other/model"
    ):
        remote_models(settings.model_copy(update={"encoder_url": address}), voice=False)


def test_an_encoder_that_got_another_model_is_passed_over(address: str) -> None:
    there = RemoteEncoder([address])
    there._space = "other/model"  # as if the server had been started anew with the present one
    with pytest.raises(EncoderUnreachable):
        there.encode_texts(["a dog"])
    assert there.states() == {address: "has the model embedded/compact-1, not other/model"}
    there.close()


STARTED = """
import sys, time
begun = time.monotonic()
from app.main import create_app
from app.dependencies import build_services
from app.flows.warm_up import warm_up
from app.settings import Settings
services = build_services(Settings())
create_app(services.settings, lambda _: services)
warm_up(services)
print("torch" in sys.modules, time.monotonic() - begun)
services.close()
"""


def test_without_a_model_torch_is_not_even_imported(address: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "RECOLLECT_ENCODER_URL": address,
        "RECOLLECT_WHISPER_MODEL": "none",
        "RECOLLECT_OCR": "false",
        "RECOLLECT_UPLOADS_DIR": str(tmp_path / "uploads"),
        "RECOLLECT_DATABASE_URL": f"sqlite:///{tmp_path}/recollect.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", STARTED], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "False"


def test_several_pictures_in_one_request(app: Running, photos: list[Image.Image]) -> None:
    files = [("files", ("a.png", picture_bytes(photo, "PNG"), "image/png")) for photo in photos]
    told = app.client.post("/embed-images", files=files).json()
    binary = app.client.post("/embed-images", files=files, headers={"Accept": VECTORS})
    assert binary.headers["Content-Type"] == VECTORS
    assert binary.headers[SPACE_HEADER] == told["model"] == app.services.encoder.space
    vectors = np.frombuffer(binary.content, "<f4").reshape(len(files), -1)
    np.testing.assert_allclose(vectors, told["embeddings"], atol=1e-6)
    single = app.client.post("/embed-image", files={"file": files[0][1]}).json()["embedding"]
    np.testing.assert_allclose(vectors[0], single, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "status"), [([], 422), (["a.png"] * 65, 422), (["a.png", "broken"], 415)], ids=["0", "65", "broken"]
)
def test_requests_that_are_refused(app: Running, names: list[str], status: int) -> None:
    picture = picture_bytes(Image.new("RGB", (8, 8)), "PNG")
    files = [("files", (name, picture if name == "a.png" else b"no picture", "image/png")) for name in names]
    answer = app.client.post("/embed-images", files=files or None)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
