"""The page's library: adding photos, looking through them, deleting one."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Route, expect

from tests.conftest import PIZZA
from tests.page.browser import LAPTOP, Watched, names, upload


def test_an_empty_library_invites_to_add_photos(empty_page: Watched, photos: dict[str, Path]) -> None:
    page = empty_page.page
    expect(page.get_by_text("Drop your photos here")).to_be_visible()

    upload(page, *photos.values())

    expect(page.get_by_text("Drop your photos here")).to_be_hidden()
    assert sorted(names(page)) == sorted(photos)
    expect(page.locator("#status")).to_have_text(f"{len(photos)} photos")
    expect(page.locator("#uploads-summary")).to_contain_text(f"{len(photos)} added")


def test_a_hostile_file_name_is_only_text(empty_page: Watched, photos: dict[str, Path], tmp_path: Path) -> None:
    page = empty_page.page
    hostile = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    shutil.copy(photos[LAPTOP], hostile)

    upload(page, hostile)
    assert names(page) == [hostile.name]
    page.locator(".card .open").click()
    expect(page.locator("#lb-title")).to_have_text(hostile.name)
    page.locator("#lb-similar").click()
    expect(page.locator("#heading")).to_have_text(f"Similar to {hostile.name}")
    assert page.locator("img[src=x]").count() == 0


def test_the_library_continues_by_itself_when_its_end_comes_near(
    browser: Browser, library: str, photos: dict[str, Path]
) -> None:
    """The page asks for 48 at a time; here the request is narrowed to three, the cursor is the server's own."""
    asked: list[str] = []

    def narrow(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_(url=route.request.url.replace("limit=48", "limit=3"))

    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/photos?*", narrow)
        page.goto(library)
        expect(page.locator(".card")).to_have_count(len(photos))
        expect(page.get_by_role("button", name="Load more")).to_be_hidden()
        assert sorted(names(page)) == sorted(photos)
    assert ["cursor=" in url for url in asked] == [False, True, True]


def test_a_page_that_did_not_come_is_asked_for_again_by_the_button(
    browser: Browser, library: str, photos: dict[str, Path]
) -> None:
    """The second page fails once, as it does where the line breaks; the rest is the server's own."""
    failed: list[str] = []

    def break_once(route: Route) -> None:
        if "cursor=" in route.request.url and not failed:
            failed.append(route.request.url)
            return route.abort()
        return route.continue_(url=route.request.url.replace("limit=48", "limit=3"))

    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/photos?*", break_once)
        page.goto(library)
        expect(page.locator("#status.error")).to_have_text("The server cannot be reached.")
        expect(page.locator(".card")).to_have_count(3)
        page.get_by_role("button", name="Load more").press("Enter")
        expect(page.locator(".card")).to_have_count(len(photos))


def test_a_blurred_picture_is_shown_until_the_thumbnail_is_there(
    browser: Browser, library: str, tmp_path: Path
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/thumbnail?*", hold)
        watched = Watched(page, library)
        page.goto(library)
        image = page.locator(".card img").first
        expect(image).to_have_css("background-image", re.compile("^url"))
        with Image.open(io.BytesIO(image.screenshot(path=tmp_path / "placeholder.png"))) as shown:
            assert np.asarray(shown.convert("L")).std() > 20  # a picture, and not the card's plain ground
        for route in held:
            route.continue_()
        expect(image).to_have_css("background-image", "none")
    assert watched.problems == []


def test_a_photo_is_deleted_only_after_a_yes(web: Watched, photos: dict[str, Path]) -> None:
    page = web.page
    card = page.locator(".card", has_text=PIZZA)
    expect(card.locator("img")).to_have_js_property(
        "complete", True
    )  # else its picture may be asked for afterwards
    card.locator(".open").click()
    page.locator("#lb-delete").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator(".card")).to_have_count(len(photos))

    page.locator("#lb-delete").click()
    page.locator("#confirm").get_by_role("button", name="Delete", exact=True).click()

    expect(page.locator(".card")).to_have_count(len(photos) - 1)
    page.reload()
    expect(page.locator(".card")).to_have_count(len(photos) - 1)
    assert PIZZA not in names(page)
