"""What the service measures of itself: Prometheus metrics, one registry for each app."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Telemetry:
    """Counts requests and times steps. Names of metrics start with recollect_, those of the process with process_.

    `span` is opened round each step; it does nothing unless traces are made.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.span: Callable[[str], AbstractContextManager[object]] = nullcontext
        self.requests = Counter(
            "recollect_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "recollect_request_seconds", "Time to answer.", ["route"], registry=self.registry, buckets=_SECONDS
        )
        self.step_seconds = Histogram(
            "recollect_step_seconds",
            "Time of one step of a request: decode, encode, tag, store, thumbnail, database, index, and others.",
            ["step"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.batch_size = Histogram(
            "recollect_batch_size",
            "Inputs that were encoded together.",
            ["encoder"],
            registry=self.registry,
            buckets=_SIZES,
        )
        ProcessCollector(registry=self.registry)

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A value that is read when somebody asks."""
        Gauge(f"recollect_{name}", help_text, registry=self.registry).set_function(read)

    def info(self, name: str, help_text: str, read: Callable[[], Mapping[str, str]]) -> None:
        """Words that are read when somebody asks: labels of the metric recollect_<name>_info, which is 1."""
        self.registry.register(_Info(f"recollect_{name}", help_text, read))

    def exposition(self) -> bytes:
        """All metrics in Prometheus text format."""
        return generate_latest(self.registry)


class _Info(Collector):
    def __init__(self, name: str, help_text: str, read: Callable[[], Mapping[str, str]]) -> None:
        self._name, self._help_text, self._read = name, help_text, read

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(self._name, self._help_text, dict(self._read()))


class StepTimer:
    """Times the named steps of one request: `with timer("decode"): …`. Without telemetry, for itself alone."""

    def __init__(self, telemetry: Telemetry | None) -> None:
        self._telemetry = telemetry
        self._started = time.perf_counter()
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            with self._telemetry.span(step) if self._telemetry else nullcontext():
                yield
        finally:
            seconds = time.perf_counter() - started
            self.ms[step] = self.ms.get(step, 0.0) + seconds * 1000
            if self._telemetry:
                self._telemetry.step_seconds.labels(step).observe(seconds)

    @property
    def total_ms(self) -> float:
        """Since the timer was made."""
        return (time.perf_counter() - self._started) * 1000

    @property
    def fields(self) -> dict[str, object]:
        """What a line of the log is given as `extra`."""
        return {"steps_ms": {step: round(ms, 1) for step, ms in self.ms.items()}}

    def __str__(self) -> str:
        return " ".join(f"{step}={ms:.1f}ms" for step, ms in self.ms.items())
