"""Searching on the page by words and pictures, and voting on what it found."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.conftest import PIZZA
from tests.page.browser import HORSES, LAPTOP, Watched, answered, drop, names, search_box, search_words
from tests.server import http


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("horses on the beach", HORSES),
        ("pizza and a glass of wine", PIZZA),
        ("a red laptop", LAPTOP),
    ],
)
def test_words_find_the_right_photo_first(web: Watched, words: str, expected: str) -> None:
    search_words(web.page, words)

    assert names(web.page)[0] == expected
    scores = [float(text) for text in web.page.locator(".score .number").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[0] <= 1


def test_a_picture_finds_itself_first(web: Watched, photos: dict[str, Path]) -> None:
    web.page.locator("#query-picture").set_input_files(photos[LAPTOP])

    answered(web.page)
    assert names(web.page)[0] == LAPTOP
    expect(web.page.locator("#asked-with")).to_be_visible()


def test_a_picture_dropped_on_the_search_box_is_a_question(web: Watched, photos: dict[str, Path]) -> None:
    drop(web.page, "#words", photos[PIZZA])

    expect(web.page.locator("#heading")).to_have_text(f"Similar to {PIZZA}")
    assert names(web.page)[0] == PIZZA


def test_a_photo_dropped_elsewhere_joins_the_library(empty_page: Watched, photos: dict[str, Path]) -> None:
    drop(empty_page.page, "#photos", photos[PIZZA])

    expect(empty_page.page.locator(".card")).to_have_count(1)
    assert names(empty_page.page) == [PIZZA]


def test_a_broken_query_picture_leaves_the_page_as_it_was(web: Watched, tmp_path: Path) -> None:
    web.expected = {415, 422}
    before = names(web.page)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is not a photo")

    web.page.locator("#query-picture").set_input_files(broken)

    expect(web.page.locator("#status.error")).not_to_be_empty()
    assert names(web.page) == before
    assert web.page.url == f"{web.address}/"


def test_similar_shows_the_others_and_the_back_button_returns(web: Watched, photos: dict[str, Path]) -> None:
    page = web.page
    search_words(page, "horses on the beach")
    page.locator(".card", has_text=HORSES).get_by_role("button", name="Photos similar to").click()
    expect(page.locator("#heading")).to_have_text(f"Similar to {HORSES}")
    expect(page.locator(".card")).to_have_count(len(photos) - 1)
    assert HORSES not in names(page)

    page.go_back()
    expect(page.locator("#heading")).to_have_text("“horses on the beach”")
    expect(page.locator(".card .name").first).to_have_text(HORSES)
    expect(search_box(page)).to_have_value("horses on the beach")
    page.go_back()
    expect(page.locator("#heading")).to_have_text("Your photos")


def test_a_link_to_a_search_shows_its_results(web: Watched) -> None:
    web.page.goto(f"{web.address}/?q=horses+on+the+beach")

    expect(web.page.locator(".card .name").first).to_have_text(HORSES)


def test_a_late_answer_never_replaces_a_newer_one(web: Watched) -> None:
    page = web.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile(r"/search/text\?q=slow"), hold)
    search_box(page).fill("slow laptop")
    with page.expect_request(re.compile(r"/search/text\?q=slow")):
        search_box(page).press("Enter")
    expect(page.locator("body")).to_have_attribute("aria-busy", "true")
    while not held:  # the next search would take an unsent request back
        page.wait_for_timeout(10)

    search_words(page, "horses on the beach")
    held[0].fulfill(json={"results": [], "query": "slow laptop", "query_id": 1, "latency_ms": 1})
    page.wait_for_timeout(300)

    expect(page.locator("#heading")).to_have_text("“horses on the beach”")
    assert names(page)[0] == HORSES


def test_a_vote_is_kept_and_taken_back(web: Watched) -> None:
    def counted() -> tuple[int, int]:
        votes = http.get(f"{web.address}/stats").json()["feedback"]
        return votes["up"], votes["down"]

    up, down = counted()
    search_words(web.page, "animals on grass")
    card = web.page.locator(".card").first
    good = card.get_by_role("button", name="Good match")
    bad = card.get_by_role("button", name="Bad match")

    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    assert counted() == (up + 1, down)
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")
    assert counted() == (up, down + 1)
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "false")
    assert counted() == (up, down)


def test_the_back_button_leads_to_where_one_was(web: Watched) -> None:
    page = web.page
    page.set_viewport_size({"width": 700, "height": 300})
    search_words(page, "horses on the beach")
    page.evaluate("scrollTo(0, 400)")
    page.locator(".card").nth(5).get_by_role("button", name="Photos similar to").press("Enter")
    expect(page.locator("#heading")).to_contain_text("Similar to")
    expect(page.locator("html")).to_have_js_property("scrollTop", 0)
    page.go_back()
    expect(page.locator("#heading")).to_have_text("“horses on the beach”")
    expect(page.locator("html")).not_to_have_js_property("scrollTop", 0)


def test_a_server_that_is_gone_is_told(web: Watched, photos: dict[str, Path]) -> None:
    """The request is broken off on its way, as it is where the line breaks."""
    web.page.route("**/search/text?*", lambda route: route.abort("connectionrefused"))
    search_box(web.page).fill("horses")
    search_box(web.page).press("Enter")
    expect(web.page.locator("#status.error")).to_have_text("The server cannot be reached.")
    expect(web.page.locator(".card")).to_have_count(0)
    web.page.get_by_role("button", name="Clear search").click()
    expect(web.page.locator(".card")).to_have_count(len(photos))
    web.problems[:] = [problem for problem in web.problems if "ERR_CONNECTION_REFUSED" not in problem]
