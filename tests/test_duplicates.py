"""Copies of one picture are found, different pictures are not taken for copies, and the best copy is kept."""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps
from sqlmodel import update

from app.services.kept import Kept
from app.services.looks import PLAIN, look_of
from app.services.near_hashes import HashNeighbours, near_pairs
from app.tables import Photo, original_path
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running, picture_bytes
from tests.test_live_index import eventually

Start = Callable[..., Running]


def photo(name: str) -> Image.Image:
    with Image.open(PHOTOS / name) as file:
        return file.convert("RGB")


def cropped(image: Image.Image, left: float, right: float) -> Image.Image:
    return image.crop((int(left * image.width), 0, int((1 - right) * image.width), image.height))


def add(app: Running, data: bytes, **fields: str) -> int:
    answer = app.client.post("/upload", files={"file": ("photo", data)}, data=fields)
    assert answer.status_code == 201, answer.text
    photo_id: int = answer.json()["id"]
    return photo_id


def dated(second: int) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2024:05:01 12:00:{second:02}"
    return exif


def duplicates(app: Running, **params: Any) -> dict[str, Any]:
    answer = app.client.get("/duplicates", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def found(app: Running, **params: Any) -> list[list[int]]:
    """Ids by group, the photo to keep first."""
    return [[each["id"] for each in group["photos"]] for group in duplicates(app, **params)["groups"]]


def page_of_text(words: str) -> Image.Image:
    image = Image.new("RGB", (800, 1100), "white")
    for line in range(4):
        ImageDraw.Draw(image).text((60, 80 + 50 * line), words, fill="black", font=ImageFont.load_default(28))
    return image


# ── What is a copy ────────────────────────────────────────────────────────────────────────────────────


def test_sixteen_different_photos_are_no_duplicates(library: Running) -> None:
    body = duplicates(library)
    assert (body["groups"], body["total_groups"], body["pending"], body["next_cursor"]) == ([], 0, 0, None)
    assert found(library, kind="look_alike") == []


def test_copies_in_every_form_are_one_group(library: Running) -> None:
    buses = photo(BUSES)
    copies = {
        add(library, picture_bytes(ImageOps.scale(buses, 0.5), quality=80)),
        add(library, picture_bytes(buses, quality=40)),
        add(library, picture_bytes(buses, "WEBP", quality=60)),
        add(library, picture_bytes(ImageOps.grayscale(buses), quality=90)),
        add(library, picture_bytes(cropped(buses, 0.015, 0.015), quality=90)),
    }
    (group,) = duplicates(library)["groups"]
    assert {each["filename"] for each in group["photos"]} == {"photo", BUSES}
    assert {each["id"] for each in group["photos"]} > copies
    assert group["photos"][0]["id"] == group["keep"]
    assert (group["photos"][0]["similarity"], group["photos"][0]["hamming"]) == (1, 0)
    assert all(each["similarity"] > 0.4 and each["hamming"] <= 8 for each in group["photos"])
    assert found(library, kind="look_alike") == []


def test_shots_of_a_burst_are_look_alikes_and_no_copies(app: Running) -> None:
    first, second = cropped(photo(BUSES), 0, 0.03), cropped(photo(BUSES), 0.03, 0)
    burst = {add(app, picture_bytes(shot, exif=dated(i))) for i, shot in enumerate((first, second))}
    assert found(app) == []
    assert [set(ids) for ids in found(app, kind="look_alike")] == [burst]


def test_of_a_look_alike_only_the_best_copy_is_shown(app: Running) -> None:
    first, second = cropped(photo(BUSES), 0, 0.03), cropped(photo(BUSES), 0.03, 0)
    burst = [add(app, picture_bytes(shot, exif=dated(i))) for i, shot in enumerate((first, second))]
    small = add(app, picture_bytes(ImageOps.scale(first, 0.5)))
    (copies,) = found(app)
    assert len(copies) == 2
    assert small in copies[1:]
    assert [set(ids) for ids in found(app, kind="look_alike")] == [set(burst)]


def test_pictures_with_nothing_in_them_are_left_alone(app: Running) -> None:
    slopes = [np.tile(np.linspace(low, 220, 300), (400, 1)).astype(np.uint8) for low in (40, 90)]
    plain = [Image.new("RGB", (400, 300), colour) for colour in ("white", "ivory", "black")]
    pages = [page_of_text(words) for words in ("Dear Anna, thank you for", "Invoice 4711, due in May")]
    for image in (*plain, *map(Image.fromarray, slopes), *pages):
        add(app, picture_bytes(image, "PNG"))
    assert found(app) == found(app, kind="look_alike") == []
    assert duplicates(app)["pending"] == 0


# ── Which one to keep ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ({}, {"scale": 0.5}, "more pixels"),
        ({"kind": "PNG"}, {}, "original or lossless format"),
        ({"quality": 95}, {"quality": 30}, "larger file"),
        ({"exif": dated(0)}, {}, "date, place or camera"),
        ({"words": {"title": "Kitchen"}}, {"comment": b"of a few bytes"}, "your words"),
        ({"comment": b"of a few bytes"}, {}, "larger file"),
    ],
)
def test_the_better_one_is_kept_whichever_came_first(
    app: Running, better: dict[str, Any], worse: dict[str, Any], why: str
) -> None:
    def add_photo(form: dict[str, Any], name: str) -> int:
        options = {"quality": 80} | form
        words, image = options.pop("words", {}), ImageOps.scale(photo(name), options.pop("scale", 1.0))
        return add(app, picture_bytes(image, options.pop("kind", "JPEG"), **options), **words)

    first = [add_photo(better, BUSES), add_photo(worse, BUSES)]
    last = [add_photo(worse, PIZZA), add_photo(better, PIZZA)][::-1]
    assert found(app) == [last, first]
    assert {group["why"] for group in duplicates(app)["groups"]} == {why}


def test_of_equals_the_older_one_is_kept(app: Running) -> None:
    data = picture_bytes(photo(BUSES))
    first, second = add(app, data + b"a"), add(app, data + b"b")
    (group,) = duplicates(app)["groups"]
    assert (found(app), group["why"]) == ([[first, second]], "older in the library")


def test_which_one_is_kept_follows_what_the_owner_writes(app: Running) -> None:
    data = picture_bytes(photo(BUSES))
    first, second = add(app, data + b"a"), add(app, data + b"b")
    assert found(app) == [[first, second]]
    app.client.patch(f"/photo/{second}", json={"title": "Our bus"})
    assert found(app) == [[second, first]]


def test_what_is_kept_is_worked_out_again_only_for_another_state() -> None:
    kept, worked_out = Kept(), Counter[str]()

    def ask(key: str, state: int) -> str:
        def work_out() -> str:
            worked_out[key] += 1
            return f"{key} of {state}"

        return kept.get(key, state, work_out)

    assert [ask("a", 1), ask("b", 1), ask("a", 1), ask("a", 2)] == ["a of 1", "b of 1", "a of 1", "a of 2"]
    assert worked_out == {"a": 2, "b": 1}


# ── The list ──────────────────────────────────────────────────────────────────────────────────────────


def test_pages_hold_every_group_once(app: Running) -> None:
    for name in (BUSES, DOG, PIZZA):
        for mark in (b"a", b"b"):
            add(app, (PHOTOS / name).read_bytes() + mark)
    first = duplicates(app, limit=2)
    second = duplicates(app, limit=2, cursor=first["next_cursor"])
    assert [group["keep"] for group in first["groups"] + second["groups"]] == [5, 3, 1]
    assert (first["total_groups"], second["total_groups"], second["next_cursor"]) == (3, 3, None)


@pytest.mark.parametrize(
    ("params", "problem"),
    [({"cursor": "nonsense"}, (400, "invalid-request")), ({"kind": "twins"}, (422, "validation-error"))],
)
def test_a_question_that_does_not_fit_is_refused(
    app: Running, params: dict[str, str], problem: tuple[int, str]
) -> None:
    answer = app.client.get("/duplicates", params=params)
    assert (answer.status_code, answer.json()["type"]) == problem


def test_a_deleted_copy_is_gone_from_the_list(app: Running) -> None:
    data = (PHOTOS / DOG).read_bytes()
    _, second = add(app, data + b"a"), add(app, data + b"b")
    assert found(app) == [[1, 2]]
    app.client.delete(f"/photo/{second}")
    assert found(app) == []


# ── Photos of older versions ──────────────────────────────────────────────────────────────────────────


def without_looks(app: Running) -> None:
    """As a version left them that knew neither hashes nor placeholders."""
    with app.services.database.write() as session:
        session.exec(update(Photo).values(phash=None, placeholder=None))


def test_older_photos_are_filled_in_after_a_start(start: Start) -> None:
    before = start()
    data = (PHOTOS / DOG).read_bytes()
    add(before, data + b"a"), add(before, data + b"b")
    made = before.client.get("/photo/1").json()["placeholder"]
    without_looks(before)
    assert (duplicates(before)["pending"], found(before)) == (2, [])
    after = start()
    assert eventually(lambda: found(after) == [[1, 2]])
    body = after.client.get("/photo/1").json()
    assert duplicates(after)["pending"] == 0
    assert body["placeholder"].startswith(made[:30])
    assert body["updated_at"] == before.client.get("/photo/1").json()["updated_at"]


def test_a_lost_original_stays_pending_and_holds_nothing_up(start: Start) -> None:
    before = start()
    lost, kept = before.upload(DOG), before.upload(BUSES)
    folder = before.services.settings.uploads_dir
    (folder / original_path(lost["sha256"])).unlink()
    before.services.thumbnails.delete(lost["sha256"])
    without_looks(before)
    after = start()
    assert eventually(lambda: after.client.get(f"/photo/{kept['id']}").json()["placeholder"] is not None)
    assert duplicates(after)["pending"] == 1


# ── Hashes ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [0, 3, 8, 14])
def test_near_hashes_are_all_found_and_no_others(limit: int) -> None:
    rng = np.random.default_rng(limit)
    flips = [sum(1 << int(bit) for bit in rng.choice(64, count, replace=False)) for count in range(20)]
    bases = rng.integers(0, 2**64, 20, np.uint64).tolist()
    hashes = np.unique(np.array([base ^ flip for base in bases for flip in flips], np.uint64))
    pairs = itertools.combinations(range(len(hashes)), 2)
    expected = {(i, j) for i, j in pairs if int(hashes[i] ^ hashes[j]).bit_count() <= limit}
    assert {tuple(pair) for pair in near_pairs(hashes, limit).tolist()} == expected
    neighbours = HashNeighbours(np.concatenate([hashes, hashes[:2]]), limit)
    assert {0, len(hashes)} <= set(neighbours.of(0).tolist())
    crowded = {row for pair in expected for row in pair} | {0, 1, len(hashes), len(hashes) + 1}
    assert set(neighbours.crowded().tolist()) == crowded


def test_no_hashes_have_no_neighbours() -> None:
    assert len(HashNeighbours(np.empty(0, np.uint64), 8).crowded()) == 0


@pytest.mark.parametrize("size", [(1, 1), (10_000, 3), (3, 10_000)])
def test_a_strange_shape_has_a_look_too(size: tuple[int, int]) -> None:
    look = look_of(Image.new("RGB", size, "red"))
    assert look.phash == PLAIN
    assert look.placeholder.startswith("data:image/webp;base64,")
