"""Adding photos on the page: nothing is lost, nothing is sent twice, and it can always be seen how far it is."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from tests.conftest import PIZZA
from tests.page.axe import grave_findings
from tests.page.browser import ANSWER_MS, HORSES, LAPTOP, Watched, names, upload
from tests.server import http

KEPT = """(count) => new Promise((resolve) => {
    indexedDB.open("recollect-adding").onsuccess = ({ target }) => {
        const stores = target.result.transaction(["files", "jobs"]);
        const files = stores.objectStore("files").count();
        const jobs = stores.objectStore("jobs").getAll();
        stores.oncomplete = () => {
            const digests = jobs.result.filter((job) => job.sha256).length;
            target.result.close();
            resolve(Math.min(files.result, digests) >= count);
        };
    };
})"""
BROKEN_LINE = {"ERR_FAILED", "ERR_INTERNET_DISCONNECTED"}


def choose(page: Page, *paths: Path) -> None:
    """Chooses files and does not wait."""
    page.locator("#files").set_input_files(paths)


def summary(page: Page, words: str) -> None:
    expect(page.locator("#uploads-summary")).to_have_text(words, timeout=ANSWER_MS)


def button(page: Page, name: str) -> None:
    page.locator("#uploads").get_by_role("button", name=name, exact=True).click()


def posts(page: Page, path: str) -> list[Request]:
    """A list that grows with each POST to this path."""
    seen: list[Request] = []
    page.on("request", lambda r: seen.append(r) if r.method == "POST" and r.url.endswith(path) else None)
    return seen


def newest_import(server: str) -> dict[str, int]:
    found: dict[str, int] = http.get(f"{server}/imports", params={"limit": 1}).json()[0]
    return found


@pytest.fixture
def broken_line(empty_page: Watched) -> Iterator[Watched]:
    """The empty library, seen over a line that may break: the browser writes that to the console."""
    yield empty_page
    empty_page.problems[:] = [p for p in empty_page.problems if not any(error in p for error in BROKEN_LINE)]


def test_new_known_and_broken_files_are_told_apart(web: Watched, photos: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is not a photo")
    shutil.copy(broken, tmp_path / "again.jpg")

    upload(web.page, photos[HORSES], broken, tmp_path / "again.jpg")

    rows = web.page.locator("#uploads-list li")
    expect(rows.filter(has_text=HORSES)).to_contain_text("already there")
    expect(rows.filter(has_text="again.jpg")).to_contain_text("twice in this list")
    reason = web.page.locator("#uploads-list li[data-state=failed] .state").inner_text()
    assert "not a picture" in reason or "known kind" in reason
    summary(web.page, "3 of 3 · 2 already there · 1 failed")
    expect(web.page.locator(".card")).to_have_count(len(photos))


def test_what_the_library_has_is_not_sent(web: Watched, photos: dict[str, Path], tmp_path: Path) -> None:
    new = tmp_path / "new.jpg"
    new.write_bytes(photos[PIZZA].read_bytes() + b"\0")
    sent = posts(web.page, "/imports")

    upload(web.page, *photos.values())
    summary(web.page, f"{len(photos)} of {len(photos)} · {len(photos)} already there")
    assert sent == []

    upload(web.page, *photos.values(), new)
    summary(web.page, f"{len(photos) + 1} of {len(photos) + 1} · 1 added · {len(photos)} already there")
    assert newest_import(web.address)["total"] == 1


def test_where_the_browser_cannot_digest_the_server_tells(web: Watched, photos: dict[str, Path]) -> None:
    """As on a page that comes over plain http from another machine."""
    web.page.add_init_script("Object.defineProperty(Crypto.prototype, 'subtle', { get: () => undefined })")
    web.page.reload()

    upload(web.page, photos[HORSES], photos[PIZZA])

    summary(web.page, "2 of 2 · 2 already there")


def test_a_chosen_folder_brings_its_pictures_only(
    empty_page: Watched, photos: dict[str, Path], tmp_path: Path
) -> None:
    deep = tmp_path / "holiday" / "day one"
    deep.mkdir(parents=True)
    shutil.copy(photos[HORSES], tmp_path / "holiday")
    shutil.copy(photos[PIZZA], deep)
    shutil.copy(photos[LAPTOP], deep / "._hidden.jpg")
    (deep / "notes.txt").write_text("no picture")

    empty_page.page.locator("#folder").set_input_files(tmp_path / "holiday")

    summary(empty_page.page, "2 of 2 · 2 added")
    assert sorted(names(empty_page.page)) == sorted([HORSES, PIZZA])


def test_a_busy_server_is_asked_again_when_it_says(empty_page: Watched, photos: dict[str, Path]) -> None:
    page = empty_page.page
    empty_page.expected = {503}
    attempts: list[str] = []

    def busy_once(route: Route) -> None:
        attempts.append(route.request.method)
        if len(attempts) > 1:
            return route.continue_()
        problem = json.dumps({"type": "overloaded", "title": "Busy", "status": 503, "detail": "Busy."})
        return route.fulfill(status=503, headers={"Retry-After": "1"}, body=problem)

    page.route("**/imports", busy_once)
    choose(page, photos[PIZZA])

    expect(page.locator("#uploads-notice")).to_have_text("The server is busy. Going on in 1 s.")
    summary(page, "1 of 1 · 1 added")
    expect(page.locator("#uploads-notice")).to_be_hidden()
    assert names(page) == [PIZZA]


def test_without_a_line_it_waits_and_goes_on_by_itself(broken_line: Watched, photos: dict[str, Path]) -> None:
    page = broken_line.page
    upload(page, photos[HORSES])
    page.context.set_offline(True)

    choose(page, photos[PIZZA])
    expect(page.locator("#uploads-title")).to_have_text("Waiting for the server")
    expect(page.locator("#uploads-notice")).to_contain_text("cannot be reached")

    page.context.set_offline(False)
    summary(page, "1 of 1 · 1 added")


def test_a_pause_stops_the_sending_and_holds_over_a_reload(empty_page: Watched, photos: dict[str, Path]) -> None:
    page = empty_page.page
    hold(page, "**/imports")
    choose(page, *photos.values())
    kept(page, len(photos))
    button(page, "Pause")
    expect(page.locator("#uploads-title")).to_have_text("Paused")
    expect(page.locator("#uploads-list li[data-state=waiting]")).not_to_have_count(0)
    page.unroute("**/imports")

    sent = posts(page, "/imports")
    page.reload()
    expect(page.locator("#uploads-title")).to_have_text("Paused")
    summary(page, f"0 of {len(photos)}")
    assert sent == []

    button(page, "Go on")
    summary(page, f"{len(photos)} of {len(photos)} · {len(photos)} added")
    assert sorted(names(page)) == sorted(photos)


def test_a_reload_in_the_middle_loses_nothing(empty_page: Watched, photos: dict[str, Path]) -> None:
    page = empty_page.page
    paths = list(photos.values())
    upload(page, paths[0])
    hold(page, "**/imports")
    choose(page, *paths)
    kept(page, len(paths) - 1)

    page.reload()
    page.unroute("**/imports")

    summary(page, f"{len(paths)} of {len(paths)} · {len(paths) - 1} added · 1 already there")
    assert sorted(names(page)) == sorted(photos)
    page.wait_for_timeout(300)  # the browser writes down that all is done
    page.reload()
    expect(page.locator(".card")).to_have_count(len(paths))
    expect(page.locator("#uploads")).to_be_hidden()


def test_files_that_the_browser_did_not_keep_are_chosen_again(
    empty_page: Watched, photos: dict[str, Path]
) -> None:
    page = empty_page.page
    hold(page, "**/imports")
    choose(page, *photos.values())
    kept(page, len(photos))
    page.evaluate(
        """() => new Promise((resolve) => {
            indexedDB.open("recollect-adding").onsuccess = ({ target }) => {
                const change = target.result.transaction("files", "readwrite");
                change.objectStore("files").clear();
                change.oncomplete = resolve;
            };
        })"""
    )
    in_already = photos[HORSES]
    http.post(f"{empty_page.address}/upload", files={"file": (HORSES, in_already.read_bytes())})

    page.reload()
    page.unroute("**/imports")
    expect(page.locator("#uploads-notice")).to_contain_text(f"could not keep {len(photos) - 1} files")
    expect(page.locator("#uploads-title")).to_have_text("Some files are missing")
    expect(page.get_by_role("button", name="Choose them again")).to_be_visible()

    choose(page, *(path for name, path in photos.items() if name != HORSES))
    summary(page, f"{len(photos)} of {len(photos)} · {len(photos) - 1} added · 1 already there")


def hold(page: Page, pattern: str) -> None:
    """From now on requests to these addresses get no answer."""

    def leave(_: Route) -> None:
        pass

    page.route(pattern, leave)


def kept(page: Page, count: int) -> None:
    """Waits until the browser's database has so many files, and the digests of as many."""
    expect(page.locator("#uploads-list li[data-state=sending]").first).to_be_visible()
    deadline = time.monotonic() + ANSWER_MS / 1000
    while not page.evaluate(KEPT, count):  # wait_for_function would take the promise itself for an answer
        assert time.monotonic() < deadline, "the browser has not written down all files"
        page.wait_for_timeout(50)


def test_what_failed_is_tried_again_at_once(empty_page: Watched, photos: dict[str, Path]) -> None:
    page = empty_page.page
    empty_page.expected = {400}
    page.route("**/imports", lambda route: route.fulfill(status=400, json={"detail": "Not today."}))
    choose(page, photos[HORSES], photos[PIZZA])
    summary(page, "2 of 2 · 2 failed")
    expect(page.locator("#uploads-list")).to_contain_text("Not today.")

    page.unroute("**/imports")
    button(page, "Try again")

    summary(page, "2 of 2 · 2 added")


def test_stopped_files_stay_out_until_they_are_tried_again(empty_page: Watched, photos: dict[str, Path]) -> None:
    page = empty_page.page
    hold(page, "**/imports")
    choose(page, photos[HORSES], photos[PIZZA])
    expect(page.locator("#uploads-list li[data-state=sending]").first).to_be_visible()
    button(page, "Stop")
    summary(page, "0 of 2 · 2 not added")
    assert http.get(f"{empty_page.address}/photos").json()["total"] == 0
    page.unroute("**/imports")

    button(page, "Try again")
    summary(page, "2 of 2 · 2 added")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A picture of 9.7 MB: more than goes in one request."""
    pixels = np.random.default_rng(7).integers(0, 256, (1800, 1800, 3), dtype=np.uint8)
    path = tmp_path / "large.png"
    Image.fromarray(pixels).save(path, compress_level=0)
    return path


def test_a_large_file_goes_on_from_the_last_byte_after_a_broken_line(broken_line: Watched, large: Path) -> None:
    page = broken_line.page
    offsets: list[int] = []

    def break_second_part(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(int(route.request.headers["upload-offset"]))
        if len(offsets) == 2 and route.request.method == "PATCH":
            return route.abort()
        return route.continue_()

    page.route("**/files/*", break_second_part)
    choose(page, large)

    summary(page, "1 of 1 · 1 added")
    first, second, *rest = offsets
    assert (first, second) == (0, 8 * 2**20)
    assert rest[0] == second  # what had arrived was not sent again
    photo = http.get(f"{broken_line.address}/photos").json()["photos"][0]
    assert photo["bytes"] == large.stat().st_size


def test_a_file_over_the_limit_is_refused_before_it_is_sent(empty_page: Watched, tmp_path: Path) -> None:
    empty_page.expected = {413}
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(50 * 2**20 + 1)

    choose(empty_page.page, path)

    summary(empty_page.page, "1 of 1 · 1 failed")
    expect(empty_page.page.locator("#uploads-list")).to_contain_text("more than 52,428,800 bytes")


def test_ten_thousand_files_do_not_freeze_the_page(empty_page: Watched) -> None:
    page = empty_page.page
    hold(page, "**/photos/check")
    longest = page.evaluate(
        """async () => {
            const transfer = new DataTransfer();
            for (let i = 0; i < 10000; i += 1) transfer.items.add(new File([String(i)], `${i}.jpg`));
            let longest = 0;
            let last = performance.now();
            const watch = setInterval(() => {
                longest = Math.max(longest, performance.now() - last);
                last = performance.now();
            }, 10);
            const input = document.getElementById("files");
            input.files = transfer.files;
            input.dispatchEvent(new Event("change", { bubbles: true }));
            await new Promise((resolve) => setTimeout(resolve, 1500));
            clearInterval(watch);
            return longest;
        }"""
    )
    summary(page, "0 of 10,000")
    assert longest < 1000  # ms; a machine with nothing else to do needs a tenth
    assert page.locator("#uploads-list li").count() < 40
    page.locator("#uploads-scroll").evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
    expect(page.locator("#uploads-list li").last).to_contain_text("9999.jpg")
    expect(page.locator("#uploads-filter")).to_have_text(re.compile(r"all files \(10,000\)"))
    button(page, "Stop")
    summary(page, "0 of 10,000 · 10,000 not added")


def test_only_files_of_one_state_are_listed_when_asked_for(
    web: Watched, photos: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is not a photo")
    upload(web.page, *photos.values(), broken)

    web.page.get_by_label("Show").select_option(label="failed (1)")

    expect(web.page.locator("#uploads-list li")).to_have_count(1)
    expect(web.page.locator("#uploads-list li")).to_contain_text("broken.jpg")


def test_a_hostile_file_name_is_only_text(empty_page: Watched, photos: dict[str, Path], tmp_path: Path) -> None:
    page = empty_page.page
    hostile = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    shutil.copy(photos[LAPTOP], hostile)

    upload(page, hostile)

    expect(page.locator("#uploads-list .file")).to_have_text(hostile.name)
    assert names(page) == [hostile.name]
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_is_for_everyone(web: Watched, photos: dict[str, Path], tmp_path: Path, scheme: str) -> None:
    web.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is not a photo")
    upload(web.page, *photos.values(), broken)

    assert grave_findings(web.page) == []
