"""Questions of several parts, and of parts of a picture."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from tests.conftest import PIZZA
from tests.page.browser import HORSES, LAPTOP, Watched, answered, names, search_box, search_words
from tests.server import http


def terms(page: Page) -> list[dict[str, object]]:
    """The parts that the address names."""
    found: list[dict[str, object]] = json.loads(parse_qs(urlsplit(page.url).query)["mix"][0])
    return found


def id_of(server: str, name: str) -> int:
    rows = http.get(f"{server}/photos", params={"limit": 1000}).json()["photos"]
    return next(int(row["id"]) for row in rows if row["filename"] == name)


def combine_with(page: Page, name: str) -> None:
    page.locator(".card", has_text=name).get_by_role("button", name="Combine with").click()
    answered(page)


def test_words_and_a_photo_are_asked_for_together(web: Watched) -> None:
    page = web.page
    search_words(page, "a red laptop")
    combine_with(page, PIZZA)

    expect(page.locator("#heading")).to_have_text("Combined search")
    pizza = id_of(web.address, PIZZA)
    assert terms(page) == [{"text": "a red laptop"}, {"photo_id": pizza}]
    assert set(names(page)[:2]) == {LAPTOP, PIZZA}

    page.get_by_role("button", name=f"Less of this: {PIZZA}").click()
    expect(page.locator(".part.less .part-name")).to_have_text(PIZZA)
    expect(page.locator(".card .name").nth(1)).not_to_have_text(PIZZA)
    assert terms(page)[1] == {"photo_id": pizza, "weight": -1}

    search_box(page).fill("horses")
    search_box(page).press("Enter")
    expect(page.locator(".part")).to_have_count(3)
    page.get_by_role("button", name="Search without a red laptop").click()
    expect(page.locator(".part .part-name")).to_have_text([PIZZA, "horses"])
    expect(page.locator(".card .name").first).to_have_text(HORSES)
    page.go_back()
    expect(page.locator(".part")).to_have_count(3)


def test_a_weight_is_set_by_keyboard_and_kept_in_the_link(web: Watched, photos: dict[str, Path]) -> None:
    page = web.page
    search_words(page, "horses")
    combine_with(page, PIZZA)
    slider = page.get_by_role("slider", name="Weight of horses")
    slider.press("End")
    expect(page.locator(".part output").first).to_have_text("× 3")
    expect(page).to_have_url(re.compile("%22weight%22%3A3%7D"))
    expect(slider).to_be_focused()
    answered(page)
    before = names(page)

    page.goto("about:blank")
    page.go_back()
    expect(page.locator(".card")).to_have_count(len(photos))
    assert names(page) == before
    expect(page.get_by_role("slider", name="Weight of horses")).to_have_value("3")


def test_the_box_begins_a_combination(web: Watched) -> None:
    page = web.page
    button = page.get_by_role("button", name="Combine", exact=True)
    button.click()
    expect(page.locator("#status")).to_contain_text("Type words")
    search_box(page).fill("horses")
    button.click()
    expect(page.locator(".part .part-name")).to_have_text(["horses"])
    search_box(page).fill("-sea")
    search_box(page).press("Enter")
    expect(page.locator(".part .part-name")).to_have_text(["horses", "-sea"])


def test_a_picture_of_this_device_cannot_be_in_a_link_and_the_page_says_so(
    web: Watched, photos: dict[str, Path]
) -> None:
    page = web.page
    search_words(page, "horses")
    page.get_by_role("button", name="Combine", exact=True).click()
    expect(page.locator(".part")).to_have_count(1)
    page.locator("#query-picture").set_input_files(photos[PIZZA])
    expect(page.locator(".part .part-name")).to_have_text(["horses", PIZZA])
    expect(page.locator("#status")).to_contain_text("not part of a link")
    assert names(page)[0] == PIZZA

    page.reload()
    expect(page.locator("#status")).to_contain_text("Choose the picture again")
    expect(page.locator(".part .part-name")).to_have_text(["horses"])


def test_a_part_of_a_query_picture_is_asked_with(web: Watched, photos: dict[str, Path]) -> None:
    page = web.page
    page.locator("#query-picture").set_input_files(photos[LAPTOP])
    answered(page)
    page.get_by_role("button", name="Search with a part of this picture").click()
    frame = page.get_by_role("group", name="Frame:")
    expect(frame).to_be_focused()
    frame.press("ArrowLeft")
    frame.press("Shift+ArrowDown")
    expect(frame).to_have_attribute(
        "aria-label", "Frame: 23 % from the left, 25 % from the top, 50 % wide, 52 % high"
    )
    with page.expect_request(lambda request: "crop=0.23%2C0.25%2C0.5%2C0.52" in request.url):
        page.get_by_role("button", name="Search this part").click()
    answered(page)
    expect(page.locator("#asked-with")).to_have_class("cropped")


def test_a_part_of_a_photo_is_drawn_with_the_pointer(web: Watched) -> None:
    page = web.page
    page.locator(".card", has_text=HORSES).locator(".open").click()
    page.get_by_role("button", name="Search a part").click()
    expect(page.get_by_role("dialog", name="Search with a part of the picture")).to_be_visible()
    stage = page.locator(".crop-stage img")
    expect(stage).not_to_have_js_property("naturalWidth", 0)
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    with page.expect_request(lambda request: "/search/image-to-image" in request.url) as sent:
        page.get_by_role("button", name="Search this part").click()

    crop = [float(number) for number in parse_qs(urlsplit(sent.value.url).query)["crop"][0].split(",")]
    assert crop[0] < 0.03
    assert crop[1] < 0.03
    assert 0.45 < crop[2] < 0.52
    assert 0.45 < crop[3] < 0.52
    expect(page.locator("#heading")).to_have_text(f"Similar to {HORSES}")
    expect(page.locator(".card")).not_to_have_count(0)
    assert "crop=" in page.url
