"""Searching on the page by voice, with a recording in place of the microphone."""

import json
import re
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import DATA
from tests.page.browser import ANSWER_MS, Launch, Watched, search_box, watched_page


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
        heard = search_box(web.page).input_value()

        understood = set(words.split()) & set(heard.lower().replace(".", "").replace(",", "").split())
        assert len(understood) >= 0.8 * len(set(words.split())), f"heard {heard!r}, said {words!r}"
        expect(web.page.locator(".card .score").first).to_be_visible()
        assert "?q=" in web.page.url

        web.page.get_by_role("textbox", name="I heard").fill("horses on the beach")
        web.page.get_by_role("button", name="Search again").click()
        expect(web.page.locator("#heading")).to_have_text("“horses on the beach”")
        expect(web.page.get_by_role("textbox", name="I heard")).to_be_hidden()


def test_silence_is_explained_and_changes_nothing(
    launch: Launch, library: str, photos: dict[str, Path], tmp_path: Path
) -> None:
    silence = microphone_file(np.zeros(32_000), 16_000, tmp_path / "mic.wav")
    with page_with_microphone(launch, library, silence) as web:
        web.expected = {422}
        expect(web.page.locator(".card")).to_have_count(len(photos))
        speak(web.page, 2)
        expect(web.page.locator("#status.error")).to_contain_text(
            "No speech was heard: the microphone gave no sound"
        )
        expect(search_box(web.page)).to_have_value("")
        expect(web.page.locator(".card")).to_have_count(len(photos))


def test_a_refused_microphone_is_explained(web: Watched) -> None:
    web.page.get_by_role("button", name="Search by voice").click()

    expect(web.page.locator("#status.error")).to_contain_text("microphone")
    expect(web.page.get_by_role("button", name="Search by voice")).to_have_attribute("aria-pressed", "false")


@pytest.fixture
def noisy(launch: Launch, library: str, tmp_path: Path) -> Iterator[Watched]:
    """A page whose microphone hears a hum."""
    hum = 8000 * np.sin(2 * np.pi * 200 * np.arange(5 * 16_000) / 16_000)
    with page_with_microphone(launch, library, microphone_file(hum, 16_000, tmp_path / "mic.wav")) as web:
        yield web


def test_the_level_and_the_time_are_shown_and_escape_gives_up(noisy: Watched) -> None:
    page = noisy.page
    page.get_by_role("button", name="Search by voice").click()
    panel = page.get_by_role("group", name="Recording")
    expect(panel).to_contain_text(re.compile(r"[1-9]\.\d of 15 s"))
    level = float(panel.evaluate("(panel) => getComputedStyle(panel).getPropertyValue('--level')"))
    assert 0.2 < level <= 1
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator("#status")).to_be_empty()
    expect(page.locator("#heading")).to_have_text("Your photos")


def test_held_down_it_listens_until_it_is_let_go(noisy: Watched) -> None:
    noisy.expected = {422}
    page = noisy.page
    button = page.get_by_role("button", name="Search by voice")
    button.hover()
    page.mouse.down()
    panel = page.get_by_role("group", name="Recording")
    expect(panel).to_contain_text(re.compile(r"[1-9]\.\d of 15 s"))
    with page.expect_request(re.compile("/search/voice")):
        page.mouse.up()
    expect(panel).to_be_hidden()
    expect(page.locator("#status.error")).to_contain_text("speech", timeout=ANSWER_MS)  # the server: a hum is none


def test_a_computer_without_a_microphone_is_told(web: Watched) -> None:
    """Chromium always pretends to have one here, so its answer is replaced by the one that others get."""
    web.page.evaluate(
        """() => {
            const none = new DOMException("none", "NotFoundError");
            navigator.mediaDevices.getUserMedia = () => Promise.reject(none);
        }"""
    )
    web.page.get_by_role("button", name="Search by voice").press("Enter")
    expect(web.page.locator("#status.error")).to_have_text("No microphone was found on this device.")
