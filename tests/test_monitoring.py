"""Metrics, what is drawn from them and warned of by them, logs for machines, and traces."""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.errors import CapabilityMissing
from app.logs import ConsoleFormatter, JsonFormatter
from tests.conftest import DATA, DOG, PHOTOS, Running

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "recollect.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"


def samples(app: Running) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of /metrics by its name and labels."""
    families = text_string_to_metric_families(app.client.get("/metrics").text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(app: Running, name: str, **labels: str) -> float:
    return samples(app)[name, frozenset(labels.items())]


def names_in(expressions: list[str]) -> set[str]:
    """The metrics that PromQL expressions name, without what is quoted."""
    found = (re.sub(r'"[^"]*"', "", expression) for expression in expressions)
    return {name for text in found for name in re.findall(r"\b(?:recollect|process)_\w+", text)}


def test_every_step_is_timed(app: Running) -> None:
    app.upload_all()
    client = app.client
    picture = {"file": (DOG, (PHOTOS / DOG).read_bytes())}
    speech = {"file": ("q.wav", (DATA / "speech" / "cards_001.wav").read_bytes())}
    app.search("a dog")
    assert client.post("/search/image", files=picture).status_code == 200
    assert client.post("/search/voice", files=speech).status_code == 200
    assert client.get("/photo/1/heatmap", params={"q": "a dog"}).status_code == 200
    steps = {dict(labels)["step"] for name, labels in samples(app) if name == "recollect_step_seconds_count"}
    assert steps == {
        *("decode", "encode", "tag", "store", "thumbnail", "database", "index"),
        *("transcribe", "wait", "understand", "filter", "rank", "arrange", "log", "draw"),
    }


def test_queues_batches_model_index_and_disk_are_measured(app: Running) -> None:
    app.upload_all()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(app.search, [f"a dog and {number} cats" for number in range(16)]))
    for queue in ("image", "text", "voice", "import", "ocr"):
        assert value(app, f"recollect_{queue}_queue") >= 0
    assert value(app, "recollect_batch_size_sum", encoder="image") >= 16
    assert value(app, "recollect_batch_size_count", encoder="text") >= 1
    assert value(app, "recollect_model_info", space="embedded/compact-1", device="cpu", whisper="tiny.en") == 1
    assert value(app, "recollect_index_info", type="IndexFlatIP", dim="512") == 1
    assert value(app, "recollect_index_bytes") == 16 * 512 * 4
    assert value(app, "recollect_photos_without_vector") == 0
    assert value(app, "recollect_disk_free_bytes") > 0
    assert value(app, "recollect_stopped_workers") == 0
    assert value(app, "process_resident_memory_bytes") > 1e8


def test_metrics_do_not_need_the_disk_of_the_photos(app: Running, tmp_path: Path) -> None:
    (tmp_path / "uploads").rename(tmp_path / "unmounted")
    assert str(value(app, "recollect_disk_free_bytes")) == "nan"


def test_the_dashboard_and_the_alerts_name_metrics_that_exist(library: Running) -> None:
    library.search("a dog")
    known = {name for name, _ in samples(library)}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    drawn = names_in([target["expr"] for panel in panels for target in panel["targets"]])
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    warned_of = names_in([rule["expr"] for rule in rules])
    assert len(drawn) > 15
    assert len(warned_of) > 5
    assert drawn | warned_of <= known


def test_alerts_say_what_is_wrong() -> None:
    for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].endswith((".", "?"))


def test_compose_starts_what_is_provisioned() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert "profiles" not in services["recollect"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
        mounts = [volume.split(":")[0] for volume in services[name]["volumes"] if volume.startswith("./")]
        assert mounts
        assert all((ROOT / mount).is_dir() for mount in mounts)
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert (DEPLOY / "prometheus" / scraped["rule_files"][0]) == ALERTS
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"] == ["recollect:8000"]
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    used = {panel["datasource"]["uid"] for panel in json.loads(DASHBOARD.read_text())["panels"]}
    assert used == {source["datasources"][0]["uid"]}
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/recollect.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    """What is logged in the block, as this formatter writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    ours = logging.getLogger("app")
    ours.addHandler(handler)
    ours.setLevel("INFO")
    try:
        yield written
    finally:
        ours.removeHandler(handler)
        ours.setLevel(logging.NOTSET)


def test_json_lines_hold_the_request_id_and_the_times_of_steps(app: Running) -> None:
    with logged(JsonFormatter()) as written:
        answer = app.client.post("/upload", files={"file": (DOG, (PHOTOS / DOG).read_bytes())})
        app.search("a dog")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    of_upload = [line for line in lines if line.get("request_id") == answer.headers["x-request-id"]]
    photo, access = of_upload
    assert (photo["logger"], photo["level"]) == ("app.flows.ingest", "info")
    assert {"decode", "encode", "store", "database", "index"} <= photo["steps_ms"].keys()
    assert (access["method"], access["path"], access["status"]) == ("POST", "/upload", 201)
    assert access["ms"] >= sum(photo["steps_ms"].values()) - 1
    searches = {line["request_id"] for line in lines} - {answer.headers["x-request-id"]}
    assert len(searches) == 1


def test_an_exception_stays_in_its_json_line() -> None:
    with logged(JsonFormatter()) as written:
        logging.getLogger("app").error("it went wrong", exc_info=ValueError("two\nlines"))
    [line] = written.getvalue().splitlines()
    assert json.loads(line)["exception"].endswith("ValueError: two\nlines")
    assert "request_id" not in json.loads(line)


def test_console_lines_end_with_the_request_id(app: Running) -> None:
    with logged(ConsoleFormatter()) as written:
        answer = app.client.get("/photo/7")
        logging.getLogger("app").info("between requests")
    access, between = written.getvalue().splitlines()
    assert re.fullmatch(r"[\d-]+ [\d:,]+ INFO app.access GET /photo/7 404 [\d.]+ms (\w+)", access)
    assert access.endswith(answer.headers["x-request-id"])
    assert between.endswith("INFO app between requests")


class Collector(HTTPServer):
    """Takes what OpenTelemetry's exporter sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.received: list[bytes] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}/v1/traces"


class CollectorHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_requests_and_their_steps_are_traced(start: Callable[..., Running], collector: Collector) -> None:
    trace_service = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs the extra otel"
    )
    pytest.importorskip("opentelemetry.instrumentation.fastapi", reason="needs the extra otel")
    app = start(otlp_endpoint=collector.endpoint)
    app.upload(DOG)
    app.client.get("/metrics")
    app.client.__exit__(None, None, None)  # what has not been sent yet is sent at the end
    spans = [
        span
        for body in collector.received
        for resource in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    [request] = [span for span in spans if span.name == "POST /upload"]
    steps = {span.name for span in spans if span.parent_span_id == request.span_id}
    assert {"decode", "encode", "store", "database", "index"} <= steps
    assert not [span for span in spans if "metrics" in span.name]


def test_traces_without_the_extra_are_refused_at_start(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The extra may be installed here; None in sys.modules is how Python itself marks a module that cannot be had.
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(CapabilityMissing, match=r"recollect\[otel\]"):
        start(otlp_endpoint="http://127.0.0.1:9/v1/traces")
