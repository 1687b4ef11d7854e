"""Who may do what: keys, scopes, signing in; one owner sees nothing of another's; nobody else's page gets in."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlmodel import SQLModel
from typer.testing import Result

from app.flows.access import PREFIX
from app.guard import PUBLIC, needed
from app.settings import Settings
from app.tables import DEFAULT_OWNER, Scope
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running
from tests.server import Server, running

Start = Callable[..., Running]
ADMIN_KEY = "the administrator's own key"
EVERYDAY = [Scope.READ, Scope.WRITE]


def key(app: Running, *scopes: Scope, name: str = "", owner: str = DEFAULT_OWNER) -> dict[str, str]:
    """The header with a new key."""
    _, token = app.services.access.make(name or " ".join(scopes), owner, scopes)
    return {"X-API-Key": token}


def told(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("type", "")


# ── Without a key ─────────────────────────────────────────────────────────────────────────────────────


def test_without_any_key_this_machine_is_served_but_no_administrator(app: Running) -> None:
    app.upload(DOG)
    assert app.search("a dog")
    assert app.client.get("/session").json() == {
        "signed_in": False,
        "key_needed": False,
        "key": None,
        "owner": "default",
        "scopes": ["monitor", "read", "write"],
    }
    assert told(app.client.get("/keys")) == (403, "not-allowed")
    assert told(app.client.post("/keys", json={"name": "me"})) == (403, "not-allowed")


def other_machine(app: Running, **headers: str) -> TestClient:
    return TestClient(app.client.app, base_url="http://photos.lan", client=("192.0.2.7", 4711), headers=headers)


def test_without_any_key_other_machines_are_not_served(app: Running) -> None:
    app.upload(DOG)
    for path in ("/photos", "/photo/1/file", "/photo/1/thumbnail", "/health", "/stats", "/metrics"):
        answer = other_machine(app).get(path)
        assert told(answer) == (403, "not-allowed")
    assert told(other_machine(app).post("/upload", files={"file": b"x"})) == (403, "not-allowed")


def test_a_name_that_somebody_else_has_pointed_here_is_refused(app: Running, start: Start) -> None:
    """DNS rebinding: a page of evil.example is let through by the browser once that name leads to 127.0.0.1."""
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "a b"):
        assert told(app.client.get("/photos", headers={"Host": host})) == (403, "not-allowed")
    for host in ("localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "192.168.1.2"):
        assert app.client.get("/photos", headers={"Host": host}).status_code == 200
    named = start(allow_anyone=True, allowed_hosts=["photos.lan"])
    assert other_machine(named).get("/photos").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},  # another program of this machine is another site, too
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(app: Running, headers: dict[str, str]) -> None:
    data = (PHOTOS / DOG).read_bytes()
    assert told(app.client.post("/upload", files={"file": data}, headers=headers)) == (403, "not-allowed")
    assert told(app.client.post("/search/image", files={"file": data}, headers=headers)) == (403, "not-allowed")
    assert app.client.get("/photos").json()["total"] == 0
    own = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert app.client.post("/upload", files={"file": data}, headers=own).status_code == 201
    assert told(app.client.delete("/photo/1", headers=headers)) == (403, "not-allowed")


def test_a_refusal_comes_before_the_body(app: Running) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1_000_000):
            yield b"x" * 65536
        raise AssertionError("the body was read")

    answer = other_machine(app).post("/upload", content=endless())
    assert answer.status_code == 403


def test_serving_other_machines_without_a_key_is_refused_at_start(tmp_path: Path) -> None:
    server = Server(tmp_path, RECOLLECT_HOST="0.0.0.0", RECOLLECT_WHISPER_MODEL="none")
    refused = server.run("serve")
    assert refused.returncode == 1
    assert "recollect keys add" in refused.stderr
    assert "RECOLLECT_ALLOW_ANYONE" in refused.stderr


# ── With keys ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def closed(start: Start) -> Running:
    """A library with a photo; its administrator has a key, and its client sends none."""
    app = start(admin_key=SecretStr(ADMIN_KEY), wrong_key_limit="none")
    app.upload(DOG)
    del app.client.headers["X-API-Key"]
    return app


def routes(app: Running) -> list[tuple[str, str]]:
    """Every method and path, with an id that nothing has for each parameter."""
    paths = app.client.get("/openapi.json").json()["paths"]
    described = [
        (method.upper(), re.sub(r"{[^}]*}", "99", path)) for path, ways in paths.items() for method in ways
    ]
    return [*described, ("GET", "/stats/"), ("HEAD", "/files/1"), ("GET", "/nowhere")]


def test_every_route_but_the_public_ones_asks_for_a_key(closed: Running) -> None:
    asked = [(method, path) for method, path in routes(closed) if path not in PUBLIC]
    assert len(asked) > 40
    for method, path in asked:
        for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Cookie": "recollect=x"}):
            answer = closed.client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path, headers)
            if method != "HEAD":
                assert told(answer) == (401, "key-needed")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert closed.client.get("/photos", headers={"X-API-Key": ADMIN_KEY}).json()["total"] == 1


def test_what_is_public_tells_nothing_of_the_library(closed: Running) -> None:
    assert closed.client.get("/health/ready").json() == {"ready": True}
    assert closed.client.get("/", headers={"Accept": "text/html"}).status_code == 200
    assert closed.client.get("/web/app.js").status_code == 200
    assert closed.client.get("/session").json()["key_needed"]
    for path in PUBLIC:
        assert DOG not in closed.client.get(path).text


def test_each_scope_allows_its_own_and_nothing_else(closed: Running) -> None:
    headers = {scope: key(closed, scope) for scope in Scope}
    expected = dict.fromkeys(Scope, 0)
    for method, path in routes(closed):
        right = needed(method, path)
        for scope in Scope if right else ():
            answer = closed.client.request(method, path, headers=headers[scope])
            allowed = answer.status_code != 403
            assert allowed == (scope is right), (method, path, scope, answer.text)
            expected[scope] += allowed
    assert all(count > 0 for count in expected.values())


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/photos", Scope.READ),
        ("GET", "/photo/1/file", Scope.READ),
        ("POST", "/search/image", Scope.READ),
        ("POST", "/search_text/", Scope.READ),
        ("POST", "/embed-image", Scope.READ),
        ("POST", "/photos/check", Scope.READ),
        ("POST", "/upload", Scope.WRITE),
        ("HEAD", "/files/x", Scope.WRITE),
        ("PATCH", "/photo/1", Scope.WRITE),
        ("DELETE", "/photo/1", Scope.WRITE),
        ("POST", "/ingest_stream/", Scope.WRITE),
        ("POST", "/feedback", Scope.WRITE),
        ("GET", "/metrics", Scope.MONITOR),
        ("GET", "/keys", Scope.ADMIN),
        ("DELETE", "/keys/1", Scope.ADMIN),
        ("GET", "/models/change", Scope.ADMIN),
        ("GET", "/whatever/comes", Scope.READ),
        ("POST", "/whatever/comes", Scope.WRITE),
        ("GET", "/", None),
        ("GET", "/web/app.js", None),
        ("POST", "/session", None),
    ],
)
def test_what_each_request_needs(method: str, path: str, right: Scope | None) -> None:
    assert needed(method, path) is right


def test_keys_are_made_and_revoked_over_http(closed: Running) -> None:
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    made = closed.client.post("/keys", json={"name": "phone", "scopes": ["read"]}, headers=admin)
    assert made.status_code == 201
    token = made.json()["key"]
    assert token.startswith(PREFIX)
    assert len(token) > 40
    again = closed.client.post("/keys", json={"name": "phone"}, headers=admin)
    assert told(again) == (409, "name-taken")
    (listed,) = closed.client.get("/keys", headers=admin).json()["keys"]
    assert (listed["name"], listed["owner"], listed["scopes"]) == ("phone", "default", ["read"])
    assert token not in json.dumps(listed)

    phone = {"X-API-Key": token}
    assert closed.client.get("/photos", headers=phone).status_code == 200
    assert told(closed.client.delete("/photo/1", headers=phone)) == (403, "not-allowed")
    assert closed.client.delete(f"/keys/{listed['id']}", headers=admin).status_code == 204
    assert told(closed.client.get("/photos", headers=phone)) == (401, "key-needed")
    assert told(closed.client.delete(f"/keys/{listed['id']}", headers=admin)) == (404, "key-not-found")


def test_the_first_key_closes_the_service_and_no_key_is_stored(
    app: Running, recollect: Callable[..., Result], settings: Settings
) -> None:
    assert app.client.get("/photos").status_code == 200
    made = recollect("keys", "add", "phone", "--scope", "read")
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()
    app.services.access.forget()  # in a second it would be known
    assert told(app.client.get("/photos")) == (401, "key-needed")
    assert app.client.get("/photos", headers={"X-API-Key": token}).status_code == 200
    with app.services.database.engine.connect() as connection:
        tables = [list(connection.execute(table.select())) for table in SQLModel.metadata.tables.values()]
    stored = str(tables)
    assert "phone" in stored
    assert token.removeprefix(PREFIX) not in stored

    listed = recollect("keys", "list").stdout
    assert "phone" in listed
    assert "read" in listed
    assert recollect("keys", "add", "phone").exit_code == 1
    assert recollect("keys", "revoke", "phone").exit_code == 0
    assert recollect("keys", "revoke", "phone").exit_code == 1


# ── Signing in ────────────────────────────────────────────────────────────────────────────────────────


def test_a_browser_signs_in_and_out(closed: Running) -> None:
    phone = key(closed, *EVERYDAY)["X-API-Key"]
    answer = closed.client.post("/session", json={"key": phone})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert phone.lower() not in cookie
    session = closed.client.get("/session").json()
    assert (session["signed_in"], session["key"], session["scopes"]) == (True, "read write", ["read", "write"])
    assert closed.client.get("/photos").json()["total"] == 1
    foreign = {"Origin": "https://evil.example"}
    assert told(closed.client.delete("/photo/1", headers=foreign)) == (403, "not-allowed")

    stolen = dict(closed.client.cookies)
    assert closed.client.delete("/session").status_code == 204
    closed.client.cookies = stolen
    assert told(closed.client.get("/photos")) == (401, "key-needed")


def test_whoever_signed_in_with_a_key_is_out_when_it_is_revoked(closed: Running) -> None:
    row, token = closed.services.access.make("phone", DEFAULT_OWNER, EVERYDAY)
    closed.client.post("/session", json={"key": token}).raise_for_status()
    assert closed.client.get("/photos").status_code == 200
    closed.services.access.revoke(row.id or 0)
    assert told(closed.client.get("/photos")) == (401, "key-needed")
    assert told(closed.client.post("/session", json={"key": token})) == (401, "key-needed")


def test_the_administrators_key_signs_in_until_it_is_changed(closed: Running, start: Start) -> None:
    closed.client.post("/session", json={"key": ADMIN_KEY}).raise_for_status()
    assert closed.client.get("/keys").status_code == 200
    changed = start(admin_key=SecretStr("another key of the administrator"))
    del changed.client.headers["X-API-Key"]
    changed.client.cookies = dict(closed.client.cookies)
    assert told(changed.client.get("/keys")) == (401, "key-needed")


# ── Limits ────────────────────────────────────────────────────────────────────────────────────────────


def test_each_key_has_a_limit_of_its_own(start: Start) -> None:
    app = start(rate_limit="5/minute")
    one, other = (key(app, Scope.READ, name=name) for name in ("one", "other"))
    answers = [app.client.get("/facets", headers=one) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert told(answers[-1]) == (429, "too-many-requests")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert app.client.get("/facets", headers=other).status_code == 200
    assert app.client.get("/health/ready").status_code == 200


def test_who_tries_keys_is_stopped(start: Start) -> None:
    app = start(wrong_key_limit="3/minute", admin_key=SecretStr(ADMIN_KEY))
    tries = [app.client.get("/photos", headers={"X-API-Key": f"guess {i}"}).status_code for i in range(2)]
    tries += [app.client.post("/session", json={"key": f"guess {i}"}).status_code for i in range(2)]
    assert tries == [401, 401, 401, 429]
    assert told(app.client.get("/photos")) == (429, "too-many-requests"), "the right one is not told either"


def test_a_counter_that_fails_refuses_nobody(start: Start) -> None:
    app = start(rate_limit="1/minute", rate_limit_url="redis://127.0.0.1:1")  # nobody listens there
    reader = key(app, Scope.READ)
    assert [app.client.get("/facets", headers=reader).status_code for _ in range(3)] == [200] * 3


# ── Owners ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shared(closed: Running) -> tuple[Running, dict[str, str], dict[str, str]]:
    """Ann has a dog and a pizza, Bob has buses and the same dog; each with a key."""
    ann, bob = (key(closed, *EVERYDAY, name=name, owner=name) for name in ("ann", "bob"))
    for headers, names in ((ann, (DOG, PIZZA)), (bob, (BUSES, DOG))):
        for name in names:
            files = {"file": (f"{name}", (PHOTOS / name).read_bytes())}
            data = {"caption": f"holiday {name}", "tags": f"tag-{name}"}
            closed.client.post("/upload", files=files, data=data, headers=headers).raise_for_status()
    return closed, ann, bob


def test_each_owner_searches_their_own_photos_only(
    shared: tuple[Running, dict[str, str], dict[str, str]],
) -> None:
    app, ann, bob = shared

    def names(path: str, headers: dict[str, str], **params: Any) -> set[str]:
        answer = app.client.get(path, params=params, headers=headers).json()
        return {hit["filename"] for hit in answer.get("results", answer.get("photos"))}

    for query in ("a dog", "pizza", "buses in a street", "holiday", BUSES, f"tag:tag-{PIZZA}"):
        assert names("/search/text", ann, q=query) <= {DOG, PIZZA}
        assert names("/search/text", bob, q=query) <= {BUSES, DOG}
    assert names("/search/text", ann, q="pizza", plain=True) == {DOG, PIZZA}
    assert names("/photos", ann) == {DOG, PIZZA}
    assert names("/photos", bob) == {BUSES, DOG}
    picture = {"file": (PHOTOS / BUSES).read_bytes()}
    found = app.client.post("/search/image", files=picture, headers=ann).json()["results"]
    assert {hit["filename"] for hit in found} == {DOG, PIZZA}


def test_counts_names_and_questions_are_each_owners_own(
    shared: tuple[Running, dict[str, str], dict[str, str]],
) -> None:
    app, ann, bob = shared
    app.client.get("/search/text", params={"q": "secret wishes"}, headers=ann).raise_for_status()
    for headers, total in ((ann, 2), (bob, 2)):
        assert app.client.get("/health", headers=headers).json()["image_count"] == total
        stats = app.client.get("/stats", headers=headers).json()
        assert (stats["total_photos"], stats["index"]["size"]) == (total, total)
        assert app.client.get("/facets", headers=headers).json()["total"] == total
    assert "secret" in app.client.get("/queries/recent", headers=ann).text
    assert "secret" not in app.client.get("/queries/recent", headers=bob).text
    assert app.client.get("/stats", headers=bob).json()["queries"]["total"] == 0
    assert PIZZA not in app.client.get("/facets", headers=bob).text


def test_no_id_of_another_owner_opens_anything(shared: tuple[Running, dict[str, str], dict[str, str]]) -> None:
    app, ann, bob = shared
    pizza = app.client.get("/photos", params={"filename": PIZZA}, headers=ann).json()["photos"][0]
    opened = app.client.post("/imports", files={"files": (PHOTOS / PIZZA).read_bytes()}, headers=ann).json()["id"]
    album = app.client.post("/albums", json={"name": "a", "query": "pizza"}, headers=ann).json()["id"]
    vote = {"photo_id": pizza["id"], "query": "pizza", "vote": 1}
    voted = app.client.post("/feedback", json=vote, headers=ann).json()["id"]
    started = app.client.post("/files", headers=ann | {"Tus-Resumable": "1.0.0", "Upload-Length": "9"})
    more = app.client.get("/search/text", params={"q": "holiday", "k": 1, "paged": True}, headers=ann).json()
    closed_doors = [
        *(("GET", f"/photo/{pizza['id']}{part}", {}) for part in ("", "/file", "/thumbnail", "/heatmap?q=x")),
        ("PATCH", f"/photo/{pizza['id']}", {"json": {"title": "mine now"}}),
        ("DELETE", f"/photo/{pizza['id']}", {}),
        ("POST", "/search/image-to-image", {"params": {"reference_photo_id": pizza["id"]}}),
        ("POST", "/search/mixed", {"data": {"terms": json.dumps([{"photo_id": pizza["id"]}])}}),
        ("POST", "/feedback", {"json": vote}),
        ("POST", "/feedback", {"json": vote | {"photo_id": None, "image_path": pizza["sha256"]}}),
        ("DELETE", f"/feedback/{voted}", {}),
        *(("GET", f"/imports/{opened}{part}", {}) for part in ("", "/items", "/events")),
        ("POST", f"/imports/{opened}/retry", {}),
        ("DELETE", f"/imports/{opened}", {}),
        ("GET", f"/albums/{album}", {}),
        ("GET", f"/albums/{album}/photos", {}),
        ("PATCH", f"/albums/{album}", {"json": {"name": "mine"}}),
        ("DELETE", f"/albums/{album}", {}),
        ("HEAD", started.headers["Location"], {"headers": {"Tus-Resumable": "1.0.0"}}),
        ("GET", "/search/page", {"params": {"cursor": more["next_cursor"]}}),
    ]
    for method, path, given in closed_doors:
        headers = bob | given.pop("headers", {})
        answer = app.client.request(method, path, headers=headers, **given)  # type: ignore[arg-type]
        assert answer.status_code in (404, 410), (method, path, answer.status_code, answer.text)
    assert app.client.get(f"/photo/{pizza['id']}/file", headers=ann).content == (PHOTOS / PIZZA).read_bytes()
    sums = {"sha256": [pizza["sha256"]]}
    assert app.client.post("/photos/check", json=sums, headers=bob).json()["known"] == {}
    assert app.client.get("/albums", headers=bob).json() == []
    assert app.client.get("/imports", headers=bob).json() == []


def test_what_two_owners_have_stays_until_both_have_deleted_it(
    shared: tuple[Running, dict[str, str], dict[str, str]],
) -> None:
    app, ann, bob = shared
    ids = [
        app.client.get("/photos", params={"filename": DOG}, headers=headers).json()["photos"][0]["id"]
        for headers in (ann, bob)
    ]
    assert ids[0] != ids[1]
    assert app.client.delete(f"/photo/{ids[0]}", headers=ann).status_code == 204
    assert app.client.get(f"/photo/{ids[1]}/file", headers=bob).content == (PHOTOS / DOG).read_bytes()


def test_imports_of_an_owner_become_their_photos(closed: Running, start: Start) -> None:
    ann = key(closed, *EVERYDAY, name="ann", owner="ann")
    made = closed.client.post("/imports", files={"files": (PHOTOS / PIZZA).read_bytes()}, headers=ann).json()
    with closed.client.stream("GET", f"/imports/{made['id']}/events", headers=ann) as events:
        assert "event: done" in "".join(events.iter_text())
    assert closed.client.get("/photos", headers=ann).json()["total"] == 1
    assert closed.client.get("/photos", headers={"X-API-Key": ADMIN_KEY}).json()["total"] == 1  # the dog
    restarted = start(admin_key=SecretStr(ADMIN_KEY))
    answer = restarted.client.get("/search/text", params={"q": "pizza"}, headers=ann).json()
    assert [hit["photo_id"] for hit in answer["results"]] == [2]


def test_the_command_line_works_on_the_owners_library(
    tmp_path: Path, recollect: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes((PHOTOS / DOG).read_bytes())
    monkeypatch.setenv("RECOLLECT_OWNER", "ann")
    assert recollect("import", str(folder)).exit_code == 0
    assert "a.jpg" in recollect("search", "a dog").stdout
    monkeypatch.setenv("RECOLLECT_OWNER", "bob")
    assert "a.jpg" not in recollect("search", "a dog").stdout


def test_no_key_is_in_the_log(tmp_path: Path) -> None:
    with running(tmp_path, RECOLLECT_WHISPER_MODEL="none", RECOLLECT_LOG_LEVEL="debug") as server:
        token = server.run("keys", "add", "phone").stdout.strip()
        with httpx2.Client(base_url=server.url) as client:
            assert client.get("/photos", headers={"Authorization": f"Bearer {token}"}).status_code == 200
            client.post("/session", json={"key": token}).raise_for_status()
            cookie = client.cookies["recollect"]
        log = (tmp_path / "server.log").read_text()
    assert "/photos" in log
    assert token not in log
    assert cookie not in log
