"""Pages of a search: one big answer in parts, whatever comes and goes meanwhile."""

import zlib
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from pydantic_core import to_json
from sqlmodel import select, update

from app.flows.paging import KEPT, RANKINGS, SWEEP_EVERY
from app.tables import FrozenRanking, utc_now
from tests.conftest import DOG, PHOTOS, Running, picture_bytes


def page(app: Running, cursor: str, k: int = 5) -> dict[str, Any]:
    answer = app.client.get("/search/page", params={"cursor": cursor, "k": k})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def first_page(app: Running, k: int = 5, **params: Any) -> dict[str, Any]:
    asked = {"q": "a dog", "k": k, "paged": True, **params}
    body: dict[str, Any] = app.client.get("/search/text", params=asked).json()
    return body


def without_words(hit: dict[str, Any]) -> dict[str, Any]:
    return {name: hit[name] for name in ("photo_id", "rank", "score", "similarity", "vote")}


def test_all_pages_are_one_big_answer(library: Running) -> None:
    whole = library.search("a dog", k=1000)
    body = first_page(library)
    hits = body["results"]
    while body["next_cursor"]:
        body = page(library, body["next_cursor"])
        assert body["query"] == "a dog"
        hits += body["results"]
    assert [*map(without_words, hits)] == [*map(without_words, whole)]


def test_later_pages_stay_while_photos_come_and_go(library: Running) -> None:
    whole = [hit["photo_id"] for hit in library.search("a dog", k=1000)]
    body = first_page(library)
    for name, size in (("a.png", 20), ("b.png", 30)):
        with Image.open(PHOTOS / DOG) as dog:
            picture = picture_bytes(dog.convert("RGB").resize((300, 200 + size)), "PNG")
        library.client.post("/upload", files={"file": (name, picture)})
    gone = whole[7]
    library.client.delete(f"/photo/{gone}")
    seen = [hit["photo_id"] for hit in body["results"]]
    while body["next_cursor"]:
        body = page(library, body["next_cursor"])
        seen += [hit["photo_id"] for hit in body["results"]]
    assert seen == [photo_id for photo_id in whole if photo_id != gone]


def test_pictures_are_paged_too_and_only_who_asks_for_it_gets_a_cursor(library: Running) -> None:
    files = {"file": (DOG, (PHOTOS / DOG).read_bytes())}
    body = library.client.post("/search/image", params={"k": 3, "paged": True}, files=files).json()
    later = page(library, body["next_cursor"], k=100)
    assert [hit["rank"] for hit in later["results"]] == list(range(4, 17))
    assert (later["query_type"], later["next_cursor"]) == ("image", None)
    assert library.client.post("/search/image", params={"k": 3}, files=files).json()["next_cursor"] is None
    assert first_page(library, k=16)["next_cursor"] is None


@pytest.mark.parametrize(("cursor", "status"), [("nonsense", 400), ("WzEyMywxMF0=", 410), ("e30=", 400)])
def test_other_cursors_are_refused(app: Running, cursor: str, status: int) -> None:
    assert app.client.get("/search/page", params={"cursor": cursor}).status_code == status


def test_pages_go_on_that_an_older_version_began(library: Running) -> None:
    """It kept results with the names of their fields."""
    body = first_page(library)
    rest = page(library, body["next_cursor"], k=1000)["results"]
    assert rest
    with library.services.database.write() as session:
        frozen = session.exec(select(FrozenRanking)).one()
        ranked = RANKINGS.validate_json(zlib.decompress(frozen.results))
        named = [one._asdict() | {"candidate": one.candidate._asdict()} for one in ranked]
        frozen.results = zlib.compress(to_json(named))
        session.add(frozen)
    assert page(library, body["next_cursor"], k=1000)["results"] == rest


def test_rankings_are_swept_away_after_some_hours(library: Running) -> None:
    old = first_page(library)["next_cursor"]
    with library.services.database.write() as session:
        session.exec(update(FrozenRanking).values(created_at=utc_now() - KEPT - timedelta(minutes=1)))
    for _ in range(SWEEP_EVERY):
        fresh = first_page(library)["next_cursor"]
    assert library.client.get("/search/page", params={"cursor": old}).json()["type"] == "cursor-expired"
    assert page(library, fresh)["results"]
    with library.services.database.read() as session:
        assert len(session.exec(select(FrozenRanking)).all()) == SWEEP_EVERY
