"""The page at /, driven in a real browser against a real server: what a person can do, what must not happen."""

import base64
import io
import json
import re
import shutil
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Dialog, Page, Playwright, Route, expect, sync_playwright

from tests.conftest import DATA, PHOTOS, PIZZA
from tests.server import running

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


@pytest.fixture(scope="module")
def photos() -> dict[str, Path]:
    """Eight photos by file name, three of which the tests ask for."""
    others = [path.name for path in sorted(PHOTOS.glob("*.jpg")) if path.name not in {HORSES, PIZZA, LAPTOP}]
    return {name: PHOTOS / name for name in [HORSES, PIZZA, LAPTOP, *others[:5]]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def launch(playwright: Playwright) -> Launch:
    """Starts the browser of this machine, with more flags."""
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((path for name in names if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed")

    def start(*flags: str) -> Browser:
        return playwright.chromium.launch(executable_path=executable, args=[*BROWSER_FLAGS, *flags])

    return start


@pytest.fixture(scope="module")
def browser(launch: Launch) -> Iterator[Browser]:
    browser = launch()
    yield browser
    browser.close()


@dataclass
class Watched:
    """A page, and what went wrong on it. A status that a test provokes is named in `expected`."""

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(ANSWER_MS)
        self.page.on("console", lambda message: self._on_console(message.type, message.text))
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
        yield watched
    assert watched.problems == []


def remove_all_but(server: str, kept: set[str]) -> None:
    """Leaves only the photos with these file names in the library."""
    page = httpx2.get(f"{server}/photos", params={"limit": 1000}).json()
    for photo in page["photos"]:
        if photo["filename"] not in kept:
            httpx2.delete(f"{server}/photo/{photo['id']}").raise_for_status()


@pytest.fixture
def empty_library(server: str) -> str:
    remove_all_but(server, set())
    return server


@pytest.fixture
def library(server: str, photos: dict[str, Path]) -> str:
    """The eight photos; those that an earlier test left are known already, and not encoded again."""
    remove_all_but(server, set(photos))
    for path in photos.values():
        files = {"file": (path.name, path.read_bytes())}
        httpx2.post(f"{server}/upload", files=files, timeout=60).raise_for_status()
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


def search_words(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator("#heading")).to_have_text(f"“{words}”")
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


# ── The library ───────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_library_invites_to_add_photos(empty_page: Watched, photos: dict[str, Path]) -> None:
    page = empty_page.page
    expect(page.get_by_text("Drop your photos here")).to_be_visible()

    upload(page, *photos.values())

    expect(page.get_by_text("Drop your photos here")).to_be_hidden()
    assert sorted(names(page)) == sorted(photos)
    expect(page.locator("#status")).to_have_text(f"{len(photos)} photos")
    expect(page.locator("#uploads-summary")).to_contain_text(f"{len(photos)} added")


def test_the_upload_list_tells_new_known_and_broken_files_apart(
    web: Watched, photos: dict[str, Path], tmp_path: Path
) -> None:
    web.expected = {415, 422}
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is not a photo")

    upload(web.page, photos[HORSES], broken)

    rows = web.page.locator("#uploads-list li")
    expect(rows.filter(has_text=HORSES)).to_contain_text("already there")
    assert web.page.locator("#uploads-list li[data-state=failed] .state").inner_text() not in {"", "failed"}
    expect(web.page.locator("#uploads-summary")).to_have_text("2 of 2 · 1 already there · 1 failed")
    expect(web.page.locator(".card")).to_have_count(len(photos))


def test_an_upload_that_meets_a_busy_server_is_sent_again(empty_page: Watched, photos: dict[str, Path]) -> None:
    empty_page.expected = {503}
    attempts: list[str] = []

    def busy_once(route: Route) -> None:
        attempts.append(route.request.method)
        if len(attempts) > 1:
            return route.continue_()
        problem = json.dumps({"type": "overloaded", "title": "Busy", "status": 503, "detail": "Busy."})
        return route.fulfill(
            status=503, headers={"Retry-After": "1", "Content-Type": "application/problem+json"}, body=problem
        )

    empty_page.page.route("**/upload", busy_once)
    upload(empty_page.page, photos[PIZZA])

    assert attempts == ["POST", "POST"]
    assert names(empty_page.page) == [PIZZA]


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


def test_the_library_continues_with_load_more(browser: Browser, library: str, photos: dict[str, Path]) -> None:
    """The page asks for 48 at a time; here the request is narrowed to three, the cursor is the server's own."""
    with browser.new_context() as context:
        page = context.new_page()
        page.route(
            "**/photos?*", lambda route: route.continue_(url=route.request.url.replace("limit=48", "limit=3"))
        )
        page.goto(library)
        expect(page.locator(".card")).to_have_count(3)
        page.get_by_role("button", name="Load more").click()
        expect(page.locator(".card")).to_have_count(6)
        page.get_by_role("button", name="Load more").click()
        expect(page.locator(".card")).to_have_count(len(photos))
        expect(page.get_by_role("button", name="Load more")).to_be_hidden()
        assert sorted(names(page)) == sorted(photos)


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
    page.locator(".card", has_text=PIZZA).locator(".open").click()
    page.locator("#lb-delete").click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator(".card")).to_have_count(len(photos))

    page.locator("#lb-delete").click()
    page.locator("#confirm").get_by_role("button", name="Delete", exact=True).click()

    expect(page.locator(".card")).to_have_count(len(photos) - 1)
    page.reload()
    expect(page.locator(".card")).to_have_count(len(photos) - 1)
    assert PIZZA not in names(page)


# ── Searching ─────────────────────────────────────────────────────────────────────────────────────────


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

    expect(web.page.locator("#status")).to_contain_text(ANSWERED)
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
    expect(page.get_by_role("searchbox")).to_have_value("horses on the beach")
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
    page.get_by_role("searchbox").fill("slow laptop")
    with page.expect_request(re.compile(r"/search/text\?q=slow")):
        page.get_by_role("searchbox").press("Enter")
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
        votes = httpx2.get(f"{web.address}/stats").json()["feedback"]
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


# ── Voice ─────────────────────────────────────────────────────────────────────────────────────────────


def speech_clip() -> tuple[Path, str]:
    """A recording of one spoken sentence, and its words."""
    folder = DATA / "speech"
    words = json.loads((folder / "transcripts.json").read_text())["librivox_0930.wav"]
    return folder / "librivox_0930.wav", words


def microphone_file(samples: np.ndarray, rate: int, path: Path) -> Path:
    """A WAV for the browser's pretended microphone, which loses the first 0.2 s and adds 3 to 6 dB."""
    padded = np.concatenate([np.zeros(int(0.3 * rate)), samples * 0.5, np.zeros(rate)])
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(padded.astype("<i2").tobytes())
    return path


@contextmanager
def page_with_microphone(launch: Launch, address: str, microphone: Path) -> Iterator[Watched]:
    flags = ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}%noloop"]
    browser = launch(*flags)
    try:
        with watched_page(browser, address) as watched:
            yield watched
    finally:
        browser.close()


def speak(page: Page, seconds: float) -> None:
    button = page.get_by_role("button", name="Search by voice")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(1000 * seconds)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_a_spoken_sentence_becomes_the_search(launch: Launch, library: str, tmp_path: Path) -> None:
    clip, words = speech_clip()
    with wave.open(str(clip)) as sound:
        rate, seconds = sound.getframerate(), sound.getnframes() / sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    with page_with_microphone(launch, library, microphone_file(samples, rate, tmp_path / "mic.wav")) as web:
        speak(web.page, seconds + 0.8)
        expect(web.page.locator("#status")).to_contain_text("I heard: “", timeout=ANSWER_MS)
        heard = web.page.get_by_role("searchbox").input_value()

        understood = set(words.split()) & set(heard.lower().replace(".", "").replace(",", "").split())
        assert len(understood) >= 0.8 * len(set(words.split())), f"heard {heard!r}, said {words!r}"
        expect(web.page.locator(".card .score").first).to_be_visible()
        assert "?q=" in web.page.url


def test_silence_is_explained_and_changes_nothing(
    launch: Launch, library: str, photos: dict[str, Path], tmp_path: Path
) -> None:
    silence = microphone_file(np.zeros(32_000), 16_000, tmp_path / "mic.wav")
    with page_with_microphone(launch, library, silence) as web:
        web.expected = {422}
        expect(web.page.locator(".card")).to_have_count(len(photos))
        speak(web.page, 2)
        expect(web.page.locator("#status.error")).to_contain_text("speech", timeout=ANSWER_MS)
        expect(web.page.get_by_role("searchbox")).to_have_value("")
        expect(web.page.locator(".card")).to_have_count(len(photos))


def test_a_refused_microphone_is_explained(web: Watched) -> None:
    web.page.get_by_role("button", name="Search by voice").click()

    expect(web.page.locator("#status.error")).to_contain_text("microphone")
    expect(web.page.get_by_role("button", name="Search by voice")).to_have_attribute("aria-pressed", "false")


# ── For everyone ──────────────────────────────────────────────────────────────────────────────────────


def test_the_keyboard_is_enough(web: Watched, photos: dict[str, Path]) -> None:
    page = web.page
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("horses on the beach")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text(ANSWERED)

    page.locator(".card .open").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#lb-title")).to_have_text(HORSES)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#lb-title")).to_have_text(names(page)[1])
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#lb-title")).to_have_text(HORSES)
    page.keyboard.press("Escape")
    expect(page.locator("#lightbox")).to_be_hidden()
    expect(page.locator(".card .open").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#heading")).to_have_text("Your photos")
    expect(page.locator(".card")).to_have_count(len(photos))


def test_every_button_and_picture_has_a_name(web: Watched) -> None:
    search_words(web.page, "horses on the beach")
    unnamed = web.page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, img")]
            .filter((e) => e.checkVisibility() && e.id !== "asked-with")
            .filter((e) => !(e.alt || e.ariaLabel || e.textContent.trim() || e.labels?.length
                             || e.querySelector("img")?.alt))
            .map((e) => e.outerHTML)"""
    )
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(web: Watched, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1, computed as the recommendation defines it."""
    web.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    pairs = [
        *(("text", ground) for ground in ("page", "surface", "sunken")),
        *(("muted", ground) for ground in ("page", "surface", "sunken")),
        *(("accent", ground) for ground in ("page", "surface")),
        ("accent-strong", "accent-soft"),
        ("on-accent", "accent"),
        ("danger", "danger-soft"),
        ("danger", "surface"),
        ("surface", "danger"),
    ]
    colors = {name: luminance(color_of(web.page, name)) for pair in pairs for name in pair}
    ratios = {(a, b): contrast(colors[a], colors[b]) for a, b in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}


def color_of(page: Page, name: str) -> str:
    value = page.evaluate(
        "(name) => getComputedStyle(document.documentElement).getPropertyValue(name)", f"--{name}"
    )
    return str(value).strip()


def luminance(color: str) -> float:
    """Relative luminance of #rgb or #rrggbb, 0..1."""
    digits = color.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2560])
def test_nothing_sticks_out_sideways(web: Watched, width: int) -> None:
    web.page.set_viewport_size({"width": width, "height": 800})
    search_words(web.page, "a rather long question about horses, a hill, a lake and whatever else there may be")

    assert web.page.evaluate("document.documentElement.scrollWidth") <= width
    web.page.locator(".card .open").first.click()
    assert web.page.evaluate("document.querySelector('#lightbox aside').scrollWidth") <= width
