"""What the service measures of itself: Prometheus metrics, one registry for each app."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """Counts requests and times steps. Metric names start with recollect_."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A value that is read when somebody asks."""
        Gauge(f"recollect_{name}", help_text, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """All metrics in Prometheus text format."""
        return generate_latest(self.registry)


class StepTimer:
    """Times the named steps of one request: `with timer("decode"): …`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._started = time.perf_counter()
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.ms[step] = self.ms.get(step, 0.0) + seconds * 1000
            self._telemetry.step_seconds.labels(step).observe(seconds)

    @property
    def total_ms(self) -> float:
        """Since the timer was made."""
        return (time.perf_counter() - self._started) * 1000

    def __str__(self) -> str:
        return " ".join(f"{step}={ms:.1f}ms" for step, ms in self.ms.items())
