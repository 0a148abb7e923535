"""OpenTelemetry traces of requests and their stages, if the environment names a collector (`OTEL_EXPORTER_OTLP_…`).

    POST /v1/classify                       server span; its parent is the client's, by `traceparent`
    ├── queue, decode, preprocess, queue, inference, postprocess      in the order in which they happened
    POST /v1/compare
    ├── <model>/<variant>/<version>         one for each variant
    │   └── queue, decode, …

The SDK reads what else the specification names: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, ….
Nothing is imported, and no request pays anything, where no collector is named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from artifact import VersionKey
from service.problems.errors import TracingUnavailableError
from service.telemetry.stopwatch import Stopwatch

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_UNTRACED = ("/health/", "/v2/health/", "/metrics")
"""What probes and scrapers ask all the time."""


def install_tracing(app: FastAPI, environment: Mapping[str, str]) -> None:
    """Trace requests if the environment names a collector and does not set OTEL_SDK_DISABLED.

    Raises:
        TracingUnavailableError: the extra `otel` is not installed.
    """
    if not any(environment.get(name) for name in ENDPOINTS) or environment.get("OTEL_SDK_DISABLED") == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailableError(
            f"{' or '.join(ENDPOINTS)} is set, but traces cannot be sent ({error}); pip install 'posbake[otel]', or "
            "unset it"
        ) from error
    provider = _provider(environment)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    app.add_middleware(TraceMiddleware, provider=provider)


def trace_to(app: FastAPI, exporter: SpanExporter) -> None:
    """Trace requests, and hand every span to `exporter` at once: for an exporter that only remembers them."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = _provider({})
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app.add_middleware(TraceMiddleware, provider=provider)


def _provider(environment: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "posbake"})
    return TracerProvider(resource=resource, shutdown_on_exit=False)


class TraceMiddleware:
    """Makes the spans of a request when it is answered, from the laps that are measured in any case.

    A route puts what it measured into `request.state.watches`, pairs of a VersionKey and a Stopwatch.

    Args:
        app: what answers.
        provider: gets the spans; shut down, and so flushed, when the app has.
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.app = app
        self._provider = provider
        self._tracer = provider.get_tracer("posbake")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer and trace one request, or see the app to its end."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self._flushing(send))
        elif scope["type"] != "http" or scope["path"].startswith(_UNTRACED):
            await self.app(scope, receive, send)
        else:
            await self._trace(scope, receive, send)

    def _flushing(self, send: Send) -> Send:
        async def send_after_flush(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await asyncio.to_thread(self._provider.shutdown)
            await send(message)

        return send_after_flush

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        from opentelemetry.trace import SpanKind

        zero = time.time_ns() - time.perf_counter_ns()  # of the stopwatches' clock, as time of day
        parent = self._propagator.extract(dict(Headers(scope=scope)))
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        span = self._tracer.start_span(scope["method"], parent, SpanKind.SERVER, attributes)
        status = 500  # if it ends without an answer

        async def send_seeing_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_seeing_status)
        finally:
            if span.is_recording():  # else it is not sampled
                self._finish(span, scope, status, zero)
            span.end()

    def _finish(self, span: Span, scope: Scope, status: int, zero: int) -> None:
        from opentelemetry.trace import StatusCode, set_span_in_context

        state: Mapping[str, Any] = scope.get("state", {})
        route = getattr(scope.get("route"), "path", None)
        if route is not None:
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        span.set_attribute("posbake.request_id", state.get("request_id", ""))
        if "problem" in state:
            span.set_attribute("error.type", state["problem"])
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        watches: list[tuple[VersionKey, Stopwatch]] = state.get("watches", [])
        inside = set_span_in_context(span)
        for key, watch in watches:
            if len(watches) == 1:
                span.set_attributes(_names(key))
                self._stages(watch, inside, zero)
            elif timeline := watch.timeline():
                begin, end = zero + 1000 * watch.start, zero + 1000 * timeline[-1][2]
                variant = self._tracer.start_span(str(key), inside, attributes=_names(key), start_time=begin)
                self._stages(watch, set_span_in_context(variant), zero)
                variant.end(end)

    def _stages(self, watch: Stopwatch, inside: Context, zero: int) -> None:
        for stage, start, end in watch.timeline():
            self._tracer.start_span(stage, inside, start_time=zero + 1000 * start).end(zero + 1000 * end)


def _names(key: VersionKey) -> dict[str, str | int]:
    return {"posbake.model": key.model, "posbake.variant": key.variant, "posbake.version": key.version}
