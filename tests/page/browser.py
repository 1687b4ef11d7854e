"""A page in a real browser that fails its test for whatever goes wrong on it, and what a person does there."""

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from tests.server import http

ANSWER_MS = 30_000
ANSWERED = re.compile("best first|nearest is first")  # what is found, or that nothing fits for sure

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
]

HORSES = "coco_000000214753.jpg"
LAPTOP = "coco_000000553664.jpg"

Launch = Callable[..., Browser]


@dataclass
class Watched:
    """A page, and what went wrong on it. A status that a test provokes is named in `expected`."""

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(ANSWER_MS)
        self.page.on(
            "console", lambda message: self._on_console(message.type, f"{message.text} {message.location}")
        )
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("dialog", self._on_dialog)
        self.page.on("request", lambda request: self._on_request(request.url))

    def _on_console(self, kind: str, text: str) -> None:
        provoked = any(f"status of {status}" in text for status in self.expected)
        if kind in {"error", "warning"} and not provoked:
            self.problems.append(f"console {kind}: {text}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, url: str) -> None:
        if not url.startswith((self.address, "blob:", "data:")):
            self.problems.append(f"request to {url}")


@contextmanager
def watched_page(browser: Browser, address: str) -> Iterator[Watched]:
    """Opens / and fails the test for any console error, exception, dialog or request to another host."""
    with browser.new_context() as context:
        watched = Watched(context.new_page(), address)
        watched.page.goto(address)
        expect(watched.page.locator("body")).to_have_attribute("aria-busy", "false")  # its answer hides others
        yield watched
    assert watched.problems == [], watched.problems


def remove_all_but(server: str, kept: set[str]) -> None:
    """Leaves only the photos with these file names in the library."""
    page = http.get(f"{server}/photos", params={"limit": 1000}).json()
    for photo in page["photos"]:
        if photo["filename"] not in kept:
            http.delete(f"{server}/photo/{photo['id']}").raise_for_status()


def search_box(page: Page) -> Locator:
    return page.get_by_role("combobox", name="Search your photos")


def search_words(page: Page, words: str) -> None:
    search_box(page).fill(words)
    search_box(page).press("Enter")
    expect(page.locator("#heading")).to_have_text(f"“{words}”")
    answered(page)


def answered(page: Page) -> None:
    """Waits for the answer to what was asked last: the heading and the address change before it comes."""
    expect(page.locator("#status")).to_contain_text(ANSWERED)


def names(page: Page) -> list[str]:
    return page.locator(".card .name").all_inner_texts()


def upload(page: Page, *paths: Path) -> None:
    """Chooses files and waits until all are answered."""
    page.locator("#files").set_input_files(paths)
    expect(page.locator("#uploads")).to_have_attribute("data-busy", "false", timeout=ANSWER_MS)


def drop(page: Page, selector: str, path: Path) -> None:
    """Drops a file on an element, as the file manager would."""
    page.evaluate(
        """([selector, name, data]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
            const target = document.querySelector(selector);
            const drag = { dataTransfer: transfer, bubbles: true, cancelable: true };
            for (const kind of ["dragenter", "dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, drag));
        }""",
        [selector, path.name, base64.b64encode(path.read_bytes()).decode()],
    )
