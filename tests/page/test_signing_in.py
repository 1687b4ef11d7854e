"""A library with access keys: the page asks for one, and shows nothing before."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import PHOTOS, PIZZA
from tests.page.axe import grave_findings
from tests.page.browser import Watched
from tests.server import Server, http, running

KEY = "the administrator's own key"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("closed")
    with running(folder, RECOLLECT_ADMIN_KEY=KEY, RECOLLECT_WHISPER_MODEL="none") as server:
        files = {"file": (PIZZA, (PHOTOS / PIZZA).read_bytes())}
        http.post(f"{server.url}/upload", files=files, headers={"X-API-Key": KEY}).raise_for_status()
        yield server


def test_the_page_asks_for_a_key_and_shows_nothing_before(browser: Browser, closed: Server) -> None:
    with browser.new_context() as context:
        watched = Watched(context.new_page(), closed.url, expected={401})
        page = watched.page
        page.goto(f"{closed.url}/?q=pizza")
        dialog = page.get_by_role("dialog", name="Sign in")
        expect(dialog).to_be_visible()
        assert page.locator(".card").count() == 0
        assert grave_findings(page) == []

        page.get_by_label("Access key").fill("a wrong one")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("not known")
        page.keyboard.press("Escape")
        expect(dialog).to_be_visible()

        page.get_by_label("Access key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator(".card")).to_have_count(1)
        expect(page.locator("#heading")).to_have_text("“pizza”")
        expect(page.locator(".card img")).to_have_js_property("complete", True)
        assert page.locator(".card img").evaluate("(image) => image.naturalWidth") > 0
        page.reload()
        expect(page.locator(".card")).to_have_count(1)
        page.goto(f"{closed.url}/status")
        page.get_by_role("button", name="Sign out").click()
        expect(dialog).to_be_visible()
        assert page.request.get(f"{closed.url}/photos").status == 401
        assert re.search(KEY, str(page.evaluate("JSON.stringify([document.cookie, {...localStorage}])"))) is None
    assert watched.problems == []
