"""Traces of requests and their steps, by OpenTelemetry: with the extra `otel`, and where a setting asks."""

from fastapi import FastAPI

from app import __version__
from app.errors import CapabilityMissing
from app.telemetry import Telemetry

UNTRACED = "health,metrics,search/rehearsal"  # asked every few seconds


class Tracing:
    """Sends a span for each request to `endpoint` (OTLP over HTTP), and one for each step within it.

    Raises: CapabilityMissing (the extra is not installed).
    """

    def __init__(self, app: FastAPI, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise CapabilityMissing('Traces need the extra: pip install "recollect[otel]"') from None
        resource = Resource.create({"service.name": "recollect", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        FastAPIInstrumentor.instrument_app(
            app, tracer_provider=self._provider, excluded_urls=UNTRACED, exclude_spans=["receive", "send"]
        )

    def follow(self, telemetry: Telemetry) -> None:
        """From now on steps are spans, too."""
        telemetry.span = self._provider.get_tracer(__name__).start_as_current_span

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
