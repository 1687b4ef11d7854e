"""The page for everyone: by keyboard, for screen readers, in light and dark, on small and wide screens."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.axe import grave_findings
from tests.page.browser import HORSES, Watched, answered, names, search_box, search_words


def test_the_keyboard_is_enough(web: Watched, photos: dict[str, Path]) -> None:
    page = web.page
    page.keyboard.press("/")
    expect(search_box(page)).to_be_focused()
    page.keyboard.type("horses on the beach")
    page.keyboard.press("Enter")
    answered(page)

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


@pytest.mark.parametrize(("scheme", "rules"), [("light", []), ("dark", ["color-contrast"])])
def test_axe_finds_nothing_grave(web: Watched, scheme: str, rules: list[str]) -> None:
    """In the dark only the colours are others."""
    page = web.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    found = {"library": grave_findings(page, *rules)}
    page.get_by_role("button", name="Filters").click()
    expect(page.locator("#facets button")).not_to_have_count(0)
    found["filters"] = grave_findings(page, *rules)
    search_words(page, "horses on the beach")
    found["results"] = grave_findings(page, *rules)
    search_box(page).fill("anim")
    expect(page.get_by_role("option")).not_to_have_count(0)
    found["suggestions"] = grave_findings(page, *rules)
    search_box(page).press("Escape")
    page.get_by_role("button", name="Combine with").first.click()
    expect(page.locator(".part")).to_have_count(2)
    found["combination"] = grave_findings(page, *rules)
    page.locator(".part-crop").last.click()
    expect(page.locator("#cropper")).to_be_visible()
    found["cropper"] = grave_findings(page, *rules)
    page.get_by_role("button", name="Cancel").click()
    page.locator(".card .open").first.click()
    expect(page.locator("#lb-strip button")).not_to_have_count(0)
    page.get_by_text("Why it matched").click()
    found["lightbox"] = grave_findings(page, *rules)
    page.keyboard.press("e")
    found["editor"] = grave_findings(page, *rules)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    found["keys"] = grave_findings(page, *rules)
    assert found == {name: [] for name in found}


def test_arrow_keys_go_from_photo_to_photo(web: Watched) -> None:
    page = web.page
    cards = page.locator(".card .open")
    cards.first.focus()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(cards.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    tops = [box["y"] for card in cards.all() if (box := card.bounding_box())]
    below = page.evaluate("document.activeElement.getBoundingClientRect().top")
    assert below > min(tops)
    page.keyboard.press("ArrowUp")
    expect(cards.first).to_be_focused()


def test_without_motion_nothing_moves(web: Watched) -> None:
    web.page.emulate_media(reduced_motion="reduce")
    web.page.locator(".card").first.hover()
    assert web.page.locator(".card img").first.evaluate("(image) => getComputedStyle(image).transform") == "none"
    durations = web.page.evaluate(
        """[...document.querySelectorAll("*")].flatMap((e) =>
            getComputedStyle(e).transitionDuration.split(",").map(parseFloat))"""
    )
    assert max(durations) < 0.001


def test_the_page_speaks_the_language_that_it_has(browser: Browser, library: str) -> None:
    with browser.new_context(locale="de-DE") as context:
        page = context.new_page()
        page.goto(library)
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator("#heading")).to_have_text("Your photos")


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
    web.page.get_by_role("button", name="Filters").click()
    expect(web.page.locator("#facets button")).not_to_have_count(0)
    web.page.get_by_role("button", name="Combine", exact=True).click()
    expect(web.page.locator(".part")).to_have_count(1)
    assert web.page.evaluate("document.documentElement.scrollWidth") <= width
    web.page.locator(".card .open").first.click()
    expect(web.page.locator("#lightbox")).to_be_visible()
    assert web.page.evaluate("document.querySelector('#lightbox aside').scrollWidth") <= width
