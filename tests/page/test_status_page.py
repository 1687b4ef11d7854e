"""The status page: what it says is what the server does, and it looks again only while somebody looks at it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.axe import grave_findings
from tests.page.browser import ANSWER_MS, HORSES, Watched, watched_page
from tests.server import http

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def status(browser: Browser, library: str, photos: dict[str, Path]) -> Iterator[Watched]:
    """The page, after a search of each kind but voice and an import of which one file is broken."""
    http.get(f"{library}/search/text", params={"q": HOSTILE}).raise_for_status()
    picture = {"file": (HORSES, photos[HORSES].read_bytes())}
    http.post(f"{library}/search/image", files=picture).raise_for_status()
    files = [("files", (f"{HOSTILE}.jpg", b"no picture")), ("files", (HORSES, photos[HORSES].read_bytes()))]
    accepted = http.post(f"{library}/imports", files=files).json()
    while not http.get(f"{library}{accepted['url']}").json()["finished"]:
        pass
    with watched_page(browser, library) as watched:
        watched.page.get_by_role("link", name="Status of the server").click()
        expect(watched.page.locator("#health")).to_have_text("Everything works", timeout=ANSWER_MS)
        yield watched


def fact(page: Page, name: str) -> str:
    return page.locator("#facts div", has_text=name).locator("dd").inner_text()


def test_the_numbers_are_the_servers_own(status: Watched, photos: dict[str, Path]) -> None:
    stats = http.get(f"{status.address}/stats").json()
    assert fact(status.page, "Photos") == str(len(photos))
    assert (fact(status.page, "Model"), fact(status.page, "Runs on")) == (stats["model"], stats["device"])
    expect(status.page.locator("#model-state")).to_contain_text(stats["model"])


def test_every_chart_says_in_words_what_it_draws(status: Watched) -> None:
    charts = status.page.get_by_role("img")
    expect(charts).to_have_count(8)
    described = {str(label) for label in charts.evaluate_all("(all) => all.map((one) => one.ariaLabel)")}
    memory = next(label for label in described if label.startswith("Memory"))
    assert re.fullmatch(r"Memory: [\d,]+ MB now, between [\d,]+ MB and [\d,]+ MB in the last \d+ s\.", memory)
    words = next(label for label in described if label.startswith("By words"))
    assert re.search(r"half of them within [\d,.]+ ms, 95 % within [\d,.]+ ms", words)
    assert status.page.locator("figure", has_text="By words").locator("path.line").count() == 2


def test_searches_and_failures_are_listed_as_text(status: Watched) -> None:
    page = status.page
    rows = page.locator("#searches tr")
    expect(rows.nth(0)).to_contain_text("a picture")
    expect(rows.nth(1).locator(".asked")).to_have_text(HOSTILE)

    newest = page.locator(".import").first
    expect(newest).to_contain_text("2 of 2 · 1 there already · 1 failed")
    newest.locator("summary").click()
    expect(newest.locator(".reasons li")).to_contain_text(f"{HOSTILE}.jpg: This is not a picture")
    newest.get_by_role("button", name="Try them again").click()
    expect(newest).to_contain_text("must be sent anew")
    assert page.locator("img[src=x]").count() == 0


def test_it_looks_again_while_it_is_seen_and_rests_while_it_is_not(status: Watched) -> None:
    page = status.page
    with page.expect_response("**/stats", timeout=ANSWER_MS):
        pass
    seen: list[str] = []
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { get: () => globalThis.away, configurable: true });
            globalThis.away = true;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )  # a headless browser has no other tab to go to
    page.wait_for_timeout(1000)
    page.on("request", lambda request: seen.append(request.url))
    page.wait_for_timeout(3500)
    assert seen == []

    with page.expect_response("**/stats", timeout=ANSWER_MS):
        page.evaluate("globalThis.away = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_the_model_changes_only_for_whoever_has_the_key(status: Watched) -> None:
    status.expected = {403}
    page = status.page
    page.get_by_text("Change the model").click()
    page.get_by_role("textbox", name="Model").fill("embedded")
    page.get_by_role("button", name="Change", exact=True).click()

    expect(page.locator("#model-answer")).to_contain_text("scope 'admin'")


def test_a_change_of_model_shows_how_far_it_is(status: Watched) -> None:
    """The server's answer is filled in: the change itself needs a second model, which takes minutes to load."""
    health = http.get(f"{status.address}/health").json()
    change = {"model": "ViT-B-32/laion2b", "state": "pending", "total": 200, "done": 50, "seconds_left": 120}
    status.page.route("**/health", lambda route: route.fulfill(json=health | {"model_change": change}))

    expect(status.page.locator("#model-state")).to_contain_text(
        "Changing to ViT-B-32/laion2b: 50 of 200 photos, about 2 min left", timeout=ANSWER_MS
    )
    assert status.page.locator("#model-progress").evaluate("(bar) => bar.value") == 0.25


def test_a_server_that_is_gone_is_told(status: Watched) -> None:
    status.page.context.set_offline(True)
    expect(status.page.locator("#health")).to_have_text("The server cannot be reached", timeout=ANSWER_MS)
    status.page.context.set_offline(False)
    expect(status.page.locator("#health")).to_have_text("Everything works", timeout=ANSWER_MS)
    status.problems[:] = [problem for problem in status.problems if "ERR_INTERNET_DISCONNECTED" not in problem]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_for_everyone(status: Watched, scheme: str) -> None:
    page = status.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.locator(".import summary").first.click()
    page.get_by_text("Change the model").click()

    assert grave_findings(page) == []
    for width in (320, 820, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
