"""One box for everything: what is read as a filter, what words find, what is left out, and when nothing fits."""

from typing import Any

import pytest

from tests.conftest import BUSES, DOG, PIZZA, SKIER, Running


def ask(app: Running, q: str, **params: Any) -> dict[str, Any]:
    answer = app.client.get("/search/text", params={"q": q, **params})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def names(body: dict[str, Any]) -> list[str]:
    return [hit["filename"] for hit in body["results"]]


@pytest.fixture
def dated(app: Running) -> Running:
    """Photos of several years and places, one of them with words of its owner's."""
    app.upload(DOG, taken_at="2019-07-14", latitude="53.55", longitude="8.58", tags="rex")
    app.upload(PIZZA, taken_at="2021-01-02", title="Napoli, the night we arrived")
    app.upload(BUSES, taken_at="2019-08-01", latitude="-33.87", longitude="151.21")
    app.upload(SKIER)
    return app


def test_dates_and_places_in_the_words_are_filters_and_the_rest_is_meaning(dated: Running) -> None:
    body = ask(dated, "a vehicle summer 2019")
    assert names(body) == [BUSES, DOG]
    (chip,) = body["chips"]
    assert (chip["kind"], chip["without"]) == ("taken", "a vehicle")
    assert "a vehicle summer 2019"[chip["start"] : chip["end"]] == "summer 2019"
    assert names(ask(dated, chip["without"]))[0] == BUSES
    assert names(ask(dated, "in bremerhaven")) == [DOG]
    assert names(ask(dated, "australia", place="sydney")) == [BUSES]
    assert names(ask(dated, "before:2020", taken_from="2019-07-20")) == [BUSES]
    assert len(ask(dated, "a vehicle summer 2019", plain=True)["results"]) == 4


def test_filters_alone_show_the_latest_first(dated: Running) -> None:
    body = ask(dated, "#rex")
    assert (names(body), body["matched"], body["results"][0]["score"]) == ([DOG], True, 1.0)
    assert names(ask(dated, "after 2018")) == [PIZZA, BUSES, DOG]
    assert names(ask(dated, "after 2018", sort="added")) == [BUSES, PIZZA, DOG]
    assert (ask(dated, "before 1990")["results"], ask(dated, "before 1990")["matched"]) == ([], False)


def test_words_that_somebody_has_written_are_found(dated: Running) -> None:
    body = ask(dated, "napoli")
    first = body["results"][0]
    assert (first["filename"], first["why"]["text_fields"], first["relevance"]) == (PIZZA, ["title"], 1.0)
    assert body["matched"]
    assert names(ask(dated, "17029"))[0] == DOG
    assert ask(dated, "17029")["results"][0]["why"]["text_fields"] == ["filename"]


def test_what_is_left_out_goes_to_the_end(library: Running) -> None:
    assert names(ask(library, "an animal", k=16)).index(DOG) < names(ask(library, "an animal -dog", k=16)).index(
        DOG
    )
    body = ask(library, "an animal without dogs")
    assert [chip["kind"] for chip in body["chips"]] == ["without"]


@pytest.mark.parametrize("query", ["an x-ray of a knee", "a quarterly tax form", "asdf qwer zxcv"])
def test_nothing_fits_is_an_answer(library: Running, query: str) -> None:
    body = ask(library, query)
    assert not body["matched"]
    assert all(hit["relevance"] < 0.5 for hit in body["results"])
    assert ask(library, query, min_relevance=0.5)["results"] == []
    assert ask(library, query, sort="taken")["results"] == []


@pytest.mark.parametrize(("query", "name"), [("a pizza", PIZZA), ("a dog", DOG), ("a person skiing", SKIER)])
def test_what_fits_is_told_from_what_does_not(library: Running, query: str, name: str) -> None:
    body = ask(library, query, min_relevance=0.5)
    assert body["matched"]
    assert names(body)[0] == name
    assert len(body["results"]) < 8
    assert names(ask(library, query, sort="taken")) != []


def test_pictures_have_a_relevance_of_their_own(library: Running) -> None:
    body = library.client.post("/search/image-to-image", params={"reference_photo_id": 1, "top_k": 15}).json()
    relevances = [hit["relevance"] for hit in body["results"]]
    assert relevances == sorted(relevances, reverse=True) or body["results"][0]["why"]["diversity_factor"] == 1
    assert min(relevances) < 0.5
