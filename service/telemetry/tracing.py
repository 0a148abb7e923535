"""OpenTelemetry traces of requests and their stages, if the environment sets a collector (`OTEL_EXPORTER_OTLP_…`).

    POST /v1/classify                       server span; its parent is the client's, by `traceparent`
    ├── queue, decode, preprocess, queue, inference, postprocess      in the order in which they happened
    POST /v1/compare
    ├── <model>/<variant>/<version>         one for each variant
    │   └── queue, decode, …

The spans of a request are created when it is finished, from laps that are measured anyway. The SDK reads the other
variables of the specification: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, …. Without a
collector, OpenTelemetry is not imported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

from artifact import VersionKey
from service.problems.errors import TracingUnavailableError
from service.telemetry.record import RequestRecord
from service.telemetry.stopwatch import Stopwatch

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_UNTRACED = ("/health/", "/v2/health/", "/metrics")
"""Paths of probes and scrapers, which are not traced."""


def traces_of(environment: Mapping[str, str]) -> Traces | None:
    """Return traces to the collector set by the environment; None without one, or with OTEL_SDK_DISABLED.

    Raises:
        TracingUnavailableError: the extra `otel` is not installed, or another variable of OpenTelemetry is invalid.
    """
    if not any(environment.get(name) for name in ENDPOINTS) or environment.get("OTEL_SDK_DISABLED") == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailableError(
            f"{' or '.join(ENDPOINTS)} is set, but traces cannot be sent ({error}); pip install 'posbake[otel]', or "
            "unset it"
        ) from error
    try:
        provider = _provider(environment)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise TracingUnavailableError(f"a variable OTEL_… is invalid: {error}; correct or unset it") from error
    return Traces(provider)


def traces_to(exporter: SpanExporter) -> Traces:
    """Return traces with synchronous export, for exporters that only store spans."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = _provider({})
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider)


def _provider(environment: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "posbake"})
    return TracerProvider(resource=resource, shutdown_on_exit=False)


class Traces:
    """Spans of finished requests.

    Args:
        provider: receives the spans.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("posbake")
        self._propagator = TraceContextTextMapPropagator()

    def add(self, record: RequestRecord, scope: Scope) -> None:
        """Create the spans of a finished request.

        Args:
            record: record of the request.
            scope: scope of ASGI, after routing.
        """
        if scope["path"].startswith(_UNTRACED):
            return
        from opentelemetry.trace import SpanKind

        end = time.perf_counter_ns()
        zero = time.time_ns() - end  # zero of the stopwatches' clock, as time of day
        parent = self._propagator.extract(dict(Headers(scope=scope)))
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        span = self._tracer.start_span(
            scope["method"], parent, SpanKind.SERVER, attributes, start_time=zero + record.start
        )
        if span.is_recording():  # otherwise it is not sampled
            self._describe(span, record, scope, zero)
        span.end(zero + end)

    def shutdown(self) -> None:
        """Send the remaining spans, which may take a while, and shut down."""
        self._provider.shutdown()

    def _describe(self, span: Span, record: RequestRecord, scope: Scope, zero: int) -> None:
        from opentelemetry.trace import StatusCode, set_span_in_context

        route = getattr(scope.get("route"), "path", None)
        if route is not None:
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
        status = record.status or 500  # ended without a response
        span.set_attribute("http.response.status_code", status)
        span.set_attribute("posbake.request_id", record.request_id)
        if record.problem is not None:
            span.set_attribute("error.type", record.problem)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        inside = set_span_in_context(span)
        for run in record.runs:
            if len(record.runs) == 1:
                span.set_attributes(_names(run.key))
                self._stages(run.watch, inside, zero)
            elif timeline := run.watch.timeline():
                begin, end = zero + 1000 * run.watch.start, zero + 1000 * timeline[-1][2]
                variant = self._tracer.start_span(str(run.key), inside, attributes=_names(run.key), start_time=begin)
                self._stages(run.watch, set_span_in_context(variant), zero)
                variant.end(end)

    def _stages(self, watch: Stopwatch, inside: Context, zero: int) -> None:
        for stage, start, end in watch.timeline():
            self._tracer.start_span(stage, inside, start_time=zero + 1000 * start).end(zero + 1000 * end)


def _names(key: VersionKey) -> dict[str, str | int]:
    return {"posbake.model": key.model, "posbake.variant": key.variant, "posbake.version": key.version}
