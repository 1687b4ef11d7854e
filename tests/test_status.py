"""Health, readiness, statistics, metrics, documentation pages."""

import threading
from collections.abc import Callable
from typing import NoReturn

import pytest

from app.flows.services import Services
from tests.conftest import DOG, Running


def test_health_says_which_model_and_why(app: Running) -> None:
    app.upload(DOG)
    answer = app.client.get("/health")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["ready"], body["image_count"]) == ("healthy", True, 1)
    assert (body["model"], body["model_choice"]) == ("embedded/compact-1", "RECOLLECT_MODEL=embedded")
    assert (body["whisper_available"], body["whisper_model"], body["waiting_for_vector"]) == (True, "tiny.en", 0)
    assert app.client.get("/health/ready").status_code == 200


def stop_worker(services: Services) -> None:
    """End a worker as a crash would: from inside its thread."""

    def fail(_: object) -> NoReturn:
        raise SystemExit

    worker = services.encoder.texts
    worker._work = fail
    done = worker.submit("the last words")
    worker._thread.join(10)
    done.cancel()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_turns_health_red_and_is_started_again(app: Running) -> None:
    work = app.services.encoder.texts._work
    stop_worker(app.services)
    assert app.client.get("/health").status_code == 503
    assert app.client.get("/health").json()["problems"] == ["the text encoder has stopped"]
    ready = app.client.get("/health/ready")
    assert (ready.status_code, ready.json()["type"]) == (503, "not-ready")
    app.services.encoder.texts._work = work
    assert app.search("a dog") == []
    assert app.client.get("/health").json()["status"] == "healthy"


def test_not_ready_once_it_stops(start: Callable[..., Running]) -> None:
    app = start()
    app.client.app.state.ready = False  # type: ignore[attr-defined]
    assert app.client.get("/health/ready").status_code == 503
    assert app.client.get("/health").status_code == 200


def test_stats_count_what_happened(library: Running) -> None:
    empty = library.client.get("/stats").json()
    assert empty["queries"] == {"total": 0, "by_kind": {}, "latency_ms": None}
    for words in ("a dog", "a bus"):
        library.search(words)
    library.client.post("/search/image-to-image", params={"reference_photo_id": 1})
    library.client.post("/feedback", json={"photo_id": 1, "query": "a dog", "vote": -1})
    body = library.client.get("/stats/").json()
    assert (body["total_photos"], body["index"]["size"], body["index"]["type"]) == (16, 16, "IndexFlatIP")
    assert body["queries"]["by_kind"] == {"text": 2, "similar": 1}
    assert 0 < body["queries"]["latency_ms"]["p50"] <= body["queries"]["latency_ms"]["p99"]
    assert body["feedback"] == {"up": 0, "down": 1}
    assert body["memory_vms_mb"] > body["memory_rss_mb"] > 100
    assert body["cpu_percent"] >= 0


def test_metrics_have_a_histogram_for_each_step(app: Running) -> None:
    app.upload(DOG)
    app.search("a dog")
    text = app.client.get("/metrics").text
    for step in ("decode", "encode", "tag", "store", "database", "index", "rank"):
        assert f'recollect_step_seconds_count{{step="{step}"}}' in text
    assert 'recollect_requests_total{method="POST",route="/upload",status="201"} 1.0' in text
    assert "recollect_photos 1.0" in text


def test_the_page_for_a_browser_and_facts_for_a_client(app: Running) -> None:
    page = app.client.get("/", headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>Recollect" in page.text
    assert app.client.get("/").json()["name"] == "recollect"


def test_documentation_needs_no_other_host(app: Running) -> None:
    for path in ("/docs", "/redoc"):
        page = app.client.get(path).text
        assert "https://" not in page
        for part in page.split('"'):
            if part.startswith("/docs-assets/"):
                assert app.client.get(part).status_code == 200


def test_operation_ids_are_plain_and_unique(app: Running) -> None:
    paths = app.client.get("/openapi.json").json()["paths"]
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    assert {"upload_photo", "search_photos", "search_by_text", "search_by_image", "search_by_voice"} <= set(ids)
    assert paths["/search/text"]["get"]["operationId"] == "search_by_text"


def test_every_thread_ends_with_the_app(start: Callable[..., Running]) -> None:
    before = {thread.name for thread in threading.enumerate()}
    app = start()
    app.client.__exit__(None, None, None)
    left = {thread.name for thread in threading.enumerate()} - before
    assert not {name for name in left if name.startswith(("batch-", "live-index", "model-mover"))}
