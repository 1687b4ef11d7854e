"""Suggestions, filters, orders and the address of what is shown."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.conftest import PIZZA
from tests.page.browser import HORSES, LAPTOP, Watched, answered, names, search_box, search_words
from tests.server import http

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def described(library: str, photos: dict[str, Path]) -> dict[str, int]:
    """Tags and a category of two of the photos; ids by file name."""
    rows = http.get(f"{library}/photos", params={"limit": 1000}).json()["photos"]
    ids = {row["filename"]: row["id"] for row in rows}
    words = {
        HORSES: {"tags": ["summer trip", "riding"], "category": "travel"},
        PIZZA: {"tags": ["summer trip", HOSTILE], "category": "dinner"},
    }
    for name, changes in words.items():
        http.patch(f"{library}/photo/{ids[name]}", json=changes).raise_for_status()
    return ids


def test_the_keyboard_takes_a_suggestion(described: dict[str, int], web: Watched) -> None:
    page, box = web.page, search_box(web.page)
    search_words(page, "horses at the sea")
    box.fill("horses summ")
    option = page.get_by_role("option", name="summer trip")
    expect(option).to_contain_text("tag · 2")
    expect(box).to_have_attribute("aria-expanded", "true")

    box.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    assert box.get_attribute("aria-activedescendant") == option.get_attribute("id")
    box.press("Enter")
    expect(box).to_have_value('horses tag:"summer trip" ')
    box.press("Enter")
    expect(page.locator("#chips")).to_have_text("tag: summer trip")
    expect(page.locator(".card")).to_have_count(2)

    box.fill("horses at")
    page.get_by_role("option", name="horses at the sea").click()  # asked before: it is asked again at once
    expect(page.locator("#heading")).to_have_text("“horses at the sea”")


def test_escape_closes_the_suggestions_and_nothing_else(described: dict[str, int], web: Watched) -> None:
    page, box = web.page, search_box(web.page)
    search_words(page, "horses at the sea")
    box.fill("summ")
    expect(page.get_by_role("option")).not_to_have_count(0)
    box.press("Escape")
    expect(page.get_by_role("listbox", name="Suggestions")).to_be_hidden()
    expect(box).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#heading")).to_have_text("“horses at the sea”")


def test_filters_narrow_the_library_and_every_search(
    described: dict[str, int], web: Watched, photos: dict[str, Path]
) -> None:
    page = web.page
    page.get_by_role("button", name="Filters").click()
    panel = page.get_by_role("region", name="Filters")
    panel.get_by_role("button", name="summer trip").click()

    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator("#status")).to_have_text("2 photos")
    assert "tags_all=summer+trip" in page.url
    pressed = panel.get_by_role("button", name="summer trip")
    expect(pressed).to_have_attribute("aria-pressed", "true")
    expect(pressed).to_be_focused()
    expect(panel.get_by_role("button", name="dinner")).to_contain_text("1")

    search_words(page, "a laptop")
    assert set(names(page)) == {HORSES, PIZZA}
    panel.get_by_role("button", name="dinner").click()
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_role("button", name="Search without: category: dinner").click()
    expect(page.locator(".card")).to_have_count(2)
    panel.get_by_role("button", name="summer trip").press("Escape")
    expect(panel).to_be_hidden()
    page.get_by_role("button", name="Clear search").click()
    expect(page.locator(".card")).to_have_count(len(photos))


def test_a_link_holds_words_filters_and_order(described: dict[str, int], web: Watched) -> None:
    page = web.page
    page.goto(f"{web.address}/?q=pizza+and+a+glass+of+wine&tags_all=summer+trip&sort=added")

    expect(page.locator("#heading")).to_have_text("“pizza and a glass of wine”")
    expect(page.locator("#chips")).to_have_text("tag: summer trip")
    expect(page.get_by_role("combobox", name="Order")).to_have_value("added")
    expect(page.locator("#status")).to_contain_text("latest added")
    page.get_by_role("combobox", name="Order").select_option("Best first")
    expect(page).to_have_url(re.compile(r"wine&tags_all=summer\+trip$"))
    answered(page)
    assert names(page)[0] == PIZZA
    page.go_back()
    expect(page.get_by_role("combobox", name="Order")).to_have_value("added")


def test_the_library_can_stand_in_the_order_of_taking(web: Watched, photos: dict[str, Path]) -> None:
    http.post(
        f"{web.address}/upload", files={"file": ("late.jpg", photos[LAPTOP].read_bytes() + b"\0")},
        data={"taken_at": "2020-05-01"},
    ).raise_for_status()  # fmt: skip
    web.page.get_by_role("combobox", name="Order").select_option("Latest taken")
    expect(web.page.locator(".card .name").first).to_have_text("late.jpg")
    expect(web.page.get_by_role("combobox", name="Order")).to_have_value("taken")
    web.page.get_by_role("button", name="Filters").click()
    web.page.get_by_role("region", name="Filters").get_by_role("button", name="2020").click()
    expect(web.page.locator(".card")).to_have_count(1)


def test_what_does_not_fit_is_shown_as_such(web: Watched) -> None:
    search_words(web.page, "xqzt spreadsheet software")
    expect(web.page.locator("#status")).to_contain_text("Most likely nothing in the library fits")
    expect(web.page.locator(".card .open").first).to_have_css("opacity", "0.6")

    search_words(web.page, "horses on the beach")
    expect(web.page.locator(".card .open").first).to_have_css("opacity", "1")


def test_filters_that_leave_nothing_say_so(web: Watched) -> None:
    web.page.goto(f"{web.address}/?q=horses&category=nonesuch")
    expect(web.page.locator("#status")).to_have_text("Nothing in the library matches.")
    web.page.goto(f"{web.address}/?category=nonesuch")
    expect(web.page.locator("#status")).to_have_text("0 photos")


def test_hostile_names_are_text_in_suggestions_filters_and_chips(described: dict[str, int], web: Watched) -> None:
    page = web.page
    search_box(page).fill("<img")
    expect(page.get_by_role("option", name=HOSTILE)).to_be_visible()
    search_box(page).press("Escape")
    page.get_by_role("button", name="Filters").click()
    page.get_by_role("region", name="Filters").get_by_role("button", name=HOSTILE).click()
    expect(page.locator("#chips")).to_have_text(f"tag: {HOSTILE}")
    page.goto(f"{web.address}/?q={HOSTILE}")
    expect(page.locator("#heading")).to_have_text(f"“{HOSTILE}”")
    assert page.locator("img[src=x]").count() == 0
