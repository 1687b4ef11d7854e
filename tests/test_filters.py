"""Every filter, on its own and combined, against the same condition in Python."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from app.database import Database
from app.flows.filters import Box, Circle, PhotoFilter
from app.tables import Orientation, Photo, PhotoStatus
from tests.postgres import database_url

Condition = Callable[[Any], Any]  # of a photo, and whether it holds
Case = tuple[dict[str, Any], Condition]

T0 = datetime(2019, 7, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """60 photos that differ in everything a filter can ask for."""
    database = Database(database_url(tmp_path_factory.mktemp("filters")))
    with database.write() as session:
        session.add_all(_photo(i) for i in range(60))
    yield database
    database.dispose()


def _photo(i: int) -> Photo:
    return Photo(
        owner="other" if i % 10 == 9 else "default",
        filename=f"IMG_{i:04}.JPG",
        width=400,
        height=(300, 400, 500)[i % 3],
        taken_at=None if i % 7 == 0 else T0 + timedelta(days=i),
        created_at=T0 + timedelta(days=400 + i),
        category=("food", None)[i % 2],
        suggested_category=("animals", "food")[i % 3 == 0],
        tags=[["a%b", "Ärger"], [], ['say "cheese"'], ["a"]][i % 4],
        suggested_tags=["dog", "a"],
        latitude=None if i % 5 == 0 else (i * 37 % 180) - 90 + 0.5,
        longitude=None if i % 5 == 0 else (i * 73 % 360) - 180 + 0.5,
        city=("Köln", "Bremen", None)[i % 3],
        country="Germany",
        camera=(None, "Canon EOS", "Apple iPhone 12")[i % 3],
        lens="EF50mm" if i % 4 else None,
        ocr_text=(None, "EXIT\nÖffnungszeiten", "")[i % 3],
        status=PhotoStatus.FAILED if i == 8 else PhotoStatus.READY,
    )


def km(photo: Photo, latitude: float, longitude: float) -> float:
    """By the angle between two vectors, another way than the filter's."""

    def vector(north: float, east: float) -> list[float]:
        a, b = math.radians(north), math.radians(east)
        return [math.cos(a) * math.cos(b), math.cos(a) * math.sin(b), math.sin(a)]

    one, other = vector(photo.latitude or 0, photo.longitude or 0), vector(latitude, longitude)
    return 6371.0088 * math.acos(max(-1.0, min(1.0, sum(x * y for x, y in zip(one, other, strict=True)))))


def tags(photo: Photo) -> list[str]:
    return photo.tags or photo.suggested_tags


def near(latitude: float, longitude: float, radius: float) -> Case:
    return (
        {"near": Circle(latitude, longitude, radius)},
        lambda photo: photo.latitude is not None and km(photo, latitude, longitude) <= radius,
    )


CASES: list[Case] = [
    ({}, lambda _: True),
    ({"taken_from": T0 + timedelta(days=20)}, lambda p: p.taken_at is not None and p.id >= 21),
    ({"taken_before": T0 + timedelta(days=20)}, lambda p: p.taken_at is not None and p.id < 21),
    ({"added_from": T0 + timedelta(days=430)}, lambda p: p.id >= 31),
    ({"added_before": T0 + timedelta(days=430)}, lambda p: p.id < 31),
    ({"tags_all": ("a",)}, lambda p: "a" in tags(p)),
    ({"tags_all": ("a%b", "Ärger")}, lambda p: "a%b" in tags(p)),
    ({"tags_any": ("dog", 'say "cheese"')}, lambda p: {"dog", 'say "cheese"'} & {*tags(p)}),
    ({"tags_none": ("dog", "Ärger")}, lambda p: not {"dog", "Ärger"} & {*tags(p)}),
    ({"category": "food"}, lambda p: (p.category or p.suggested_category) == "food"),
    ({"category": "animals"}, lambda p: (p.category or p.suggested_category) == "animals"),
    ({"camera": "iphone"}, lambda p: "iPhone" in (p.camera or "")),
    ({"camera": "50MM"}, lambda p: p.lens is not None),
    ({"place": "KÖLN"}, lambda p: p.city == "Köln"),
    ({"place": "germ"}, lambda _: True),
    ({"filename": "img_001"}, lambda p: p.filename.startswith("IMG_001")),
    ({"filename": "IMG%"}, lambda _: False),
    ({"text": "öffnung"}, lambda p: bool(p.ocr_text)),
    ({"orientation": Orientation.LANDSCAPE}, lambda p: p.height == 300),
    ({"orientation": Orientation.SQUARE}, lambda p: p.height == 400),
    ({"orientation": Orientation.PORTRAIT}, lambda p: p.height == 500),
    ({"has_location": True}, lambda p: p.latitude is not None),
    ({"has_location": False}, lambda p: p.latitude is None),
    (
        {"box": Box(-30, 0, 60, 90)},
        lambda p: p.latitude is not None and -30 <= p.latitude <= 60 and 0 <= p.longitude <= 90,
    ),
    (
        {"box": Box(-90, 150, 90, -150)},
        lambda p: p.latitude is not None and (p.longitude >= 150 or p.longitude <= -150),
    ),
    ({"box": Box(60, 0, -30, 90)}, lambda _: False),
    near(10, 20, 3000),
    near(0, 179, 4000),
    near(89, 0, 5000),
    near(-89, 120, 2500),
    near(0, 0, 30_000),
    ({"ids": (3, 5, 10, 99)}, lambda p: p.id in (3, 5, 10)),
    ({"ids": ()}, lambda _: False),
]


@pytest.mark.parametrize(("given", "expected"), CASES)
def test_a_filter_leaves_exactly_what_it_says(
    database: Database, given: dict[str, Any], expected: Condition
) -> None:
    assert left(database, PhotoFilter(**given)) == by_hand(database, expected)


PAIRS = [(one, CASES[(i * 7 + 5) % len(CASES)]) for i, one in enumerate(CASES)]


@pytest.mark.parametrize(
    ("first", "second"), [pair for pair in PAIRS if not pair[0][0].keys() & pair[1][0].keys()]
)
def test_filters_combine(database: Database, first: Case, second: Case) -> None:
    (one, has_one), (other, has_other) = first, second
    both = PhotoFilter(**one).and_also(PhotoFilter(**other))
    assert left(database, both) == by_hand(database, lambda photo: has_one(photo) and has_other(photo))


def test_where_both_say_something_times_are_cut_and_tags_add_up_and_else_the_first_counts() -> None:
    june, july, august = (datetime(2019, month, 1, tzinfo=UTC) for month in (6, 7, 8))
    one = PhotoFilter("me", june, august, category="food", tags_all=("a",), has_location=False)
    other = PhotoFilter(taken_from=july, category="pets", tags_all=("b",), has_location=True, camera="x")
    expected = replace(one, taken_from=july, tags_all=("a", "b"), camera="x")
    assert one.and_also(other) == expected


def test_other_states_and_owners_are_asked_for_by_name(database: Database) -> None:
    assert left(database, PhotoFilter(status=PhotoStatus.FAILED)) == {9}
    assert left(database, PhotoFilter(owner="other")) == {10, 20, 30, 40, 50, 60}
    assert not PhotoFilter(owner="other").narrows
    assert PhotoFilter(ids=()).narrows


def left(database: Database, wanted: PhotoFilter) -> set[int | None]:
    with database.read() as session:
        return set(session.exec(select(Photo.id).where(*wanted.conditions())))


def by_hand(database: Database, expected: Condition) -> set[int | None]:
    with database.read() as session:
        mine = select(Photo).where(Photo.owner == "default", Photo.status == PhotoStatus.READY)
        return {photo.id for photo in session.exec(mine) if expected(photo)}
