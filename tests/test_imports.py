"""Many photos at once over HTTP: a result for each, and an id to follow them by."""

import base64
import hashlib
import json
from typing import Any

import pytest

from app.errors import TooLarge
from app.flows.import_stream import Lines
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running
from tests.test_live_index import eventually


def parts(**files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (name, data)) for name, data in files.items()]


def photo(name: str) -> bytes:
    return (PHOTOS / name).read_bytes()


def send(app: Running, files: list[tuple[str, tuple[str, bytes]]], **fields: str) -> dict[str, Any]:
    answer = app.client.post("/imports", files=files, data=fields)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def finished(app: Running, import_id: int) -> dict[str, Any]:
    """The import once nothing of it waits any more."""
    assert eventually(lambda: app.client.get(f"/imports/{import_id}").json()["finished"], seconds=60)
    body: dict[str, Any] = app.client.get(f"/imports/{import_id}").json()
    return body


def items(app: Running, import_id: int, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.client.get(f"/imports/{import_id}/items", params=params).json()["items"]
    return found


def test_many_files_in_one_request_have_a_result_each(app: Running) -> None:
    known = app.upload(DOG)
    files = [
        ("files", ("holiday.jpg", photo(BUSES))),
        ("files", ("dog again.jpg", photo(DOG))),
        ("files", ("empty.png", b"")),
        ("files", ("words.jpg", b"not a picture")),
        ("files", ("../../cut.jpg", photo(PIZZA)[:3000])),
    ]
    accepted = send(app, files, tags="trip, 2019", category="travel")
    assert [item["status"] for item in accepted["items"]] == ["pending", "known", "failed", "pending", "pending"]
    assert accepted["items"][1]["photo_id"] == known["id"]
    assert accepted["items"][2]["problem"] == "broken-media"
    done = finished(app, accepted["id"])
    assert (done["total"], done["ready"], done["known"], done["failed"]) == (5, 1, 1, 3)
    failed = {item["name"]: item["problem"] for item in items(app, accepted["id"], status="failed")}
    assert failed == {"empty.png": "broken-media", "words.jpg": "unsupported-media", "cut.jpg": "broken-media"}
    hit = app.search("buses in the street", k=1)[0]
    assert (hit["filename"], hit["tags"], hit["category"]) == ("holiday.jpg", ["trip", "2019"], "travel")


def test_a_second_run_sends_nothing(app: Running) -> None:
    files = {name: photo(name) for name in (DOG, BUSES)}
    finished(app, send(app, parts(**files))["id"])
    by_sha = {hashlib.sha256(data).hexdigest(): name for name, data in files.items()}
    asked = [*by_sha, "0" * 64]
    answer = app.client.post("/photos/check", json={"sha256": asked}).json()
    assert set(answer["known"]) == set(by_sha)
    assert answer["unknown"] == ["0" * 64]
    assert app.client.post("/photos/check", json={"sha256": ["nonsense"]}).status_code == 422
    again = send(app, parts(**files))
    assert {item["status"] for item in again["items"]} == {"known"}
    assert app.client.get("/photos").json()["total"] == 2


def test_files_can_be_added_to_an_import(app: Running) -> None:
    first = send(app, parts(a=photo(DOG)))
    second = send(app, parts(b=photo(BUSES)), import_id=str(first["id"]))
    assert second["id"] == first["id"]
    assert finished(app, first["id"])["ready"] == 2
    assert app.client.post("/imports", files=parts(c=b"x"), data={"import_id": "999"}).status_code == 404
    assert not list((app.services.settings.uploads_dir / ".staged").iterdir())


def test_a_file_or_request_that_is_too_large_is_refused(start: Any) -> None:
    app = start(max_upload_bytes=30_000, max_bulk_bytes=100_000)
    accepted = send(app, parts(**{"big.jpg": photo(PIZZA), "dog.jpg": photo(DOG)}))
    assert [item["problem"] for item in accepted["items"]] == ["too-large", None]
    assert finished(app, accepted["id"])["ready"] == 1
    refused = app.client.post("/imports", files=parts(a=bytes(200_000)))
    assert (refused.status_code, refused.json()["type"]) == (413, "too-large")
    assert app.client.post("/upload", files={"file": bytes(2**21)}).status_code == 413


def test_events_tell_the_progress_to_the_end(app: Running) -> None:
    accepted = send(app, parts(**{name: photo(name) for name in (DOG, BUSES, PIZZA)}))
    with app.client.stream("GET", f"{accepted['url']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    states = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert events == ["progress"] * (len(events) - 1) + ["done"]
    assert [state["ready"] for state in states] == sorted(state["ready"] for state in states)
    assert (states[-1]["finished"], states[-1]["ready"]) == (True, 3)
    assert app.client.get("/imports/999/events").status_code == 404


def test_imports_are_listed_and_forgotten(app: Running) -> None:
    one, two = send(app, parts(a=photo(DOG)))["id"], send(app, parts(b=photo(BUSES)))["id"]
    finished(app, one)
    finished(app, two)
    assert [found["id"] for found in app.client.get("/imports").json()] == [two, one]
    assert app.client.delete(f"/imports/{one}").status_code == 204
    for path in (f"/imports/{one}", f"/imports/{one}/items"):
        assert app.client.get(path).json()["type"] == "import-not-found"
    assert app.client.post(f"/imports/{one}/retry").status_code == 404
    assert app.client.post(f"/imports/{two}/retry").json() == {"retried": 0}
    assert app.client.get("/photos").json()["total"] == 2


def test_items_come_in_pages(app: Running) -> None:
    accepted = send(app, [("files", (f"{i}.png", b"")) for i in range(5)])
    page = app.client.get(f"{accepted['url']}/items", params={"limit": 3}).json()
    rest = app.client.get(f"{accepted['url']}/items", params={"limit": 3, "after": page["next_after"]}).json()
    assert [item["name"] for item in (*page["items"], *rest["items"])] == [f"{i}.png" for i in range(5)]
    assert rest["next_after"] is None


def test_a_stream_of_items_is_taken_in_line_by_line(app: Running) -> None:
    lines = [
        {
            "id": "a",
            "image_filename": "dog.jpg",
            "image_base64": base64.b64encode(photo(DOG)).decode(),
            "title": "Rex",
        },
        {"id": "b", "caption": "a poem about the sea", "tags": ["verse"]},
        {"id": "c", "image_base64": "***"},
        {"tags": "no list"},
    ]
    body = "\n\n".join(json.dumps(line) for line in lines) + "\nnot json"
    answer = app.client.post("/imports/stream", content=body)
    assert answer.status_code == 202, answer.text
    assert [item["problem"] for item in answer.json()["items"]] == [None, None, *["invalid-request"] * 3]
    assert finished(app, answer.json()["id"])["ready"] == 2
    by_id = {found["item_id"]: found for found in app.client.get("/photos").json()["photos"]}
    assert (by_id["a"]["title"], by_id["a"]["filename"], by_id["b"]["tags"]) == ("Rex", "dog.jpg", ["verse"])
    assert by_id["b"]["filename"] == ""
    assert app.client.post("/imports/stream", content=b"").json()["items"] == []


def test_a_line_without_end_is_refused_before_it_fills_the_memory(start: Any) -> None:
    app = start(max_upload_bytes=3000)
    good = json.dumps({"caption": "a poem"}).encode() + b"\n"
    answer = app.client.post("/imports/stream", content=iter([good, *[b"x" * 50_000] * 4]))
    assert (answer.status_code, answer.json()["type"]) == (413, "too-large")
    assert app.client.get("/imports").json()[0]["total"] == 1  # what had arrived stays


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    text = b"one\ntwo\n\n  \nthree"
    lines = Lines(longest=10)
    found = [line for i in range(0, len(text), size) for line in lines.feed(text[i : i + size])]
    assert found + lines.end() == [b"one", b"two", b"three"]
    lines.check()
    assert lines.feed(b"four\n12345678901\nfive\n") == [b"four"]
    with pytest.raises(TooLarge):
        lines.check()
