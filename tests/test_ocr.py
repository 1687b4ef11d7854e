"""What is written in photos is read by the real models, in the background, and found."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from app.dependencies import Models, assemble
from app.flows.filters import PhotoFilter
from app.flows.full_text import text_matches
from app.flows.services import Services
from app.services import ocr as ocr_module
from app.services.ocr import PpOcr
from app.services.weight_files import WeightsRefused
from app.settings import Settings
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running, picture_bytes, shared
from tests.test_live_index import eventually

Start = Callable[..., Running]
Build = Callable[[Settings], Services]


@pytest.fixture(scope="module")
def ocr() -> PpOcr:
    return PpOcr()


@pytest.fixture
def build(models: Models, ocr: PpOcr) -> Build:
    return lambda settings: replace(assemble(settings, models), ocr=ocr)


def sign(words: str = "EXIT 42", size: int = 64) -> Image.Image:
    """On a photo, not on plain paper."""
    with Image.open(PHOTOS / DOG) as photo:
        image = photo.convert("RGB").resize((960, 720))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((120, 200), words, font=font)
    draw.rectangle((left - 20, top - 20, right + 20, bottom + 20), fill="white")
    draw.text((120, 200), words, fill="black", font=font)
    return image


def upload(app: Running, image: Image.Image) -> int:
    answer = app.client.post("/upload", files={"file": ("sign.png", picture_bytes(image, "PNG"))})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def waiting(app: Running) -> int:
    return int(app.client.get("/health").json()["ocr_waiting"])


def text_of(app: Running, photo_id: int) -> str | None:
    text: str | None = app.client.get(f"/photo/{photo_id}").json()["ocr_text"]
    return text


def found(app: Running, words: str) -> list[int]:
    with app.services.database.read() as session:
        return list(text_matches(session, words, PhotoFilter(), 10))


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_sign_is_read_whichever_way_the_photo_lies(ocr: PpOcr, angle: int) -> None:
    assert "EXIT 42" in ocr.read_text(sign().rotate(angle, expand=True)).splitlines()


def test_a_photo_of_a_bus_says_its_number_and_one_of_a_dog_nothing(ocr: PpOcr) -> None:
    with Image.open(PHOTOS / BUSES) as bus, Image.open(PHOTOS / DOG) as dog:
        assert ocr.read_text(bus.convert("RGB")) == "180"
        assert ocr.read_text(dog.convert("RGB")) == ""


def test_lines_come_from_top_to_bottom(ocr: PpOcr) -> None:
    with Image.open(shared("photos/images/coco_000000107438.jpg")) as photo:
        assert ocr.read_text(photo).splitlines() == ["WELCOME TO", "ARDNAMURCHAN POINT", "VISITOR CENTRE"]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (60, 4000)])
def test_pictures_of_odd_shapes_are_read(ocr: PpOcr, size: tuple[int, int]) -> None:
    assert ocr.read_text(Image.new("RGB", size, "white")) == ""


def test_nothing_is_logged_by_the_package(
    ocr: PpOcr, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        PpOcr().read_text(Image.new("RGB", (200, 200)))
    assert capfd.readouterr() == ("", "")


def test_without_its_models_it_is_missing_and_fetches_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Models cannot be taken out of the installed package, which other tests use at the same time.
    monkeypatch.setattr(ocr_module, "package_file", lambda package, name: tmp_path / package / name)
    with pytest.raises(WeightsRefused, match="missing"):
        PpOcr()
    app = start(ocr=True)
    upload(app, sign())
    health = app.client.get("/health").json()
    assert (health["ocr_available"], health["ocr_waiting"]) == (False, 1)


def test_uploads_are_read_in_the_background_and_found_by_a_part(start: Start, build: Build) -> None:
    app = start(build)
    photo, plain = upload(app, sign()), app.upload(PIZZA)["id"]
    assert eventually(lambda: waiting(app) == 0, 30)
    assert text_of(app, photo) == "EXIT 42"
    assert text_of(app, plain) is not None
    assert found(app, "XIT") == found(app, "exit 42") == [photo]
    assert app.client.get("/health").json()["ocr_available"] is True
    assert b"recollect_ocr_queue 0.0" in app.client.get("/metrics").content


def test_what_is_there_at_the_start_is_read_the_newest_first(start: Start, build: Build) -> None:
    before = start()
    older, newer = before.upload(DOG)["id"], before.upload(PIZZA)["id"]
    assert waiting(before) == 2
    app = start(build)
    assert eventually(lambda: waiting(app) < 2, 30)
    assert text_of(app, newer) is not None
    assert eventually(lambda: text_of(app, older) == "", 30)


def test_switched_off_nothing_is_read(app: Running) -> None:
    photo = app.upload(BUSES)["id"]
    assert app.services.ocr is None
    health = app.client.get("/health").json()
    assert (health["ocr_available"], health["ocr_waiting"]) == (False, 1)
    assert text_of(app, photo) is None


def test_damaged_and_lost_originals_do_not_stop_the_others(start: Start, build: Build) -> None:
    before = start()
    good = before.upload(BUSES)["id"]
    damaged, lost = before.upload(DOG), before.upload(PIZZA)
    uploads = before.services.settings.uploads_dir
    (uploads / damaged["path"]).write_bytes(b"\xff\xd8\xff nothing")
    (uploads / lost["path"]).unlink()
    app = start(build)
    assert eventually(lambda: text_of(app, good) == "180", 30)
    assert waiting(app) == 2
    assert text_of(app, damaged["id"]) is text_of(app, lost["id"]) is None
