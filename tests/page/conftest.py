"""One real server and one real browser for all tests of the page."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.conftest import PHOTOS, PIZZA
from tests.page.browser import (
    ANSWER_MS,
    BROWSER_FLAGS,
    HORSES,
    LAPTOP,
    Launch,
    Watched,
    remove_all_but,
    watched_page,
)
from tests.server import http, running

NO_WORDS = {"title": None, "caption": None, "category": None, "tags": None}
expect.set_options(timeout=ANSWER_MS)  # other tests use the machine at the same time


@pytest.fixture(scope="package")
def photos() -> dict[str, Path]:
    """Eight photos by file name, three of which the tests ask for."""
    others = [path.name for path in sorted(PHOTOS.glob("*.jpg")) if path.name not in {HORSES, PIZZA, LAPTOP}]
    return {name: PHOTOS / name for name in [HORSES, PIZZA, LAPTOP, *others[:5]]}


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def launch(playwright: Playwright) -> Launch:
    """Starts the browser of this machine, with more flags."""
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((path for name in names if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed")

    def start(*flags: str) -> Browser:
        return playwright.chromium.launch(executable_path=executable, args=[*BROWSER_FLAGS, *flags])

    return start


@pytest.fixture(scope="package")
def browser(launch: Launch) -> Iterator[Browser]:
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture
def empty_library(server: str) -> str:
    remove_all_but(server, set())
    return server


@pytest.fixture
def library(server: str, photos: dict[str, Path]) -> str:
    """The eight photos, as if new; those that an earlier test left are known already, and not encoded again."""
    remove_all_but(server, set(photos))
    for path in photos.values():
        files = {"file": (path.name, path.read_bytes())}
        known = http.post(f"{server}/upload", files=files).raise_for_status().json()
        http.patch(f"{server}/photo/{known['id']}", json=NO_WORDS).raise_for_status()
    return server


@pytest.fixture
def empty_page(browser: Browser, empty_library: str) -> Iterator[Watched]:
    with watched_page(browser, empty_library) as watched:
        yield watched


@pytest.fixture
def web(browser: Browser, library: str, photos: dict[str, Path]) -> Iterator[Watched]:
    with watched_page(browser, library) as watched:
        expect(watched.page.locator(".card")).to_have_count(len(photos))
        yield watched
