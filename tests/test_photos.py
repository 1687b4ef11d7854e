"""The library: listing, reading, changing and deleting photos."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.services.embedded_encoder import EmbeddedEncoder
from app.tables import original_path
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running, picture_bytes


def test_pages_have_no_repeats_and_no_holes_while_photos_arrive(library: Running) -> None:
    seen: list[int] = []
    cursor = None
    for page in range(10):
        params = {"limit": 5} if cursor is None else {"limit": 5, "cursor": cursor}
        body = library.client.get("/photos", params=params).json()
        seen += [photo["id"] for photo in body["photos"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
        library.client.post(
            "/upload", files={"file": ("new.png", picture_bytes(Image.new("RGB", (9, 9 + page)), "PNG"))}
        )
    assert seen == list(range(16, 0, -1))


def test_skip_and_limit_work_too(library: Running) -> None:
    body = library.client.get("/photos", params={"skip": 14, "limit": 5}).json()
    assert [photo["id"] for photo in body["photos"]] == [2, 1]
    assert (body["total"], body["next_cursor"]) == (16, None)


def test_pages_by_date_taken_have_no_holes_and_no_repeats(app: Running) -> None:
    """Some have the same date, some have none; others come in between two pages."""
    dates = ["2019-07-01", None, "2021-01-01T10:00:00+02:00", "2019-07-01", "2019-07-01", None, "2005-05-05"]

    def add(i: int, date: str | None) -> int:
        form = {"caption": f"poem {i}"} | ({"taken_at": date} if date else {})
        picture = picture_bytes(Image.new("RGB", (8, 8 + i)), "PNG")
        sent = app.client.post("/upload", files={"file": (f"{i}.png", picture)}, data=form)
        return int(sent.json()["id"])

    ids = [add(i, date) for i, date in enumerate(dates)]
    seen: list[int] = []
    params: dict[str, Any] = {"sort": "taken", "limit": 2}
    while True:
        body = app.client.get("/photos", params=params).json()
        seen += [photo["id"] for photo in body["photos"]]
        if body["next_cursor"] is None:
            break
        params["cursor"] = body["next_cursor"]
        add(50 + len(seen), "2030-01-01")
    assert seen == [ids[i] for i in (2, 4, 3, 0, 6, 5, 1)]


def test_facets_count_what_the_filters_leave(app: Running) -> None:
    app.upload(DOG, tags="pets,ball", category="animals", taken_at="2019-07-01", latitude="53.5", longitude="8.5")
    app.upload(PIZZA, tags="ball", category="animals", taken_at="2020-07-01")
    app.upload(BUSES, tags="street")
    every = app.client.get("/facets").json()
    assert every["total"] == 3
    assert every["tags"] == [{"value": tag, "count": n} for tag, n in (("ball", 2), ("pets", 1), ("street", 1))]
    assert every["year"] == [{"value": "2019", "count": 1}, {"value": "2020", "count": 1}]
    assert every["has_location"] == [{"value": "false", "count": 2}, {"value": "true", "count": 1}]
    assert sum(item["count"] for item in every["orientation"]) == 3
    some = app.client.get("/facets", params={"tags_any": ["pets", "street"], "limit": 1}).json()
    assert (some["total"], some["tags"]) == (2, [{"value": "ball", "count": 1}])
    assert app.client.get("/facets", params={"near": "53.5,8.6,10"}).json()["total"] == 1
    assert app.client.get("/facets", params={"near": "53.5,8.6,1"}).json()["total"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("near", "53.5"),
        ("near", "91,0,5"),
        ("near", "1,2,-3"),
        ("box", "1,2,3"),
        ("taken_from", "whenever"),
        ("orientation", "upside down"),
        ("id", "0"),
        ("camera", ""),
        ("tags_all", ""),
    ],
)
def test_a_malformed_filter_is_refused_by_name(app: Running, name: str, value: str) -> None:
    for path in ("/photos", "/facets", "/search/text"):
        answer = app.client.get(path, params={"q": "x", name: value})
        assert answer.status_code == 422, answer.text
        assert name in answer.text


@pytest.mark.parametrize("cursor", ["nonsense", "e30=", "W10=", "é", "eyJiZWZvcmUiOiAieCJ9"])
def test_a_made_up_cursor_is_refused(app: Running, cursor: str) -> None:
    answer = app.client.get("/photos", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["type"]) == (400, "invalid-request")


def test_listing_is_filtered_by_category_and_tag(app: Running) -> None:
    dog = app.upload(DOG, tags='pets,"quoted", 100%', category="animals")
    app.upload(PIZZA, tags="food,pets_at_table", category="dinner")

    def ids(**params: str) -> list[int]:
        return [photo["id"] for photo in app.client.get("/photos", params=params).json()["photos"]]

    assert ids(tag="pets") == ids(category="animals") == ids(tag='"quoted"') == ids(tag="100%") == [dog["id"]]
    assert ids(tag="pet%") == ids(tag="pets_at_tabl_") == ids(tag="pets", category="dinner") == []


def test_one_photo_comes_with_its_embedding(app: Running, encoder: EmbeddedEncoder) -> None:
    body = app.client.get(f"/photo/{app.upload(DOG)['id']}").json()
    with Image.open(PHOTOS / DOG) as image:
        expected = encoder.encode_images([image.convert("RGB")])[0]
    assert body["space"] == encoder.space
    assert np.allclose(body["embedding"], expected, atol=1e-5)


def test_the_owner_words_win_and_can_be_taken_back(app: Running) -> None:
    photo = app.upload(DOG)
    url = f"/photo/{photo['id']}"
    changed = app.client.patch(url, json={"title": "Rex", "tags": ["rex"], "caption": "Rex jumps"}).json()
    assert (changed["title"], changed["tags"], changed["caption"]) == ("Rex", ["rex"], "Rex jumps")
    assert changed["suggested_tags"] == photo["suggested_tags"]
    assert changed["updated_at"] > photo["updated_at"]
    back = app.client.patch(url, json={"tags": None, "caption": None}).json()
    assert (back["tags"], back["caption"]) == (photo["suggested_tags"], photo["suggested_caption"])
    assert back["title"] == "Rex"


@pytest.mark.parametrize(
    "change", [{"id": 9}, {"tags": [""]}, {"title": "a\x00b"}, {"title": 5}, [], {"sha256": "x"}]
)
def test_a_change_that_does_not_fit_is_refused(app: Running, change: object) -> None:
    answer = app.client.patch(f"/photo/{app.upload(DOG)['id']}", json=change)
    assert (answer.status_code, answer.json()["type"]) == (422, "validation-error")


def test_an_item_id_cannot_be_taken_from_another_photo(app: Running) -> None:
    app.upload(DOG, item_id="mine")
    answer = app.client.patch(f"/photo/{app.upload(PIZZA)['id']}", json={"item_id": "mine"})
    assert (answer.status_code, answer.json()["type"]) == (409, "item-id-taken")


def test_a_deleted_photo_is_gone_everywhere(library: Running, start: Callable[..., Running]) -> None:
    dog = library.search("a dog playing in the garden")[0]
    library.client.get(dog["thumbnail_url"])
    folder = library.services.settings.uploads_dir
    name = dog["path"].split("/")[1]
    assert list(folder.rglob(f"{name}*"))
    assert library.client.delete(f"/photo/{dog['photo_id']}").status_code == 204
    assert dog["photo_id"] not in [hit["photo_id"] for hit in library.search("a dog playing in the garden", k=100)]
    assert list(folder.rglob(f"{name}*")) == []
    for path in ("", "/file", "/thumbnail"):
        assert library.client.get(f"/photo/{dog['photo_id']}{path}").status_code == 404
    restarted = start()
    assert dog["photo_id"] not in [hit["photo_id"] for hit in restarted.search("a dog", k=100)]


def test_an_id_is_never_used_again(app: Running) -> None:
    first = app.upload(DOG)["id"]
    app.client.delete(f"/photo/{first}")
    assert app.upload(DOG)["id"] > first


def test_the_original_comes_back_byte_for_byte(app: Running) -> None:
    photo = app.upload(DOG)
    data = (PHOTOS / DOG).read_bytes()
    whole = app.client.get(photo["url"])
    assert (whole.content, whole.headers["content-type"]) == (data, "image/jpeg")
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = app.client.get(photo["url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])


@pytest.mark.parametrize("size", [160, 320, 640, 1280])
def test_a_thumbnail_is_a_small_upright_webp(app: Running, size: int) -> None:
    upright = Image.effect_mandelbrot((900, 1600), (-3, -2.5, 2, 2.5), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    lying = picture_bytes(upright.transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes(), quality=95)
    photo = app.client.post("/upload", files={"file": ("m.jpg", lying)}).json()
    assert (photo["width"], photo["height"]) == (900, 1600)
    answer = app.client.get(photo["thumbnail_url"], params={"size": size})
    assert "immutable" in answer.headers["cache-control"]
    with Image.open(io.BytesIO(answer.content)) as small:
        assert (small.format, small.size) == ("WEBP", (round(size * 900 / 1600), size))
        expected = upright.resize(small.size, Image.Resampling.LANCZOS)
        difference = np.abs(np.asarray(small.convert("RGB"), float) - np.asarray(expected, float)).mean()
    assert difference < 8


def test_a_thumbnail_of_another_size_is_refused(app: Running) -> None:
    assert app.client.get(app.upload(DOG)["thumbnail_url"], params={"size": 31}).status_code == 422


def test_a_lost_original_is_told(app: Running) -> None:
    photo = app.upload(BUSES)
    (app.services.settings.uploads_dir / original_path(photo["sha256"])).unlink()
    answer = app.client.get(photo["url"])
    assert (answer.status_code, answer.json()["type"]) == (404, "file-not-found")
