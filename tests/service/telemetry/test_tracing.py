"""OpenTelemetry spans, received by the SDK's in-memory exporter and by a collector over HTTP."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx2
import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service import lifespan
from service.app import create_app
from service.problems.errors import TracingUnavailableError
from service.settings import Settings
from service.telemetry.tracing import Traces, traces_of, traces_to
from tests.service.pictures import encode, random_pixels
from tests.service.process import MODULE, environment, run_to_end, serving

pytestmark = pytest.mark.slow

PNG = encode(random_pixels())
PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
UNSAMPLED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def traced(repository: Path, exporter: InMemorySpanExporter) -> Iterator[TestClient]:
    app = create_app(Settings(repository=repository, threads=2))
    app.state.recorder.traces = traces_to(exporter)
    with TestClient(app) as client:
        yield client


@pytest.fixture(autouse=True)
def _clear(exporter: InMemorySpanExporter) -> None:
    exporter.clear()


def start_and_end(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def children(spans: tuple[ReadableSpan, ...], parent: ReadableSpan) -> list[ReadableSpan]:
    return sorted((s for s in spans if s.parent and s.parent.span_id == parent.context.span_id), key=start_and_end)


def root_of(spans: tuple[ReadableSpan, ...]) -> ReadableSpan:
    (root,) = [span for span in spans if span.kind is SpanKind.SERVER]
    return root


def test_stages_are_child_spans_of_the_request_in_the_clients_trace(
    traced: TestClient, exporter: InMemorySpanExporter
) -> None:
    answer = traced.post("/v1/classify?variant=mean&version=1", content=PNG, headers={**PARENT, "X-Request-Id": "me"})
    spans = exporter.get_finished_spans()
    root = root_of(spans)
    assert root.name == "POST /v1/classify"
    assert root.parent is not None
    assert (root.parent.trace_id, root.parent.span_id) == (TRACE, SPAN)
    assert {span.context.trace_id for span in spans} == {TRACE}
    assert dict(root.attributes or {}) == {
        "http.request.method": "POST",
        "url.path": "/v1/classify",
        "http.route": "/v1/classify",
        "http.response.status_code": 200,
        "posbake.request_id": "me",
        "posbake.model": "colours",
        "posbake.variant": "mean",
        "posbake.version": 1,
    }
    stages = children(spans, root)
    assert len(stages) == len(spans) - 1
    assert [span.name for span in stages] == ["queue", "decode", "preprocess", "queue", "inference", "postprocess"]
    stated = answer.json()["latency_ms"]
    for stage in set(stated) - {"total"}:
        took = sum(end - start for start, end in (start_and_end(span) for span in stages if span.name == stage))
        assert took == round(stated[stage] * 1e6)  # ns, from the same laps
    (begin, _), (_, last) = start_and_end(stages[0]), start_and_end(stages[-1])
    start, end = start_and_end(root)
    assert start - 1_000_000 <= begin < last <= end + 1_000_000  # two clocks, which differ little within a request


def test_a_comparison_has_a_span_for_each_variant(traced: TestClient, exporter: InMemorySpanExporter) -> None:
    traced.post("/v1/compare?variants=mean,float", content=PNG)
    spans = exporter.get_finished_spans()
    variants = children(spans, root_of(spans))
    assert {span.name for span in variants} == {"colours/mean/10", "colours/float/1"}
    for variant in variants:
        names = {span.name for span in children(spans, variant)}
        assert names == {"queue", "decode", "preprocess", "inference", "postprocess"}


def test_a_refusal_is_traced_with_its_reason(traced: TestClient, exporter: InMemorySpanExporter) -> None:
    traced.post("/v1/classify?variant=mean", content=b"no")
    traced.post("/v1/classify?variant=nan", content=PNG)
    bad, failed = (span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER)
    assert (bad.attributes or {})["error.type"] == "not-an-image"
    # Client errors are not errors of the span, by OpenTelemetry's conventions.
    assert bad.status.status_code is StatusCode.UNSET
    assert (failed.attributes or {})["error.type"] == "inference-failed"
    assert failed.status.status_code is StatusCode.ERROR


def test_a_request_not_sampled_by_the_client_is_not_traced(traced: TestClient, exporter: InMemorySpanExporter) -> None:
    assert traced.post("/v1/classify", content=PNG, headers=UNSAMPLED).status_code == 200
    assert exporter.get_finished_spans() == ()


def test_probes_and_scrapes_are_not_traced(traced: TestClient, exporter: InMemorySpanExporter) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert traced.get(path).status_code == 200
    assert exporter.get_finished_spans() == ()
    assert traced.get("/v1/models").status_code == 200
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /v1/models"]


def test_an_invalid_traceparent_is_ignored(traced: TestClient, exporter: InMemorySpanExporter) -> None:
    traced.post("/v1/classify", content=PNG, headers={"traceparent": "00-nonsense"})
    root = root_of(exporter.get_finished_spans())
    assert root.parent is None


def test_without_a_collector_the_sdk_is_not_imported(repository: Path) -> None:
    script = (
        "import sys; from fastapi.testclient import TestClient; from service.app import create_app\n"
        "from service.settings import Settings\n"
        f"with TestClient(create_app(Settings(repository={str(repository)!r}))) as client:\n"
        "    assert client.get('/health/ready').status_code == 200\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]"
    )
    ended = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_without_the_extra_a_named_collector_stops_the_start(repository: Path) -> None:
    script = "import sys; sys.modules['opentelemetry.sdk'] = None; from service.__main__ import main; sys.exit(main(['"
    command = (sys.executable, "-c", f"{script}--repository', {str(repository)!r}, '--port', '0']))")
    ended = run_to_end(command=command, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert ended.returncode == 1
    assert "posbake[otel]" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"])
def test_an_invalid_variable_of_opentelemetry_stops_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, "-1")
    with pytest.raises(TracingUnavailableError, match=r"a variable OTEL_… is invalid: .*; correct or unset it"):
        traces_of(os.environ)


def test_a_collector_that_does_not_respond_does_not_delay_the_shutdown(
    repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = Event()

    class Hanging(Traces):
        def shutdown(self) -> None:
            assert ended.wait(20)

    monkeypatch.setattr(lifespan, "TRACES_SECONDS", 0.05)
    app = create_app(Settings(repository=repository, threads=2))
    app.state.recorder.traces = Hanging(TracerProvider())
    start = time.monotonic()
    with TestClient(app):
        pass
    assert time.monotonic() - start < 15
    assert "the collector did not respond within 0.05 s" in caplog.text
    ended.set()


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_remaining_spans_are_sent_when_the_server_stops(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HTTPServer(("127.0.0.1", 0), _Collector) as collector:
        collector.received = []  # type: ignore[attr-defined]
        Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "birdwatch")
        with serving(tmp_path, "--repository", str(repository), "--port", "0", command=MODULE) as server:
            answer = httpx2.post(f"{server.url}/v1/classify", content=PNG, headers=PARENT)
            assert answer.status_code == 200
        collector.shutdown()
        received: list[tuple[str, bytes]] = collector.received  # type: ignore[attr-defined]
    assert [path for path, _ in received] == ["/v1/traces"]
    for expected in (b"POST /v1/classify", b"preprocess", b"birdwatch", bytes.fromhex(PARENT["traceparent"][3:35])):
        assert expected in received[0][1]
    assert PNG[:32] not in received[0][1]
