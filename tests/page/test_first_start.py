"""The first start: an empty library invites, and has sample photos to try the search with."""

import pytest
from playwright.sync_api import expect

from tests.conftest import PIZZA
from tests.page.axe import grave_findings
from tests.page.browser import ANSWER_MS, HORSES, LAPTOP, Watched, answered
from tests.server import http

SUGGESTED = {
    "people riding horses on the beach": HORSES,
    "a red laptop": LAPTOP,
    "pizza and a glass of wine": PIZZA,
}


def test_sample_photos_are_loaded_and_found_by_what_is_suggested(empty_page: Watched) -> None:
    page = empty_page.page
    page.get_by_role("button", name="Load the sample photos").click()

    expect(page.locator("#samples-note")).to_contain_text("16 sample photos are here", timeout=ANSWER_MS)
    expect(page.locator(".card")).to_have_count(16)
    expect(page.get_by_role("button", name="Load the sample photos")).to_be_hidden()
    links = page.locator("#samples-searches a")
    assert links.all_inner_texts() == [*SUGGESTED]
    for words, filename in SUGGESTED.items():
        page.get_by_role("link", name=words).click()
        answered(page)
        first = page.locator(".card").first.get_attribute("data-id")
        assert http.get(f"{empty_page.address}/photo/{first}").json()["filename"] == filename
        page.go_back()
        expect(page.locator("#heading")).to_have_text("Your photos")


def test_samples_have_their_caption_and_credit_and_come_only_once(empty_library: str) -> None:
    for _ in range(2):
        accepted = http.post(f"{empty_library}/samples")
        assert accepted.status_code == 202
        url = f"{empty_library}{accepted.json()['url']}"
        while not (progress := http.get(url).json())["finished"]:
            pass
        assert (progress["total"], progress["failed"]) == (16, 0)

    page = http.get(f"{empty_library}/photos").json()
    assert page["total"] == 16
    for photo in page["photos"]:
        assert photo["title"].startswith("Flickr photo ")
        assert photo["title"].endswith("CC BY 2.0")
        assert photo["caption"].endswith(".")
        assert photo["tags"] == ["sample"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_invitation_is_for_everyone(empty_page: Watched, scheme: str) -> None:
    page = empty_page.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    expect(page.get_by_text("Drop your photos here")).to_be_visible()

    assert grave_findings(page) == []
    page.locator("#files").focus()
    for button in ("a folder", "Load the sample photos"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=button)).to_be_focused()
