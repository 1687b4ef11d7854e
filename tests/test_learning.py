"""Votes move later results of this query and of similar ones, no others; taken back, they leave no trace."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sqlalchemy import text as sql

from app.flows.learning import learned
from app.flows.voted_queries import ALIKE
from app.services.interfaces import Vectors
from app.tables import DEFAULT_OWNER
from tests.conftest import BUSES, Running

CAT, BEAR, HORSES = "coco_000000269314.jpg", "coco_000000000285.jpg", "coco_000000214753.jpg"
TRAIN = "coco_000000565778.jpg"
ANIMAL = "a wild animal"
Encode = Callable[[Sequence[str]], Sequence[Vectors]]


@pytest.fixture
def few(app: Running) -> Running:
    for name in (CAT, BEAR, HORSES, BUSES, TRAIN):
        app.upload(name)
    return app


def vote(running: Running, name: str, query: str, value: int) -> int:
    ids = {photo["filename"]: photo["id"] for photo in running.client.get("/photos").json()["photos"]}
    body = {"photo_id": ids[name], "query": query, "vote": value}
    answer = running.client.post("/feedback", json=body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def before_and_after(running: Running, query: str, as_text: str | None = None) -> tuple[Vectors, Vectors]:
    """The query's vector, and where votes move it."""
    services = running.services
    vector = services.encoder.encode_texts([query])[0]
    with services.database.read() as session:
        return vector, learned(services, session, as_text or query, vector, DEFAULT_OWNER)


def vector_of(running: Running, name: str) -> Vectors:
    (photo,) = (p for p in running.client.get("/photos").json()["photos"] if p["filename"] == name)
    return np.array(running.client.get(f"/photo/{photo['id']}").json()["embedding"], np.float32)


def test_the_query_moves_towards_what_is_voted_up_and_away_from_what_is_voted_down(few: Running) -> None:
    vote(few, BEAR, ANIMAL, 1)
    vote(few, BUSES, ANIMAL, -1)
    before, after = before_and_after(few, ANIMAL)
    assert np.linalg.norm(after) == pytest.approx(1, abs=1e-6)
    bear, buses = vector_of(few, BEAR), vector_of(few, BUSES)
    assert bear @ after > bear @ before
    assert buses @ after < buses @ before


def test_a_photo_that_nobody_voted_on_rises_with_one_like_it(few: Running) -> None:
    """A train is voted up as an answer; then the buses, which are like it, go before other photos, too."""
    query = "something beautiful"
    before = [hit["filename"] for hit in few.search(query)]
    vote(few, TRAIN, query, 1)
    after = [hit["filename"] for hit in few.search(query)]
    assert after.index(BUSES) < before.index(BUSES)


def test_a_vote_that_is_taken_back_leaves_no_trace(few: Running) -> None:
    first = few.search(ANIMAL)
    given = [vote(few, CAT, ANIMAL, 1), vote(few, CAT, ANIMAL, -1), vote(few, BEAR, ANIMAL, 1)]
    assert few.search(ANIMAL) != first
    for feedback_id in given:
        assert few.client.delete(f"/feedback/{feedback_id}").status_code == 204
    before, after = before_and_after(few, ANIMAL)
    assert after is before
    assert few.search(ANIMAL) == first


def test_a_similar_query_moves_a_little_and_an_unrelated_one_not_at_all(few: Running) -> None:
    vote(few, BEAR, ANIMAL, 1)
    moves = {}
    for query in (ANIMAL, "a picture of a wild animal", "a bus on a city street", "a plate of food"):
        before, after = before_and_after(few, query)
        moves[query] = float(np.linalg.norm(after - before))
        assert (after is before) == (moves[query] == 0)
    assert moves[ANIMAL] > moves["a picture of a wild animal"] > 0
    assert moves["a bus on a city street"] == moves["a plate of food"] == 0


def test_of_several_votes_on_a_photo_the_newest_counts(few: Running) -> None:
    vote(few, BEAR, ANIMAL, -1)
    vote(few, BEAR, ANIMAL, 1)
    _, both = before_and_after(few, ANIMAL)
    few.client.delete("/feedback/1")
    _, one = before_and_after(few, ANIMAL)
    assert np.array_equal(both, one)


def test_votes_on_a_question_with_a_picture_count_for_that_question_only(few: Running) -> None:
    vote(few, BEAR, "photo:3", 1)
    before, after = before_and_after(few, ANIMAL, as_text="photo:3")
    assert (vector_of(few, BEAR) @ after) > (vector_of(few, BEAR) @ before)
    for other in ("photo:30", "photo:3 + bear", ANIMAL):
        before, after = before_and_after(few, ANIMAL, as_text=other)
        assert after is before


def test_votes_of_another_process_and_of_another_owner(few: Running) -> None:
    insert = (
        "INSERT INTO feedback (owner, photo_id, query_text, vote, created_at)"
        " VALUES (:owner, 1, :query, 1, '2026-01-01')"
    )
    values = {"owner": "somebody else", "query": ANIMAL}
    with few.services.database.engine.begin() as connection:
        connection.execute(sql(insert), values)
    before, after = before_and_after(few, ANIMAL)
    assert after is before
    with few.services.database.engine.begin() as connection:
        connection.execute(sql(insert), values | {"owner": DEFAULT_OWNER})
    before, after = before_and_after(few, ANIMAL)
    assert after is not before


def test_votes_on_a_deleted_photo_are_gone_with_it(few: Running) -> None:
    vote(few, BEAR, ANIMAL, 1)
    (bear,) = (p["id"] for p in few.client.get("/photos").json()["photos"] if p["filename"] == BEAR)
    assert few.client.delete(f"/photo/{bear}").status_code == 204
    before, after = before_and_after(few, ANIMAL)
    assert after is before


def test_votes_that_cancel_each_other_leave_a_direction(few: Running) -> None:
    """The photo itself as the question, voted down: towards the opposite it would not be a question any more."""
    vote(few, HORSES, "photo:9", -1)
    vector = vector_of(few, HORSES)
    with few.services.database.read() as session:
        after = learned(few.services, session, "photo:9", vector, DEFAULT_OWNER)
    assert np.isfinite(after).all()
    assert vector @ after > 0.9


def test_many_voted_queries_are_encoded_once(few: Running) -> None:
    texts, encoded = few.services.encoder.texts, list[str]()
    texts._work = _counting(texts._work, encoded)  # the real encoder, noting what it is asked
    values = [{"query": f"animal number {number}"} for number in range(150)]
    insert = (
        "INSERT INTO feedback (owner, photo_id, query_text, vote, created_at)"
        " VALUES ('default', 1, :query, 1, '2026-01-01')"
    )
    with few.services.database.engine.begin() as connection:
        connection.execute(sql(insert), values)
    for _ in range(3):
        before_and_after(few, ANIMAL)
    assert sorted(encoded) == sorted([ANIMAL, *(value["query"] for value in values)])


def test_the_threshold_lies_between_paraphrases_and_other_things(few: Running) -> None:
    services = few.services
    texts = ["a cat", "cats", "a picture of a cat", "a dog", "a bus", "a pizza"]
    query, *others = services.encoder.encode_texts(texts)
    likeness = services.relevance.likeness_of_texts(query, np.stack(others))
    assert (likeness[:2] > ALIKE).all()
    assert (likeness[2:] < ALIKE).all()


def _counting(work: Encode, seen: list[str]) -> Encode:
    def counted(texts: Sequence[str]) -> Sequence[Vectors]:
        seen.extend(texts)
        return work(texts)

    return counted
