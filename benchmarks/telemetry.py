"""`python -m benchmarks.telemetry`: CPU time of the service's JSON log lines and server spans compared with libraries.

Measured per line, and per request with its server span, in this process; runs are interleaved, and figures are medians.
The libraries are in the extra `benchmarks`.
"""

import argparse
import asyncio
import logging
import os
import statistics
import time
from collections.abc import Callable, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"  # the stable names, as in the service

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pythonjsonlogger.json import JsonFormatter as LibraryFormatter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.digits.train import machine
from service.resources.memory import MemoryBudget, RequestMemory
from service.telemetry.record import RequestRecord
from service.telemetry.tracing import Traces
from service.transport.logs import ACCESS_LOGGER, JsonFormatter

LINE = {"method": "POST", "path": "/v1/classify", "status": 200, "ms": 3.14159, "request_id": "7c1f8fe8605ee008"}
HEADERS = {
    "host": "127.0.0.1:8000",
    "user-agent": "curl/8.11",
    "accept": "*/*",
    "content-type": "image/png",
    "content-length": "53000",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


class _Dropping(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 -- SpanExporter's signature
        return SpanExportResult.SUCCESS


class WithTraces:
    """Middleware with a request record and the server span of service.telemetry.tracing."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self.app, self.traces, self.memory = app, traces, MemoryBudget(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        record = RequestRecord("7c1f8fe8605ee008", is_inference=True, memory=RequestMemory(self.memory))

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        await self.app(scope, receive, send_and_note)
        self.traces.add(record, scope)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=2000, help="lines or requests per round")
    options = parser.parse_args()
    library = OpenTelemetryMiddleware(_answer, tracer_provider=_provider(), exclude_spans=["receive", "send"])
    ways: dict[str, Callable[[int], object]] = {
        "JSON line, ours": lambda count: _format(JsonFormatter(), count, {}),
        "JSON line, python-json-logger": lambda count: _format(_configured(), count, LINE),
        "request, no span": lambda count: asyncio.run(_ask(_answer, count)),
        "request, our server span": lambda count: asyncio.run(_ask(traced, count)),
        "request, opentelemetry-instrumentation-asgi": lambda count: asyncio.run(_ask(library, count)),
    }
    traced = WithTraces(_answer, Traces(_provider()))
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = time.process_time()
            way(options.count)
            costs[name].append((time.process_time() - start) / options.count * 1e6)
    print(f"{datetime.now(UTC).date()}, {machine()}, medians of {options.rounds} rounds\n")
    print("| what | CPU, µs |\n| --- | ---: |")
    for name, found in costs.items():
        print(f"| {name} | {statistics.median(found):.1f} |")


def _configured() -> logging.Formatter:
    """Return python-json-logger's formatter with the service's fields; a filter would add those of the request."""
    renamed = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"}
    formatter: logging.Formatter = LibraryFormatter(
        ["asctime", "levelname", "name", "message"], rename_fields=renamed, json_ensure_ascii=False
    )
    formatter.converter = time.gmtime
    formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03d+00:00"
    return formatter


def _format(formatter: logging.Formatter, count: int, fields: MutableMapping[str, object]) -> None:
    for _ in range(count):
        record = logging.LogRecord(
            ACCESS_LOGGER, logging.INFO, "f", 1, "%s %s %d %.1f ms %s", tuple(LINE.values()), None
        )
        record.__dict__.update(fields)
        formatter.format(record)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 -- of ASGI
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _ask(app: Callable[..., Any], count: int) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        pass

    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    for _ in range(count):
        scope = {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "http_version": "1.1",
            "path": "/v1/classify",
            "query_string": b"top_k=1",
            "headers": headers,
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
        }
        await app(scope, receive, send)


def _provider() -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Dropping()))
    return provider


if __name__ == "__main__":
    main()
