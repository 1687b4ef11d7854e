"""Heat maps: the hottest place is where the thing is; and what the route answers."""

import io
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.flows import heat_maps
from app.flows.ingest import NewItem, add_item
from app.services.heat_map import heat_of, windows
from tests.conftest import BUSES, DOG, PHOTOS, SKIER, Running, picture_bytes

WIDTH, HEIGHT = 640, 480
QUARTERS = {"left above": (0, 0), "right above": (1, 0), "left below": (0, 1), "right below": (1, 1)}


def composed(thing: str, onto: str, quarter: tuple[int, int]) -> bytes:
    """A photo, small, in a quarter of another one."""
    with Image.open(PHOTOS / onto) as back, Image.open(PHOTOS / thing) as front:
        canvas, pasted = back.convert("RGB").resize((WIDTH, HEIGHT)), front.convert("RGB")
    pasted.thumbnail((WIDTH // 3, HEIGHT // 3))
    column, row = quarter
    canvas.paste(pasted, (WIDTH // 16 + column * WIDTH // 2, HEIGHT // 12 + row * HEIGHT // 2))
    return picture_bytes(canvas, quality=95)


def heat_map(app: Running, photo_id: int, q: str, **params: Any) -> Image.Image:
    answer = app.client.get(f"/photo/{photo_id}/heatmap", params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(answer.content))


def opacity(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image.getchannel("A"), np.float64)


@pytest.mark.parametrize("quarter", QUARTERS.values(), ids=QUARTERS)
def test_the_hottest_quarter_is_where_the_thing_is(app: Running, quarter: tuple[int, int]) -> None:
    photo = app.client.post("/upload", files={"file": ("a.jpg", composed(DOG, SKIER, quarter))}).json()
    heat = opacity(heat_map(app, photo["id"], "a dog", size=320, overlay=True))
    rows, columns = (side // 2 for side in heat.shape)
    found = {
        (column, row): heat[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns].mean()
        for column, row in QUARTERS.values()
    }
    assert max(found, key=lambda place: found[place]) == quarter
    hottest_row, hottest_column = np.unravel_index(heat.argmax(), heat.shape)
    assert (hottest_column >= columns, hottest_row >= rows) == quarter


def test_other_words_are_seen_elsewhere(app: Running) -> None:
    photo = app.upload("coco_000000111076.jpg")  # a toilet on the left, a sink on the right
    seen = [opacity(heat_map(app, photo["id"], words, overlay=True)) for words in ("a toilet", "a sink")]
    toilet, sink = (np.average(np.linspace(0, 1, heat.shape[1]), weights=heat.sum(axis=0)) for heat in seen)
    assert toilet < 0.5 < sink


def test_the_photo_is_grey_where_it_is_cold_and_colourful_where_it_is_hot(app: Running) -> None:
    photo = app.upload(DOG)
    under = heat_map(app, photo["id"], "a dog")
    colours = heat_map(app, photo["id"], "a dog", overlay=True)
    assert (under.mode, colours.mode, under.size) == ("RGB", "RGBA", colours.size)
    assert max(under.size) <= 512
    spread = np.ptp(np.asarray(under, int), axis=2)
    alpha = opacity(colours)
    assert spread[alpha == 0].max() == 0
    assert spread[alpha == alpha.max()].min() > 50


def test_a_client_that_has_it_is_sent_nothing(app: Running) -> None:
    photo_id = app.upload(BUSES)["id"]
    address = f"/photo/{photo_id}/heatmap"
    first = app.client.get(address, params={"q": "a bus", "size": 128})
    assert Image.open(io.BytesIO(first.content)).size == (128, 96)
    assert first.headers["cache-control"].startswith("private")
    etag = first.headers["etag"]
    again = app.client.get(address, params={"q": "a bus", "size": 128}, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    others: list[dict[str, Any]] = [{"size": 160}, {"q": "a dog"}, {"overlay": True}]
    for other in others:
        params = {"q": "a bus", "size": 128, **other}
        assert app.client.get(address, params=params, headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize(
    ("params", "status", "problem"),
    [
        ({"q": " "}, 400, "invalid-request"),
        ({"q": "x" * 1001}, 400, "invalid-request"),
        ({}, 422, "validation-error"),
        ({"q": "a dog", "size": 63}, 422, "validation-error"),
        ({"q": "a dog", "size": 1281}, 422, "validation-error"),
    ],
)
def test_what_makes_no_sense_is_refused(app: Running, params: dict[str, Any], status: int, problem: str) -> None:
    answer = app.client.get(f"/photo/{app.upload(DOG)['id']}/heatmap", params=params)
    assert (answer.status_code, answer.json()["type"]) == (status, problem)


def test_there_is_none_of_what_has_no_picture(app: Running) -> None:
    poem = add_item(app.services, NewItem(None, caption="a poem about a dog")).photo.id
    for photo_id, problem in ((poem, "file-not-found"), (4711, "photo-not-found")):
        answer = app.client.get(f"/photo/{photo_id}/heatmap", params={"q": "a dog"})
        assert (answer.status_code, answer.json()["type"]) == (404, problem)


def test_only_a_few_are_drawn_at_once(app: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The turns are taken away, for to keep the encoder busy long enough would take seconds."""
    photo_id = app.upload(DOG)["id"]
    monkeypatch.setattr(heat_maps, "WAIT_S", 0.01)
    slots: BoundedSemaphore = app.services.heat_map_slots
    taken = [slots.acquire(blocking=False) for _ in range(heat_maps.AT_ONCE)]
    answer = app.client.get(f"/photo/{photo_id}/heatmap", params={"q": "a dog"})
    assert (answer.status_code, answer.json()["type"], all(taken)) == (503, "overloaded", True)
    for _ in taken:
        slots.release()
    assert app.client.get(f"/photo/{photo_id}/heatmap", params={"q": "a dog"}).status_code == 200


def test_heat_is_the_mean_of_the_windows_over_a_cell() -> None:
    cosines = np.full((6, 6), 0.2, np.float32)
    cosines[0, 0] = 0.6
    heat = heat_of(cosines.ravel())
    assert heat[:2, :2].tolist() == [[1, 1], [1, 1]]  # no other window reaches here
    assert heat[2, 2] == pytest.approx(0.25)  # four do here
    assert heat[0, 2] == pytest.approx(0.5)
    assert heat[5:, :].max() == heat[:, 5:].max() == pytest.approx(0, abs=1e-6)
    assert heat_of(np.full(36, 0.3, np.float32)).max() == 0


@pytest.mark.parametrize("size", [(640, 480), (7, 500), (2, 2)])
def test_windows_cover_every_pixel_of_any_picture(size: tuple[int, int]) -> None:
    covered = np.zeros(size[::-1], int)
    for left, top, right, bottom in windows(*size):
        assert left < right <= size[0]
        assert top < bottom <= size[1]
        covered[top:bottom, left:right] += 1
    assert covered.min() > 0
