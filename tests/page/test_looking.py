"""One photo, large: walking, enlarging, what is known of it, editing, why it matched."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.conftest import PIZZA
from tests.page.browser import HORSES, Watched, names, search_words, watched_page
from tests.server import http

HOSTILE = "<img src=x onerror=alert(1)>"


def look_at(page: Page, name: str) -> Locator:
    page.locator(".card", has_text=name).locator(".open").click()
    lightbox = page.locator("#lightbox")
    expect(lightbox.get_by_role("heading", name=name)).to_be_visible()
    return lightbox


def scale(page: Page) -> float:
    return float(page.evaluate("new DOMMatrix(getComputedStyle(document.getElementById('lb-sheet')).transform).a"))


def test_keys_enlarge_hide_and_explain(web: Watched) -> None:
    page = web.page
    look_at(page, HORSES)
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert scale(page) == pytest.approx(2.25)
    page.keyboard.press("ArrowRight")  # moves what is enlarged, and stays with the photo
    expect(page.locator("#lb-title")).to_have_text(HORSES)
    page.keyboard.press("-")
    assert scale(page) == pytest.approx(1.5)
    page.keyboard.press("0")
    assert scale(page) == 1

    page.keyboard.press("i")
    expect(page.locator("#lightbox aside")).to_be_hidden()
    page.keyboard.press("i")
    expect(page.locator("#lightbox aside")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    expect(page.locator("#lightbox")).to_be_visible()


def test_the_wheel_enlarges_what_is_under_the_pointer_and_dragging_moves_it(web: Watched) -> None:
    page = web.page
    look_at(page, HORSES)
    stage = page.locator("#lb-stage").bounding_box()
    assert stage is not None
    x, y = stage["x"] + stage["width"] / 4, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    expect(page.locator("#lb-stage")).to_have_class("stage zoomed")
    before = page.locator("#lb-sheet").bounding_box()
    assert before is not None
    share = (x - before["x"]) / before["width"]
    assert share == pytest.approx(0.25, abs=0.01)  # the same point of the photo is still under it

    page.mouse.down()
    page.mouse.move(x - 60, y, steps=3)
    page.mouse.up()
    after = page.locator("#lb-sheet").bounding_box()
    assert after is not None
    assert after["x"] == pytest.approx(before["x"] - 60, abs=1)
    page.mouse.dblclick(x, y)
    assert scale(page) == 1


def test_a_swipe_turns_the_page_and_two_fingers_enlarge(browser: Browser, library: str) -> None:
    """Touches are sent through the browser's own protocol, for Playwright can only tap."""
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(library)
        expect(page.locator(".card")).not_to_have_count(0)
        first, second = names(page)[:2]
        page.locator(".card .open").first.tap()
        expect(page.locator("#lb-title")).to_have_text(first)
        wire = context.new_cdp_session(page)

        def touch(kind: str, *points: tuple[int, int]) -> None:
            dots = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
            wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": dots})

        touch("touchStart", (300, 250))
        touch("touchMove", (200, 252))
        touch("touchMove", (120, 254))
        touch("touchEnd")
        expect(page.locator("#lb-title")).to_have_text(second)

        touch("touchStart", (180, 250), (220, 250))
        touch("touchMove", (120, 250), (280, 250))
        touch("touchEnd")
        expect(page.locator("#lb-stage")).to_have_class("stage zoomed")
        assert scale(page) == pytest.approx(4, rel=0.1)


def test_what_is_known_of_a_photo_is_told(web: Watched, photos: dict[str, Path]) -> None:
    page = web.page
    data = {"taken_at": "2019-07-14T16:20:00", "latitude": "53.55", "longitude": "8.58"}
    name = "by the sea.jpg"
    files = {"file": (name, photos[HORSES].read_bytes() + b"\0")}
    answer = http.post(f"{web.address}/upload", files=files, data=data).raise_for_status().json()
    page.reload()
    look_at(page, name)

    facts = page.locator("#lb-facts")
    expect(facts).to_contain_text("Jul 14, 2019, 4:20")
    expect(facts).to_contain_text("Bremerhaven")
    expect(facts).to_contain_text(f"{answer['width']} × {answer['height']}")
    expect(facts).to_contain_text(name)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == name
    assert download.value.path().read_bytes() == photos[HORSES].read_bytes() + b"\0"


def test_words_are_edited_in_place(web: Watched) -> None:
    page = web.page
    lightbox = look_at(page, HORSES)
    page.keyboard.press("e")
    form = lightbox.get_by_role("form", name="Your words about this photo")
    form.get_by_label("Title").fill(HOSTILE)
    form.get_by_label("Caption").fill("Riding at low tide")
    form.get_by_label("Category").fill("holiday")
    form.get_by_label("Tags").fill("horse, sea ,, north")
    form.get_by_role("button", name="Save").click()

    expect(form).to_be_hidden()
    expect(page.locator("#lb-note")).to_have_text("Saved.")
    expect(page.locator("#lb-title")).to_have_text(HOSTILE)
    expect(page.locator("#lb-caption")).to_have_text("Riding at low tide")
    expect(page.locator("#lb-category")).to_have_text("holiday")
    expect(page.locator("#lb-tags li")).to_have_text(["horse", "sea", "north"])
    page.keyboard.press("Escape")
    expect(page.locator(".card", has_text=HOSTILE)).to_have_count(1)
    page.reload()
    expect(page.locator(".card", has_text=HOSTILE)).to_have_count(1)

    look_at(page, HOSTILE)
    page.keyboard.press("e")
    for field in ("Title", "Caption", "Category", "Tags"):  # empty: what the service suggests shows again
        form.get_by_label(field).fill("")
    form.get_by_label("Title").press("Enter")
    expect(page.locator("#lb-title")).to_have_text(HORSES)
    expect(page.locator("#lb-caption")).to_contain_text("A photo of")
    assert page.locator("img[src=x]").count() == 0


def test_escape_gives_an_edit_up_and_a_refused_one_says_why(web: Watched) -> None:
    web.expected = {422}
    page = web.page
    lightbox = look_at(page, HORSES)
    page.get_by_role("button", name="Edit").click()
    form = lightbox.get_by_role("form", name="Your words about this photo")
    form.get_by_label("Tags").fill("x" * 101)
    form.get_by_role("button", name="Save").click()
    expect(form.locator(".note.error")).not_to_be_empty()
    form.get_by_label("Tags").press("Escape")
    expect(form).to_be_hidden()
    expect(lightbox).to_be_visible()
    expect(page.get_by_role("button", name="Edit")).to_be_focused()
    expect(page.locator("#lb-title")).to_have_text(HORSES)


def test_a_result_says_why_and_where_it_matched(web: Watched) -> None:
    page = web.page
    search_words(page, "horses on the beach")
    look_at(page, HORSES)
    page.get_by_text("Why it matched").click()
    expect(page.locator("#lb-why")).to_contain_text("% sure that it is what was asked for")
    expect(page.locator("#lb-why")).to_contain_text("cosine 0.")

    page.keyboard.press("h")
    heat = page.locator("#lb-heat")
    expect(heat).to_be_visible()
    expect(heat).not_to_have_js_property("naturalWidth", 0)
    expect(page.locator("#lb-note")).to_be_empty()
    page.get_by_role("button", name="Where it matches").click()
    expect(heat).to_be_hidden()


def test_in_the_library_there_is_nothing_to_explain_or_to_vote_on(web: Watched) -> None:
    page = web.page
    look_at(page, HORSES)
    expect(page.get_by_text("Why it matched")).to_be_hidden()
    expect(page.get_by_role("button", name="Where it matches")).to_be_hidden()
    expect(page.locator("#lb-votes")).to_be_hidden()


def test_a_vote_in_the_lightbox_can_be_undone(web: Watched) -> None:
    page = web.page
    search_words(page, "animals on grass")
    look_at(page, HORSES)
    good = page.locator("#lightbox").get_by_role("button", name="Good match")
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#toast")).to_contain_text("Marked as a good match.")
    page.get_by_role("button", name="Undo").click()
    expect(good).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#toast")).to_contain_text("taken back")
    page.keyboard.press("Escape")
    card = page.locator(".card", has_text=HORSES)
    expect(card.get_by_role("button", name="Good match")).to_have_attribute("aria-pressed", "false")


def test_similar_photos_lie_below_and_lead_on(web: Watched) -> None:
    page = web.page
    look_at(page, HORSES)
    strip = page.locator("#lb-strip button")
    expect(strip).not_to_have_count(0)
    name = strip.first.get_attribute("title")
    assert name not in {None, HORSES}
    strip.first.click()
    expect(page.locator("#lb-title")).to_have_text(str(name))
    page.keyboard.press("Escape")
    expect(page.locator(".card", has_text=HORSES).locator(".open")).to_be_focused()


def test_walking_on_loads_more(browser: Browser, library: str, photos: dict[str, Path]) -> None:
    """The page asks for 48 at a time; here the request is narrowed to three, and the second fails at first."""
    with browser.new_context(viewport={"width": 1280, "height": 300}) as context:
        page = context.new_page()
        held = True

        def narrow(route: Route) -> None:
            request = route.request
            if held and "cursor=" in request.url:
                route.abort()
            else:
                route.continue_(url=request.url.replace("limit=48", "limit=3"))

        page.route("**/photos?*", narrow)
        page.goto(library)
        expect(page.locator("#status.error")).to_be_visible()
        held = False
        page.locator(".card .open").first.click()
        expect(page.locator("#lightbox")).to_be_visible()
        for _ in range(len(photos) - 1):
            before = page.locator("#lb-title").inner_text()
            page.keyboard.press("ArrowRight")
            expect(page.locator("#lb-title")).not_to_have_text(before)
        expect(page.get_by_role("button", name="Next photo")).to_be_hidden()


def test_the_lightbox_leads_to_similar_photos_and_combinations(browser: Browser, web: Watched) -> None:
    page = web.page
    look_at(page, PIZZA)
    page.keyboard.press("c")
    expect(page.locator(".part .part-name")).to_have_text([PIZZA])
    with watched_page(browser, web.address) as other:
        look_at(other.page, PIZZA)
        other.page.keyboard.press("s")
        expect(other.page.locator("#heading")).to_have_text(f"Similar to {PIZZA}")
        assert re.search(r"similar=\d+$", other.page.url)
