"""Questions of several parts, crops, variety, bursts, other orders."""

import json
from typing import Any

import pytest
from PIL import Image

from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, SKIER, Running, picture_bytes


def mixed(app: Running, *terms: dict[str, Any], files: tuple[bytes, ...] = (), **params: Any) -> dict[str, Any]:
    sent = [("files", (f"{i}.jpg", data)) for i, data in enumerate(files)]
    answer = app.client.post("/search/mixed", data={"terms": json.dumps(terms)}, files=sent or None, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def names(body: dict[str, Any]) -> list[str]:
    return [hit["filename"] for hit in body["results"]]


def test_a_mixture_of_one_is_the_plain_search(library: Running) -> None:
    plain = library.search("a dog", k=16)
    body = mixed(library, {"text": "a dog", "weight": 3}, k=16)
    assert [hit["photo_id"] for hit in body["results"]] == [hit["photo_id"] for hit in plain]
    assert (body["query_type"], body["query"]) == ("mixed", "3 a dog")


def test_words_photos_and_pictures_count_by_their_weights(library: Running) -> None:
    ids = {hit["filename"]: hit["photo_id"] for hit in library.search("anything", k=16)}
    pizza = (PHOTOS / PIZZA).read_bytes()
    body = mixed(library, {"image": 0}, {"photo_id": ids[BUSES], "weight": 0.3}, files=(pizza,), k=16)
    assert names(body)[0] == PIZZA
    body = mixed(library, {"image": 0, "weight": 0.3}, {"photo_id": ids[BUSES]}, files=(pizza,), k=16)
    assert names(body)[0] == BUSES
    towards = mixed(library, {"text": "a dog"}, {"text": "snow", "weight": 2}, k=16)
    away = mixed(library, {"text": "a dog"}, {"text": "snow", "weight": -1}, k=16)
    assert names(towards).index(SKIER) < names(away).index(SKIER)
    assert names(away)[0] == DOG
    assert away["query"] == "a dog − snow"


@pytest.mark.parametrize(
    "terms",
    [
        "nonsense",
        "[]",
        "{}",
        '[{"text": "a", "photo_id": 1}]',
        "[{}]",
        '[{"text": ""}]',
        '[{"text": "a", "weight": 0}]',
        '[{"text": "a", "crop": {"x": 0, "y": 0, "width": 1, "height": 1}}]',
        '[{"image": 0, "crop": {"x": 0.5, "y": 0, "width": 0.6, "height": 1}}]',
    ],
)
def test_a_malformed_mixture_is_refused(app: Running, terms: str) -> None:
    answer = app.client.post("/search/mixed", data={"terms": terms})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_what_is_not_there_cannot_be_asked_with(app: Running) -> None:
    for terms, status in (([{"photo_id": 7}], 404), ([{"image": 0}], 400)):
        assert app.client.post("/search/mixed", data={"terms": json.dumps(terms)}).status_code == status


def test_what_is_not_wanted_makes_way(library: Running) -> None:
    """Also where nothing else is asked for."""
    plain = names(mixed(library, {"text": "an animal"}, k=16))
    body = mixed(library, {"text": "an animal"}, {"text": "a dog", "weight": -1}, k=16)
    assert names(body).index(DOG) > plain.index(DOG)
    dog = next(hit for hit in body["results"] if hit["filename"] == DOG)
    assert dog["why"]["unwanted_factor"] < 0.5
    assert names(mixed(library, {"text": "a dog", "weight": -1}, k=16))[-1] == DOG


@pytest.fixture
def collage() -> bytes:
    """The dog on the left, the pizza on the right."""
    whole = Image.new("RGB", (800, 400))
    for x, name in ((0, DOG), (400, PIZZA)):
        with Image.open(PHOTOS / name) as part:
            whole.paste(part.convert("RGB").resize((400, 400)), (x, 0))
    return picture_bytes(whole, quality=95)


def test_a_part_of_a_picture_is_asked_with(library: Running, collage: bytes) -> None:
    def asked(crop: str) -> str:
        answer = library.client.post("/search/image", params={"crop": crop}, files={"file": ("c.jpg", collage)})
        return str(answer.json()["results"][0]["filename"])

    assert (asked("0,0,0.5,1"), asked("0.5,0,0.5,1")) == (DOG, PIZZA)
    part = {"image": 0, "crop": {"x": 0.5, "y": 0, "width": 0.5, "height": 1}}
    assert names(mixed(library, part, files=(collage,)))[0] == PIZZA


def test_a_part_of_a_stored_photo_is_asked_with(library: Running, collage: bytes) -> None:
    photo_id = library.client.post("/upload", files={"file": ("c.jpg", collage)}).json()["id"]
    for crop, name in (("0,0,0.5,1", DOG), ("0.5,0,0.5,1", PIZZA)):
        asked = {"reference_photo_id": photo_id, "crop": crop}
        found = library.client.post("/search/image-to-image", params=asked).json()
        assert names(found)[0] == name
        assert photo_id not in [hit["photo_id"] for hit in found["results"]]
        assert found["query"].startswith(f"photo:{photo_id}[")


@pytest.mark.parametrize("crop", ["1", "0,0,1", "0,0,0,1", "0.5,0,0.6,1", "a,b,c,d", "-1,0,1,1", "nan,0,1,1"])
def test_a_crop_outside_the_picture_is_refused(app: Running, crop: str) -> None:
    files = {"file": (DOG, (PHOTOS / DOG).read_bytes())}
    assert app.client.post("/search/image", params={"crop": crop}, files=files).status_code == 400


def test_copies_and_bursts_take_one_place(library: Running) -> None:
    with Image.open(PHOTOS / DOG) as dog:
        smaller = [dog.convert("RGB").resize((dog.width * n // 10, dog.height * n // 10)) for n in (8, 6)]
    copies = [
        library.client.post("/upload", files={"file": ("c.jpg", picture_bytes(image))}).json()["id"]
        for image in smaller
    ]
    plain = library.search("a dog", k=100)
    shown = library.search("a dog", k=100, collapse="burst")
    dogs = {hit["photo_id"] for hit in plain if hit["photo_id"] in copies or hit["filename"] == DOG}
    first = next(hit for hit in shown if hit["photo_id"] in dogs)
    assert {first["photo_id"], *first["collapsed"]} == dogs
    assert len(shown) == len(plain) - 2
    others = library.client.get("/photos", params={"id": first["collapsed"]}).json()["photos"]
    assert {photo["id"] for photo in others} == dogs - {first["photo_id"]}
    assert all(hit["collapsed"] == [] for hit in plain)


def test_variety_puts_what_is_different_first(library: Running) -> None:
    with Image.open(PHOTOS / DOG) as dog:
        library.client.post(
            "/upload", files={"file": ("copy.jpg", picture_bytes(dog.convert("RGB").resize((500, 400))))}
        )
    plain = [hit["filename"] for hit in library.search("a dog", k=17)]
    varied = [hit["filename"] for hit in library.search("a dog", k=17, variety=0.5)]
    assert set(plain[:2]) == {DOG, "copy.jpg"}
    assert varied[0] == plain[0]
    assert plain[1] not in varied[:4]
    assert sorted(varied) == sorted(plain)
    assert [hit["filename"] for hit in library.search("a dog", k=17, variety=0)] == plain


def test_albums_are_live_searches(app: Running) -> None:
    made = app.client.post("/albums", json={"name": "Dogs", "query": "a dog", "filter": {"tag": "rex"}}).json()
    assert app.client.get(made["url"]).json()["results"] == []
    photo = app.upload(DOG, tags="rex")
    app.upload(PIZZA)
    body = app.client.get(made["url"]).json()
    assert [hit["photo_id"] for hit in body["results"]] == [photo["id"]]
    assert (body["album"]["name"], body["query"]) == ("Dogs", "a dog")
    changed = app.client.patch(made["url"], json={"name": "All", "filter": {"near": [53, 8, 5]}}).json()
    assert (changed["query"], changed["filter"]) == ("a dog", {"near": [53.0, 8.0, 5.0]})
    assert app.client.get(made["url"]).json()["results"] == []
    app.client.patch(made["url"], json={"filter": {}})
    assert len(app.client.get(made["url"]).json()["results"]) == 2
    assert [album["name"] for album in app.client.get("/albums").json()] == ["All"]
    assert app.client.delete(made["url"]).status_code == 204
    assert app.client.get(made["url"]).status_code == app.client.delete(made["url"]).status_code == 404
    assert len(app.client.get("/photos").json()["photos"]) == 2


def test_an_album_needs_a_name_and_something_to_look_for(app: Running) -> None:
    assert app.client.post("/albums", json={"name": "x"}).status_code == 400
    for wrong in ({"query": "x"}, {"name": "", "query": "x"}, {"name": "x", "filter": {"near": "nowhere"}}):
        assert app.client.post("/albums", json=wrong).status_code == 422
    made = app.client.post("/albums", json={"name": "x", "query": "y"}).json()
    assert app.client.patch(made["url"], json={"query": ""}).status_code == 400
    assert app.client.get(made["url"]).json()["album"]["query"] == "y"
