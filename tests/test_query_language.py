"""Queries and what they are understood as, with the traps; and any text at all."""

import json
import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from app.flows.filters import Circle, PhotoFilter
from app.flows.library_names import LibraryNames
from app.flows.query_language import Term, Understood, understand
from app.tables import Orientation
from tests.conftest import shared

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)  # a Sunday
PLACES = (
    "Bremerhaven,Bremen,Germany,Köln,Paris,France,Nice,Turkey,Reading,Orange,Long Beach,Salt Lake City,"
    "New York City,United States,March,One"
)
NAMES = LibraryNames(
    cameras=frozenset({"Canon EOS 2000D", "Apple iPhone 12", "NIKON D90", "KODAK DIGITAL CAMERA", "HTC One"}),
    places=frozenset(PLACES.split(",")),
    categories=frozenset({"Food"}),
    tags=frozenset({"Beach", "red car"}),
)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def taken(first: str | None, before: str | None) -> dict[str, Any]:
    return {"taken_from": first and day(first), "taken_before": before and day(before)}


def added(first: str, before: str) -> dict[str, Any]:
    return {"added_from": day(first), "added_before": day(before)}


def understood(query: str) -> Understood:
    return understand(query, NOW, NAMES)


DATES: dict[str, dict[str, Any]] = {
    "2019": taken("2019-01-01", "2020-01-01"),
    "summer 2019": taken("2019-06-01", "2019-09-01"),
    "the summer of 2019": taken("2019-06-01", "2019-09-01"),
    "Fall 2019": taken("2019-09-01", "2019-12-01"),
    "winter 2020": taken("2019-12-01", "2020-03-01"),
    "winter 2019/20": taken("2019-12-01", "2020-03-01"),
    "winter 2019-2020": taken("2019-12-01", "2020-03-01"),
    "in July": taken("2026-07-01", "2026-08-01"),
    "in december": taken("2025-12-01", "2026-01-01"),
    "july 2019": taken("2019-07-01", "2019-08-01"),
    "Jul. 2019": taken("2019-07-01", "2019-08-01"),
    "14 july 2019": taken("2019-07-14", "2019-07-15"),
    "14th of July, 2019": taken("2019-07-14", "2019-07-15"),
    "July 14, 2019": taken("2019-07-14", "2019-07-15"),
    "2019-07-14": taken("2019-07-14", "2019-07-15"),
    "2019-07": taken("2019-07-01", "2019-08-01"),
    "july 14": taken("2026-07-14", "2026-07-15"),
    "december 24": taken("2025-12-24", "2025-12-25"),
    "29 february": taken("2024-02-29", "2024-03-01"),
    "last christmas": taken("2025-12-24", "2025-12-27"),
    "christmas 2018": taken("2018-12-24", "2018-12-27"),
    "easter 2021": taken("2021-04-02", "2021-04-06"),
    "new year’s eve 2019": taken("2019-12-31", "2020-01-02"),
    "thanksgiving 2019": taken("2019-11-28", "2019-11-29"),
    "today": taken("2026-11-22", "2026-11-23"),
    "yesterday": taken("2026-11-21", "2026-11-22"),
    "last week": taken("2026-11-09", "2026-11-16"),
    "this week": taken("2026-11-16", "2026-11-23"),
    "last month": taken("2026-10-01", "2026-11-01"),
    "last summer": taken("2026-06-01", "2026-09-01"),
    "last winter": taken("2025-12-01", "2026-03-01"),
    "last year": taken("2025-01-01", "2026-01-01"),
    "this year": taken("2026-01-01", "2027-01-01"),
    "last weekend": taken("2026-11-14", "2026-11-16"),
    "this weekend": taken("2026-11-21", "2026-11-23"),
    "last friday": taken("2026-11-20", "2026-11-21"),
    "last sunday": taken("2026-11-15", "2026-11-16"),
    "two years ago": taken("2024-01-01", "2025-01-01"),
    "3 weeks ago": taken("2026-10-26", "2026-11-02"),
    "a month ago": taken("2026-10-01", "2026-11-01"),
    "the last 3 days": taken("2026-11-19", "2026-11-23"),
    "before 2015": taken(None, "2015-01-01"),
    "after march 2020": taken("2020-04-01", None),
    "since 2018": taken("2018-01-01", None),
    "until may 2019": taken(None, "2019-06-01"),
    "between 2015 and 2017": taken("2015-01-01", "2018-01-01"),
    "from 2015 to 2017": taken("2015-01-01", "2018-01-01"),
    "2015–2017": taken("2015-01-01", "2018-01-01"),
    "between may and july 2019": taken("2019-05-01", "2019-08-01"),
    "from november to february 2019": taken("2018-11-01", "2019-03-01"),
    "2018 and 2019": taken("2018-01-01", "2020-01-01"),
    "after 2015 before 2018": taken("2016-01-01", "2018-01-01"),
    "in the 90s": taken("1990-01-01", "2000-01-01"),
    "from the nineties": taken("1990-01-01", "2000-01-01"),
    "in the 20s": taken("2020-01-01", "2030-01-01"),
    "1990s": taken("1990-01-01", "2000-01-01"),
    "before:2015 after:2010-05": taken("2010-06-01", "2015-01-01"),
    "date:2019-07": taken("2019-07-01", "2019-08-01"),
    'date:"summer 2019"': taken("2019-06-01", "2019-09-01"),
    "since:christmas": taken("2025-12-24", None),
    "added:today": added("2026-11-22", "2026-11-23"),
    "added:last-week": added("2026-11-09", "2026-11-16"),
    "uploaded yesterday": added("2026-11-21", "2026-11-22"),
    "photos taken in 2019": taken("2019-01-01", "2020-01-01"),
    "all my pictures from last week": taken("2026-11-09", "2026-11-16"),
}

FILTERS: dict[str, dict[str, Any]] = {
    "camera:canon": {"camera": "Canon"},
    'camera:"iphone 12"': {"camera": "iPhone 12"},
    "camera:leica": {"camera": "leica"},
    "photos taken with my canon": {"camera": "Canon"},
    "shot on iPhone": {"camera": "iPhone"},
    "pictures from my nikon camera": {"camera": "NIKON"},
    "canon eos": {"camera": "Canon EOS"},
    "canon 2000d": {"camera": "Canon EOS 2000D"},
    "iphone 12": {"camera": "iPhone 12"},
    "d90": {"camera": "D90"},
    "tag:beach": {"tags_all": ("Beach",)},
    "#beach #dog": {"tags_all": ("Beach", "dog")},
    '-tag:"Red Car" -#x': {"tags_none": ("red car", "x")},
    "category:food": {"category": "Food"},
    "file:IMG_12": {"filename": "IMG_12"},
    'text:"no entry"': {"text": "no entry"},
    "text:“no entry”": {"text": "no entry"},
    "is:portrait": {"orientation": Orientation.PORTRAIT},
    "has:location": {"has_location": True},
    "no:location": {"has_location": False},
    "-has:location": {"has_location": False},
    "place:bremen": {"place": "Bremen"},
    'place:"new york"': {"place": "new york"},
    "in germany": {"place": "Germany"},
    "at bremerhaven": {"place": "Bremerhaven"},
    "near koln": {"place": "Köln"},
    "photos from Paris, France": {"place": "Paris"},
    "bremerhaven": {"place": "Bremerhaven"},
    "new york city": {"place": "New York City"},
    "in the usa": {"place": "United States"},
    "in turkey": {"place": "Turkey"},
    "in Nice": {"place": "Nice"},
    "salt lake city": {"place": "Salt Lake City"},
    "near:53.55,8.58": {"near": Circle(53.55, 8.58, 10)},
    "near:-33.8,151.2,500m": {"near": Circle(-33.8, 151.2, 0.5)},
    "near:53.55,8.58,10km": {"near": Circle(53.55, 8.58, 10)},
    "within 5 km of 53.55, 8.58": {"near": Circle(53.55, 8.58, 5)},
    "near 33.5° S, 70.5° W": {"near": Circle(-33.5, -70.5, 10)},
    "is:square #beach 2019 in Germany": {
        "orientation": Orientation.SQUARE,
        "tags_all": ("Beach",),
        "place": "Germany",
        **taken("2019-01-01", "2020-01-01"),
    },
}


@pytest.mark.parametrize(("query", "expected"), [*DATES.items(), *FILTERS.items()])
def test_filters_alone_leave_nothing_to_compare(query: str, expected: dict[str, Any]) -> None:
    found = understood(query)
    assert found.filter == PhotoFilter(**expected)
    assert found.terms == ()


MEANING = [
    "a dog in the snow",
    "summer",
    "a winter landscape",
    "a tree in winter",
    "christmas tree",
    "halloween",
    "people march",
    "may",
    "a man may be sitting",
    "morning at night",
    "route 66",
    "route 1950",
    "2000 people",
    "a crowd of 2000 people",
    "1900 houses",
    "1200",
    "3019",
    "2000dx",
    "the 80s style",
    "31 february 2019",
    "the last day of school",
    "foo:bar",
    "12:30",
    "16:9",
    "http://example.org/2019",
    "near:abc",
    "near:95,10",
    "before:whenever",
    "is:round",
    "tag:",
    "#1",
    "an apple on a table",
    "an iphone on a table",
    "a man with an iphone 12",
    "a digital camera",
    "one",
    "a nice beach",
    "a man in orange",
    "reading a book",
    "turkey on a plate",
    "long beach",
    "www.paris.com",
    "a paris-style café",
    "not in germany",
    "dogs not from 2019",
    "t-shirt",
    "a - b",
    "-5 degrees",
    "no parking",
    "a no entry sign",
    "a sign that says no dogs allowed",
    "a man without a hat on a horse",
    "dog, beach",
    "0:dog",
    "11:dog",
    "c++ 5+3",
]


@pytest.mark.parametrize("query", MEANING)
def test_what_only_looks_like_a_condition_is_meaning(query: str) -> None:
    found = understood(query)
    assert found == Understood((Term(query),), query, PhotoFilter(), ())


PARTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "dogs in july 2019": (["dogs"], taken("2019-07-01", "2019-08-01")),
    "2019 dogs": (["dogs"], taken("2019-01-01", "2020-01-01")),
    "dogs, 2019, cats": (["dogs, cats"], taken("2019-01-01", "2020-01-01")),
    "dog (2019).": (["dog"], taken("2019-01-01", "2020-01-01")),
    "photos of dogs from 2019": (["photos of dogs"], taken("2019-01-01", "2020-01-01")),
    "a  party   in may": (["a party"], taken("2026-05-01", "2026-06-01")),
    "beach in germany and dogs": (["beach and dogs"], {"place": "Germany"}),
    "a nice beach in Nice": (["a nice beach"], {"place": "Nice"}),
    "turkey on a plate in turkey": (["turkey on a plate"], {"place": "Turkey"}),
    "Köln cathedral at night": (["cathedral at night"], {"place": "Köln"}),
    "sunset canon eos": (["sunset"], {"camera": "Canon EOS"}),
    '"tag:x before 2015" #beach': (["tag:x before 2015"], {"tags_all": ("Beach",)}),
    '"summer 2019" in germany': (["summer 2019"], {"place": "Germany"}),
    "2018 2020 dog": (["2020 dog"], taken("2018-01-01", "2019-01-01")),
    "camera:canon camera:nikon": (["camera:nikon"], {"camera": "Canon"}),
}


@pytest.mark.parametrize(("query", "expected"), PARTS.items())
def test_the_rest_is_meaning_in_its_order(query: str, expected: tuple[list[str], dict[str, Any]]) -> None:
    found = understood(query)
    assert [term.text for term in found.terms] == expected[0]
    assert found.words == " ".join(expected[0])
    assert found.filter == PhotoFilter(**expected[1])


WEIGHTED: dict[str, list[Term]] = {
    "beach -people": [Term("beach"), Term("people", -1)],
    'beach -"traffic lights" sunset': [Term("beach sunset"), Term("traffic lights", -1)],
    "beach without any people": [Term("beach"), Term("people", -1)],
    "a dog but not dogs and cats": [Term("a dog and cats"), Term("dogs", -1)],
    "a street, no people": [Term("a street"), Term("people", -1)],
    "a street with no people": [Term("a street"), Term("people", -1)],
    'a street without "parked cars"': [Term("a street"), Term("parked cars", -1)],
    "a park without people or dogs": [Term("a park"), Term("people or dogs", -1)],
    "photos without people": [Term("photos"), Term("people", -1)],
    "a hat but no dog in 2019": [Term("a hat"), Term("dog", -1)],
    "2:dog": [Term("dog", 2)],
    '2:dog, 0.5:"red car" at the beach': [Term("dog", 2), Term("red car", 0.5), Term("at the beach")],
    "+dog +cat sunset, sea": [Term("dog"), Term("cat"), Term("sunset"), Term("sea")],
    "3:dog -cat": [Term("dog", 3), Term("cat", -1)],
}


@pytest.mark.parametrize(("query", "expected"), WEIGHTED.items())
def test_weights_and_what_is_left_out(query: str, expected: list[Term]) -> None:
    found = understood(query)
    assert list(found.terms) == expected
    assert found.words == " ".join(term.text for term in expected if term.weight > 0)
    assert [chip.kind for chip in found.chips if chip.kind == "without"] == ["without"] * sum(
        term.weight < 0 for term in expected
    )


LABELS = {
    "summer 2019": "summer 2019",
    "dogs in July 2019": "July 2019",
    "before 2015": "taken before 2015",
    "between 2015 and 2017": "taken between 2015 and 2017",
    "uploaded yesterday": "added yesterday",
    "taken with my canon": "camera: Canon",
    "in germany": "place: Germany",
    "#beach": "tag: Beach",
    "-#beach": "not tag: Beach",
    "near:53.55,8.58,5km": "near 53.55, 8.58 (5 km)",
    "no:location": "without a location",
    "a dog -frisbee": "without frisbee",
}


@pytest.mark.parametrize(("query", "label"), LABELS.items())
def test_chips_say_what_was_understood(query: str, label: str) -> None:
    assert [chip.label for chip in understood(query).chips] == [label]


def test_a_chip_tells_where_it_stands_and_what_the_query_is_without_it() -> None:
    query = "dogs, taken in July 2019, at  the beach -people"
    date_chip, people = understood(query).chips
    assert query[date_chip.start : date_chip.end] == "taken in July 2019"
    assert (date_chip.kind, date_chip.without) == ("taken", "dogs, at the beach -people")
    assert query[people.start : people.end] == "-people"
    assert (people.kind, people.without) == ("without", "dogs, taken in July 2019, at the beach")


TOGETHER = {"2018 2020 dog", "camera:canon camera:nikon"}  # where the second comes in when the first is gone


@pytest.mark.parametrize("query", [*DATES, *FILTERS, *sorted(set(PARTS) - TOGETHER), *WEIGHTED])
def test_without_a_chip_the_others_stay(query: str) -> None:
    chips = understood(query).chips
    for i, chip in enumerate(chips):
        left = understood(chip.without).chips
        assert [(c.kind, c.label) for c in left] == [(c.kind, c.label) for c in chips[:i] + chips[i + 1 :]]


WORDS = "in|the|a|and|or|not|no|without|near|may|to|from|before|last|week|canon|paris|2019|1990s|31|july"
SIGNS = '"|-|+|#|(|,|.|:|tag:|date:|2:|53.5,8.5|-x'
ODD = ["İ", "ſ", "\u212a", "“", "\x00", "\x01", "\u2003", "é", "北京", "\U0001f600", "\ud800", "  "]
PIECES = [*(f"{word} " for word in WORDS.split("|")), *SIGNS.split("|"), *ODD]


@pytest.mark.parametrize("seed", range(60))
def test_any_text_is_understood_and_its_chips_can_be_taken_away(seed: int) -> None:
    chance = random.Random(seed)
    query = "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 300)))[:1000]
    found = understood(query)
    for chip in found.chips:
        assert 0 <= chip.start < chip.end <= len(query)
        understood(chip.without)
    ends = [chip.end for chip in found.chips]
    assert all(end <= chip.start for end, chip in zip(ends, found.chips[1:], strict=False))


def test_naughty_strings_are_understood() -> None:
    for text in json.loads(shared("corpora/text/blns.json").read_text()):
        understood(text[:1000])


LONG = [
    "a",
    " ",
    "-",
    '"',
    "2019 ",
    "in the ",
    "paris, ",
    "no x ",
    "near 1.1, ",
    "a:",
    "-a ",
    "x or ",
    "a.",
    "may to ",
]


@pytest.mark.parametrize("piece", LONG)
def test_long_queries_take_no_quadratic_time(piece: str) -> None:
    """100 times what they take here; a pattern that goes back over the text took seconds."""
    query = (piece * 1000)[:1000]
    began = time.process_time()
    understood(query)
    assert time.process_time() - began < 2
