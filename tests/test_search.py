"""The four searches: by meaning, exactly, under filters, with votes."""

import csv
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, text

from app.flows.ingest import NewItem, add_item
from app.services.embedded_encoder import EmbeddedEncoder
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, SKIER, Running, picture_bytes, shared

MEANINGS = {
    "two buses and a taxi on a city street": BUSES,
    "a dog playing in the garden": DOG,
    "a pizza on a plate": PIZZA,
    "a woman on skis in the snow": SKIER,
    "a cat in a tree": "coco_000000269314.jpg",
    "an airplane at the airport": "coco_000000013348.jpg",
    "a brown bear": "coco_000000000285.jpg",
    "people riding horses on the beach": "coco_000000214753.jpg",
    "a green field under a cloudy sky": "coco_000000500663.jpg",
    "a tennis player": "coco_000000000885.jpg",
}


@pytest.mark.parametrize(("words", "name"), list(MEANINGS.items()))
def test_words_find_the_photo_they_describe(library: Running, words: str, name: str) -> None:
    assert library.search(words)[0]["filename"] == name


def test_a_search_asks_the_database_few_times(library: Running) -> None:
    """Each statement takes Python 0.1 ms and more, in which no other search can go on."""
    statements: list[str] = []

    def note(*of_execution: Any) -> None:
        statements.append(of_execution[2])

    engine = library.services.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        library.search("a pizza, two buses and a dog at coco_000000000285.jpg")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert any("photo_words" in statement for statement in statements)
    assert len(statements) <= 26, statements


def test_both_text_routes_give_the_same_photos(library: Running) -> None:
    plain = library.client.get("/search", params={"q": "a red bus", "top_k": 5}).json()
    ranked = library.client.get("/search/text", params={"q": "a red bus", "k": 5}).json()
    assert plain["results"] == ranked["results"]
    assert plain["results"][0]["filename"] == BUSES
    assert (plain["query"], plain["total_results"], ranked["total_found"]) == ("a red bus", 5, 5)
    assert ranked["query_type"] == "text"
    assert ranked["latency_ms"] >= ranked["encoder_latency_ms"] > 0


def test_results_are_the_exact_top_k(library: Running, encoder: EmbeddedEncoder) -> None:
    vectors = {i: library.client.get(f"/photo/{i}").json()["embedding"] for i in range(1, 17)}
    query = encoder.encode_texts(["something to eat"])[0]
    cosines = {i: float(np.dot(vector, query)) for i, vector in vectors.items()}
    expected = sorted(cosines, key=lambda i: -cosines[i])
    hits = library.search("something to eat", k=7)
    assert [hit["photo_id"] for hit in hits] == expected[:7]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
    for hit in hits:
        assert hit["similarity"] == pytest.approx(cosines[hit["photo_id"]], abs=1e-4)
        assert hit["distance"] == pytest.approx(1 - hit["similarity"])
        assert hit["score"] == pytest.approx(max(0, hit["similarity"]))


def test_another_size_and_quality_of_a_photo_finds_it(library: Running) -> None:
    for path in sorted(PHOTOS.glob("*.jpg")):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((image.width * 3 // 5, image.height * 3 // 5))
        answer = library.client.post(
            "/search/image", params={"k": 3}, files={"file": ("q.jpg", picture_bytes(small, quality=60))}
        )
        body = answer.json()
        assert (body["results"][0]["filename"], body["query_type"]) == (path.name, "image")
    assert library.client.get("/photos").json()["total"] == 16  # queries are not kept


def test_similar_photos_leave_the_reference_out(library: Running) -> None:
    ids = {hit["filename"]: hit["photo_id"] for hit in library.search("anything", k=100)}
    answer = library.client.post("/search/image-to-image", params={"reference_photo_id": ids[DOG], "top_k": 15})
    found = [hit["photo_id"] for hit in answer.json()["results"]]
    assert ids[DOG] not in found
    assert len(found) == 15


def test_similar_to_a_photo_that_is_not_there(app: Running) -> None:
    answer = app.client.post("/search/image-to-image", params={"reference_photo_id": 7})
    assert (answer.status_code, answer.json()["type"]) == (404, "photo-not-found")


def test_an_empty_library_answers_with_nothing(app: Running) -> None:
    assert app.search("a dog") == []


def test_filters_are_exact_at_any_selectivity(app: Running) -> None:
    for number, path in enumerate(sorted(PHOTOS.glob("*.jpg"))):
        app.upload(path.name, tags=f"all,{'even' if number % 2 == 0 else 'odd'},n{number}", category=f"c{number}")
    everything = [hit["photo_id"] for hit in app.search("outdoors", k=16)]

    def ids(**params: str) -> list[int]:
        return [hit["photo_id"] for hit in app.search("outdoors", k=16, **params)]

    even = set(range(1, 17, 2))
    assert ids(tag="all") == everything
    assert ids(tag="even") == [i for i in everything if i in even]
    assert ids(tag="n3") == ids(category="c3") == [4]
    assert ids(tag="nothing has this") == ids(tag="even", category="c3") == []


def test_a_text_only_item_is_found_by_its_caption(library: Running) -> None:
    item = NewItem(data=None, caption="the recipe of grandmother's apple pie", item_id="pie")
    photo = add_item(library.services, item).photo
    hit = library.search("how to bake an apple pie")[0]
    assert (hit["photo_id"], hit["item_id"], hit["url"], hit["thumbnail_url"]) == (photo.id, "pie", None, None)
    assert library.client.get(f"/photo/{photo.id}/file").json()["type"] == "file-not-found"
    library.client.patch(f"/photo/{photo.id}", json={"caption": "how to change a bicycle tyre"})
    assert library.search("repairing a bicycle")[0]["photo_id"] == photo.id
    assert not add_item(
        library.services, NewItem(data=None, caption="how to change a bicycle tyre", item_id="pie")
    ).created


def test_votes_move_a_photo_for_this_query_only(library: Running) -> None:
    words = "an animal"
    before = library.search(words, k=16)
    last, first = before[-1], before[0]
    for hit, vote in ((last, 1), (first, -1)):
        answer = library.client.post("/feedback", json={"photo_id": hit["photo_id"], "query": words, "vote": vote})
        assert answer.status_code == 201
    after = {hit["photo_id"]: hit for hit in library.search("  An  ANIMAL ", k=16)}
    down, up = after[first["photo_id"]], after[last["photo_id"]]
    assert (down["why"]["vote_factor"], up["why"]["vote_factor"]) == (0.70, 1.15)
    assert down["why"]["learned"] < 0 < up["why"]["learned"]
    assert down["score"] <= first["score"] * 0.70
    assert up["score"] >= last["score"] * 1.15
    assert (down["similarity"], up["similarity"]) == (first["similarity"], last["similarity"])
    assert (after[first["photo_id"]]["vote"], after[last["photo_id"]]["vote"]) == (-1, 1)
    assert {hit["vote"] for hit in library.search("an animal outdoors", k=16)} == {0}


def test_a_photo_voted_up_is_weighed_even_far_down_the_list(library: Running) -> None:
    hits = library.search("an animal", k=16)
    last = hits[-1]["photo_id"]
    library.client.post("/feedback", json={"photo_id": last, "query": "an animal", "vote": 1})
    every = {hit["photo_id"]: hit for hit in library.search("an animal", k=16)}
    assert every[last]["score"] >= hits[-1]["score"] * 1.15
    assert library.search("an animal", k=1)[0]["photo_id"] == next(iter(every))


def test_the_newest_vote_counts_and_can_be_taken_back(library: Running) -> None:
    hit = library.search("a bear")[0]
    vote = {"image_path": hit["path"], "query": "a bear", "vote": 1}
    library.client.post("/feedback", json=vote)
    down = library.client.post("/feedback", json={**vote, "vote": -1}).json()
    assert down["photo_id"] == hit["photo_id"]
    assert {h["photo_id"]: h["vote"] for h in library.search("a bear")}[hit["photo_id"]] == -1
    assert library.client.delete(f"/feedback/{down['id']}").status_code == 204
    assert {h["photo_id"]: h["vote"] for h in library.search("a bear")}[hit["photo_id"]] == 1
    assert library.client.delete(f"/feedback/{down['id']}").json()["type"] == "feedback-not-found"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"photo_id": 1, "query": "a", "vote": 0}, 400),
        ({"photo_id": 1, "query": "a", "vote": 2}, 400),
        ({"query": "a", "vote": 1}, 400),
        ({"photo_id": 99, "query": "a", "vote": 1}, 404),
        ({"image_path": "no/such", "query": "a", "vote": 1}, 404),
        ({"image_path": "/photo/99999999999999999999/file", "query": "a", "vote": 1}, 404),
        ({"photo_id": 2**63, "query": "a", "vote": 1}, 422),
        ({"photo_id": 1, "query": "\ud800", "vote": 1}, 422),
    ],
)
def test_a_vote_that_makes_no_sense_is_refused(app: Running, body: dict[str, object], status: int) -> None:
    app.upload(DOG)
    answer = app.client.post("/feedback", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_fourth_of_a_category_counts_less(app: Running) -> None:
    for path in sorted(PHOTOS.glob("*.jpg"))[:6]:
        app.upload(path.name, category="one")
    scores = [(hit["score"], hit["similarity"]) for hit in app.search("a city street", k=6)]
    assert sorted(round(score / max(similarity, 1e-9), 3) for score, similarity in scores if similarity > 0) in (
        [[0.9] * (n - 3) + [1.0] * 3 for n in range(3, 7)]
    )


def test_queries_are_listed_newest_first(library: Running) -> None:
    library.search("first words")
    library.client.post("/search/image-to-image", params={"reference_photo_id": 3})
    body = library.client.get("/queries/recent", params={"limit": 2}).json()["queries"]
    assert [(query["kind"], query["text"]) for query in body] == [("similar", "photo:3"), ("text", "first words")]
    assert body[0]["result_count"] == 10


@pytest.mark.parametrize(
    "query",
    [
        "q=",
        "q=%20",
        "k=10",
        "q=a&k=0",
        "q=a&k=-1",
        "q=a&k=NaN",
        "q=a&k=1e999",
        "q=a&k=10001",
        "q=a%00b",
        "q=" + "a" * 1001,
    ],
)
def test_a_query_that_makes_no_sense_is_refused(app: Running, query: str) -> None:
    answer = app.client.get(f"/search/text?{query}")
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.stress)])
def test_naughty_strings_are_only_words(library: Running, step: int) -> None:
    strings: list[str] = json.loads(shared("corpora/text/blns.json").read_text())
    for words in [*strings[::step], "[" * 1000]:
        answer = library.client.get("/search", params={"q": words})
        assert answer.status_code == (200 if words.strip() and "\x00" not in words else answer.status_code), words
        assert answer.status_code < 500, words


def test_a_photo_deleted_elsewhere_is_never_shown(library: Running) -> None:
    hit = library.search("a dog playing in the garden")[0]
    with library.services.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM photos WHERE id = :id"), {"id": hit["photo_id"]})
    found = library.search("a dog playing in the garden", k=16)
    assert len(found) == 15
    assert hit["photo_id"] not in [other["photo_id"] for other in found]


def test_searching_while_photos_come_and_go(library: Running) -> None:
    """Raw FAISS crashes the process when a search meets an add."""
    probes = list(MEANINGS.items())

    def look(turn: int) -> bool:
        words, name = probes[turn % len(probes)]
        return bool(library.search(words, k=3)[0]["filename"] == name)

    def come_and_go(turn: int) -> bool:
        noise = Image.effect_noise((64, 64), 90 + turn).convert("RGB")
        photo = library.client.post("/upload", files={"file": ("n.png", picture_bytes(noise, "PNG"))}).json()
        return bool(library.client.delete(f"/photo/{photo['id']}").status_code == 204)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda turn: come_and_go(turn) if turn % 4 == 0 else look(turn), range(120)))
    assert all(results)


def test_recency_can_be_asked_for(app: Running) -> None:
    old = Image.effect_noise((64, 64), 60).convert("RGB")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2001:01:01 12:00:00"
    buffer = io.BytesIO()
    old.save(buffer, "JPEG", exif=exif.tobytes(), quality=95)
    photo = app.client.post("/upload", files={"file": ("old.jpg", buffer.getvalue())}).json()
    assert photo["taken_at"] == "2001-01-01T12:00:00Z"
    answer = app.client.post(
        "/search/image", params={"recency": 0.5}, files={"file": ("old.jpg", buffer.getvalue())}
    ).json()["results"][0]
    assert answer["similarity"] == pytest.approx(1, abs=1e-4)
    assert answer["score"] == pytest.approx(0.5, abs=0.01)  # after 25 years the weighted half has faded


def test_a_restart_gives_the_same_answers(library: Running, start: Callable[..., Running]) -> None:
    before = [library.search(words, k=16) for words in MEANINGS]
    again = start()
    after = [again.search(words, k=16) for words in MEANINGS]
    for old, new in zip(before, after, strict=True):
        assert [hit["photo_id"] for hit in old] == [hit["photo_id"] for hit in new]
        assert np.allclose([hit["score"] for hit in old], [hit["score"] for hit in new], atol=1e-6)


@pytest.mark.stress
def test_recall_over_all_captions_is_what_the_model_card_says(app: Running) -> None:
    folder = shared("photos")
    for path in sorted((folder / "images").iterdir()):
        app.client.post("/upload", files={"file": (path.name, path.read_bytes())})
    with (folder / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {1: 0, 5: 0, 10: 0}
    for row in rows:
        names = [hit["filename"] for hit in app.search(row["caption"])]
        for k in found:
            found[k] += row["image_filename"] in names[:k]
    recall = {k: 100 * hits / len(rows) for k, hits in found.items()}
    assert recall == pytest.approx({1: 41.0, 5: 83.4, 10: 93.7}, abs=1.0)
