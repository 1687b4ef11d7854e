"""Clients of other services, written from their descriptions: in process, with curl, and with Node.js."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.conftest import BUSES, DATA, DOG, PHOTOS, PIZZA, Running
from tests.server import Server, running

NODE_CLIENT = Path(__file__).parent / "clients" / "drop_in.js"


def ingest(app: Running, picture: str | None = None, **fields: str) -> httpx2.Response:
    files = {"image_file": (picture, (PHOTOS / picture).read_bytes(), "image/jpeg")} if picture else None
    answer: httpx2.Response = app.client.post("/ingest_stream/", data=fields, files=files)
    return answer


def found(app: Running, words: str, top_n: int = 5) -> list[dict[str, Any]]:
    answer = app.client.post("/search_text/", json={"query_text": words, "top_n": top_n})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert 0 < body["query_time"] < 60
    results: list[dict[str, Any]] = body["results"]
    return results


def test_an_item_with_picture_and_words_is_found_with_them(app: Running) -> None:
    answer = ingest(
        app, DOG, item_id="a-1", text_caption="Rex", title="Our dog", tags_str="dog, home", category="pets"
    )
    assert answer.status_code == 200
    assert answer.json().keys() == {"message", "item_id", "processing_time"}
    assert (answer.json()["item_id"], answer.json()["message"]) == ("a-1", "Item added.")
    [hit] = found(app, "a dog in the garden")
    assert hit.keys() == {"id", "score", "text", "image_path", "metadata"}
    assert (hit["id"], hit["text"]) == ("a-1", "Rex")
    assert hit["metadata"] == {
        "title": "Our dog",
        "tags": ["dog", "home"],
        "category": "pets",
        "original_filename": DOG,
        "faiss_id": 1,
    }
    assert app.client.get(f"/images/{hit['image_path']}").content == (PHOTOS / DOG).read_bytes()


def test_a_text_only_item_is_found_by_its_meaning(app: Running) -> None:
    ingest(app, PIZZA)
    named = ingest(app, text_caption="verses about the ocean").json()["item_id"]
    best = found(app, "a poem about the sea")[0]
    assert (best["id"], best["image_path"], best["text"]) == (named, None, "verses about the ocean")


def test_an_item_id_sent_again_changes_the_item(app: Running) -> None:
    ingest(app, DOG, item_id="x", title="A dog", category="pets")
    again = ingest(app, DOG, item_id="x", title="Rex", tags_str="dog")
    assert (again.status_code, again.json()["item_id"]) == (200, "x")
    ingest(app, item_id="x", text_caption="Rex in the garden")
    [hit] = found(app, "a dog")
    metadata = hit["metadata"]
    assert (metadata["title"], metadata["category"], metadata["tags"]) == ("Rex", "pets", ["dog"])
    assert hit["text"] == "Rex in the garden"


def test_new_words_of_a_text_only_item_are_what_it_is_found_by(app: Running) -> None:
    ingest(app, PIZZA)
    for caption in ("how to repair a bicycle", "verses about the ocean"):
        assert ingest(app, item_id="t", text_caption=caption).status_code == 200
    assert [hit["id"] for hit in found(app, "a poem about the sea", top_n=1)] == ["t"]
    assert app.client.get("/photos").json()["total"] == 2


def test_a_known_picture_takes_the_item_id_it_is_sent_with(app: Running) -> None:
    app.upload(DOG)
    assert ingest(app, DOG, item_id="mine").json() | {"processing_time": 0} == {
        "message": "Item updated.",
        "item_id": "mine",
        "processing_time": 0,
    }
    assert found(app, "a dog")[0]["id"] == "mine"


def test_another_picture_under_a_known_item_id_is_refused_and_changes_nothing(app: Running) -> None:
    ingest(app, DOG, item_id="x", title="Rex")
    refused = ingest(app, BUSES, item_id="x", title="Buses")
    assert (refused.status_code, refused.json()["type"]) == (409, "item-id-taken")
    [hit] = found(app, "anything at all")
    assert (hit["metadata"]["title"], hit["metadata"]["original_filename"]) == ("Rex", DOG)


@pytest.mark.parametrize(
    ("fields", "picture", "status"),
    [
        ({}, None, 400),
        ({"item_id": "x", "title": "only a title"}, None, 400),
        ({"text_caption": "   "}, None, 400),
        ({"title": "t" * 256, "text_caption": "c"}, None, 422),
        ({"text_caption": "a caption"}, b"not a picture", 415),
        ({"text_caption": "a caption"}, b"", 422),
    ],
)
def test_what_cannot_be_an_item_is_refused_and_leaves_nothing(
    app: Running, fields: dict[str, str], picture: bytes | None, status: int
) -> None:
    files = None if picture is None else {"image_file": ("a.jpg", picture)}
    answer = app.client.post("/ingest_stream/", data=fields, files=files)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert app.client.get("/photos").json()["total"] == 0


def test_search_by_post_answers_pairs(library: Running) -> None:
    answer = library.client.post("/search", json={"query": "a pizza on a plate"}).json()
    assert answer.keys() == {"results"}
    ids = [photo_id for photo_id, _ in answer["results"]]
    scores = [score for _, score in answer["results"]]
    assert library.client.get(f"/photo/{ids[0]}").json()["filename"] == PIZZA
    assert len(ids) == 10
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/search_text/", {"query_text": " "}, 400),
        ("/search_text/", {"query_text": "a dog", "top_n": 0}, 422),
        ("/search_text/", {"query_text": "a dog", "top_n": 1001}, 400),
        ("/search_text/", {}, 422),
        ("/search", {"query": ""}, 400),
        ("/search", {"query": ["a dog"]}, 422),
        ("/embed-text", {"texts": []}, 422),
        ("/embed-text", {"texts": ["a dog", ""]}, 422),
    ],
)
def test_bad_questions_are_refused(app: Running, path: str, body: dict[str, Any], status: int) -> None:
    assert app.client.post(path, json=body).status_code == status


def test_embeddings_are_those_that_searches_use(app: Running) -> None:
    photo = app.upload(DOG)
    answer = app.client.post("/embed-image", files={"file": (DOG, (PHOTOS / DOG).read_bytes())}).json()
    stored = app.client.get(f"/photo/{photo['id']}").json()
    assert (answer["model"], answer["device"]) == ("embedded/compact-1", "cpu")
    assert np.dot(answer["embedding"], stored["embedding"]) == pytest.approx(1, abs=1e-5)
    texts = ["a dog", "two red buses", "a dog"] * 10  # more than one batch
    words = app.client.post("/embed-text", json={"texts": texts}).json()
    cosines = np.array(words["embeddings"]) @ np.array(answer["embedding"])
    assert words["model"] == "embedded/compact-1"
    assert len(cosines) == len(texts)
    assert cosines[0] == pytest.approx(cosines[2], abs=1e-5)
    assert cosines[0] > cosines[1] + 0.1
    assert app.client.get("/photos").json()["total"] == 1  # nothing was kept


def test_images_have_ranges_and_etags(app: Running) -> None:
    path = f"/images/{app.upload(DOG)['path']}"
    whole = app.client.get(path)
    assert whole.headers["content-type"] == "image/jpeg"
    part = app.client.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert app.client.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert app.client.get(path, headers={"Range": "bytes=99999999-"}).status_code == 416


def test_no_path_reaches_other_files(app: Running, tmp_path: Path) -> None:
    path = app.upload(DOG)["path"]
    (tmp_path / "uploads" / "secret.txt").write_text("hidden words")
    for wrong in (
        "secret.txt",
        ".recollect",
        "../recollect.db",
        "%2e%2e/recollect.db",
        "..%2Frecollect.db",
        f"/{tmp_path}/recollect.db",
        f"{path}/%2e%2e",
        f"%2e%2e/uploads/{path}",
        f".thumbnails/%2e%2e/{path}",
        path.rpartition("/")[2],
        path.upper(),
        f"{path}%00",
        "",
    ):
        answer = app.client.get(f"/images/{wrong}")
        assert answer.status_code in (404, 422), wrong
        assert "hidden words" not in answer.text


def test_deleted_photos_are_gone_from_images(app: Running) -> None:
    photo = app.upload(DOG)
    app.client.delete(f"/photo/{photo['id']}")
    assert app.client.get(f"/images/{photo['path']}").status_code == 404


def test_they_are_tagged_in_the_documentation(app: Running) -> None:
    paths = app.client.get("/openapi.json").json()["paths"]
    tagged = {path for path, methods in paths.items() for route in methods.values() if "drop-in" in route["tags"]}
    assert tagged == {
        "/ingest_stream/",
        "/search_text/",
        "/search",
        "/embed-image",
        "/embed-text",
        "/images/{path}",
    }


# What the descriptions of the other services promise, route by route: fields that must be there.
PHOTO = {"id", "filename", "tags", "caption"}
HIT = {"photo_id", "path", "url", "category", "score", "rank"}
RANKED = {"results", "query", "query_type", "total_found", "latency_ms", "encoder_latency_ms"}


def test_answers_have_the_fields_that_clients_were_promised(library: Running) -> None:
    client = library.client
    upload = client.post("/upload", files={"file": (DOG, (PHOTOS / DOG).read_bytes())})
    assert upload.status_code == 200  # known already
    assert PHOTO | {"message"} <= upload.json().keys()
    assert PHOTO | {"embedding"} <= client.get("/photo/1").json().keys()
    page = client.get("/photos", params={"skip": 1, "limit": 2}).json()
    assert [photo.keys() >= PHOTO for photo in page["photos"]] == [True, True]

    by_words = client.get("/search", params={"q": "a dog", "top_k": 3}).json()
    assert {"query", "results", "total_results"} <= by_words.keys()
    assert len(by_words["results"]) == by_words["total_results"] == 3
    assert {"photo_id", "filename", "tags", "caption", "distance", "score"} <= by_words["results"][0].keys()

    picture = {"file": (DOG, (PHOTOS / DOG).read_bytes())}
    speech = {"file": ("q.wav", (DATA / "speech" / "cards_001.wav").read_bytes())}
    ranked = {
        "text": client.get("/search/text", params={"q": "a dog", "k": 2}),
        "image": client.post("/search/image", params={"k": 2}, files=picture),
        "voice": client.post("/search/voice", params={"k": 2}, files=speech),
        "similar": client.post("/search/image-to-image", params={"reference_photo_id": 1, "top_k": 2}),
    }
    for kind, answer in ranked.items():
        body = answer.json()
        assert body.keys() >= RANKED
        assert (body["query_type"], body["total_found"]) == (kind, 2)
        assert [(hit.keys() >= HIT, hit["rank"]) for hit in body["results"]] == [(True, 1), (True, 2)]
    assert {"transcription", "whisper_ms"} <= ranked["voice"].json().keys()
    assert 1 not in [hit["photo_id"] for hit in ranked["similar"].json()["results"]]


def test_votes_queries_health_and_statistics_have_theirs(library: Running) -> None:
    client = library.client
    path = client.get("/photo/1").json()["path"]
    by_path = {"image_path": path, "query": "a dog", "vote": -1}
    assert client.post("/feedback", json=by_path).status_code == 201
    assert client.post("/feedback", json={"photo_id": 1, "query": "a dog", "vote": 2}).status_code == 400
    library.search("a dog")
    assert [query["text"] for query in client.get("/queries/recent", params={"limit": 1}).json()["queries"]] == [
        "a dog"
    ]
    health = client.get("/health").json()
    assert {
        "status",
        "model_loaded",
        "device",
        "index_loaded",
        "image_count",
        "whisper_available",
    } <= health.keys()
    assert (health["status"], health["image_count"]) == ("healthy", 16)
    for stats in ("/stats", "/stats/"):
        assert {"memory_rss_mb", "memory_vms_mb", "cpu_percent"} <= client.get(stats).json().keys()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("drop-in"), RECOLLECT_WHISPER_MODEL="none") as server:
        yield server


def curl(*arguments: str) -> Any:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(server: Server) -> None:
    url = server.url
    item = curl(
        "-F",
        f"image_file=@{PHOTOS / DOG}",
        "-F",
        "item_id=curl",
        "-F",
        "tags_str=dog,home",
        f"{url}/ingest_stream/",
    )
    assert item["item_id"] == "curl"
    json_header = ("-H", "Content-Type: application/json")
    hits = curl(*json_header, "-d", '{"query_text": "a dog", "top_n": 1}', f"{url}/search_text/")["results"]
    assert [(hit["id"], hit["metadata"]["tags"]) for hit in hits] == [("curl", ["dog", "home"])]
    assert curl(*json_header, "-d", '{"query": "a dog"}', f"{url}/search")["results"][0][0] == 1
    assert len(curl("-F", f"file=@{PHOTOS / DOG}", f"{url}/embed-image")["embedding"]) == 512


@pytest.fixture(scope="session")
def node_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with form-data and axios, from npm's cache or the internet."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm")
    folder = tmp_path_factory.mktemp("node")
    install = ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            [*install, "form-data@4", "axios@1"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not answer")
    if done.returncode:
        pytest.skip(f"form-data and axios cannot be installed: {done.stderr[-300:]}")
    return folder


def test_node_with_axios_and_form_data(server: Server, node_packages: Path) -> None:
    script = shutil.copy(NODE_CLIENT, node_packages)
    done = subprocess.run(
        ["node", script, server.url, PHOTOS / PIZZA], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["ingested"]["item_id"] == "node-1"
    best = answers["found"]["results"][0]
    assert (best["id"], best["metadata"]["category"]) == ("node-1", "food")
    assert answers["pairs"]["results"][0][0] == best["metadata"]["faiss_id"]
    assert len(answers["embedded"]["embedding"]) == 512
    assert answers["image_bytes"] == (PHOTOS / PIZZA).stat().st_size
