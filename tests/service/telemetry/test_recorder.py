"""Recorder: records each finished request once in latency, statistics, metrics and traces."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.types import Scope

from artifact import VersionKey
from service.app import create_app
from service.problems.server_errors import BackendDownError, DeadlineError
from service.resources.memory import MemoryBudget, RequestMemory
from service.settings import Settings
from service.telemetry.metrics import Metrics, text_of
from service.telemetry.record import RequestRecord, Run
from service.telemetry.recorder import Recorder
from service.telemetry.stopwatch import TOTAL, Stopwatch
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels())
KEY, OTHER = VersionKey("colours", "mean", 1), VersionKey("colours", "float", 1)
SCOPE: Scope = {"type": "http", "method": "POST", "path": "/v1/classify", "headers": []}


def record(status: int, *runs: Run, problem: str | None = None, key: VersionKey | None = None) -> RequestRecord:
    memory = RequestMemory(MemoryBudget(0))
    return RequestRecord("id", True, memory, key=key, runs=list(runs), status=status, problem=problem)


def finished(*records: RequestRecord) -> tuple[Metrics, list[str]]:
    """Return the metrics after these requests, and the lines of requests and rejections."""
    metrics = Metrics()
    for one in records:
        Recorder(metrics).finish(one, SCOPE)
    lines = text_of(metrics.families((), 0)).decode().splitlines()
    return metrics, [line for line in lines if line.startswith(("posbake_requests_total", "posbake_rejections_total"))]


def labels(key: VersionKey | None, **last: object) -> str:
    names = ("", "", "") if key is None else (key.model, key.variant, key.version)
    pairs = dict(zip(("model", "variant", "version"), names, strict=True)) | last
    return ",".join(f'{name}="{value}"' for name, value in sorted(pairs.items()))


def completed(key: VersionKey = KEY, images: int = 1, batch_size: int = 1) -> Run:
    run = Run(key, Stopwatch(), images)
    run.complete(batch_size)
    return run


def test_a_completed_run_is_recorded_once_everywhere() -> None:
    run = completed(images=2, batch_size=3)
    assert run.laps is not None
    metrics, lines = finished(record(200, run, key=KEY))
    assert lines == [f"posbake_requests_total{{{labels(KEY, status=200)}}} 1.0"]
    assert metrics.latency.summary(KEY).count == 1
    counts = metrics.statistics.counts(KEY)
    assert (counts.images, counts.success.count, counts.fail.count) == (2, 1, 0)
    assert counts.success.microseconds == run.laps[TOTAL]
    assert list(counts.batches) == [3]


def test_a_run_without_an_output_fails_with_its_request() -> None:
    metrics, lines = finished(record(504, Run(KEY, Stopwatch()), problem=DeadlineError.name, key=KEY))
    assert lines == [
        f"posbake_requests_total{{{labels(KEY, status=504)}}} 1.0",
        f"posbake_rejections_total{{{labels(KEY, reason='deadline-passed')}}} 1.0",
    ]
    assert metrics.latency.summary(KEY).count == 0
    assert metrics.latency.recent_p95(KEY) is not None  # its passed deadline is recorded
    assert metrics.statistics.counts(KEY).fail.count == 1


def test_a_run_whose_response_cannot_be_rendered_has_no_latency() -> None:
    metrics, lines = finished(record(500, completed(), key=KEY))
    assert f"posbake_requests_total{{{labels(KEY, status=500)}}} 1.0" in lines
    assert f"posbake_rejections_total{{{labels(KEY, reason='internal-server-error')}}} 1.0" in lines
    assert metrics.latency.summary(KEY).count == 0


def test_each_run_of_a_comparison_counts_by_its_own_outcome() -> None:
    good, down, late = completed(), Run(OTHER, Stopwatch()), Run(OTHER, Stopwatch())
    good.status = 200
    down.fail(BackendDownError("down"))
    late.fail(DeadlineError("late"))
    metrics, lines = finished(record(200, good, down, late))
    assert set(lines) == {
        f"posbake_requests_total{{{labels(KEY, status=200)}}} 1.0",
        f"posbake_requests_total{{{labels(OTHER, status=503)}}} 1.0",
        f"posbake_requests_total{{{labels(OTHER, status=504)}}} 1.0",
        f"posbake_rejections_total{{{labels(OTHER, reason='backend-down')}}} 1.0",
        f"posbake_rejections_total{{{labels(OTHER, reason='deadline-passed')}}} 1.0",
    }
    assert metrics.statistics.counts(OTHER).fail.count == 2
    assert metrics.latency.recent_p95(OTHER) is not None


@pytest.mark.parametrize("key", [None, KEY])
def test_a_request_without_a_run_counts_once(key: VersionKey | None) -> None:
    metrics, lines = finished(record(413, problem="body-too-large", key=key))
    assert f"posbake_requests_total{{{labels(key, status=413)}}} 1.0" in lines
    assert metrics.statistics.counts(KEY).fail.count == (key is not None)


def test_other_requests_are_not_counted() -> None:
    other = record(404, problem="unknown-name", key=KEY)
    other.is_inference = False
    metrics, lines = finished(other)
    assert lines == []
    assert metrics.statistics.counts(KEY).fail.count == 0


@pytest.mark.parametrize("run", [Run(KEY, Stopwatch()), completed()], ids=["not run", "run"])
def test_a_request_without_a_response_is_not_counted(run: Run) -> None:
    metrics, lines = finished(record(0, run))
    assert lines == []
    counts = metrics.statistics.counts(KEY)
    assert (counts.success.count, counts.fail.count) == (0, 0)


class FakeRecorder(Recorder):
    """Recorder that only keeps the path and status of finished requests."""

    def __init__(self) -> None:
        super().__init__(Metrics())
        self.finished: list[tuple[str, int]] = []

    def finish(self, record: RequestRecord, scope: Scope) -> None:
        self.finished.append((scope["path"], record.status))


@pytest.fixture(scope="module")
def served(repository: Path) -> Iterator[tuple[TestClient, FakeRecorder]]:
    app = create_app(Settings(repository=repository, threads=1))

    @app.get("/v1/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    counting = FakeRecorder()
    (middleware,) = [found for found in app.user_middleware if "recorder" in found.kwargs]
    middleware.kwargs["recorder"] = counting
    with TestClient(app) as client:
        yield client, counting


def test_every_request_is_finished_exactly_once(served: tuple[TestClient, FakeRecorder]) -> None:
    client, counting = served
    client.post("/v1/classify", content=PNG)
    client.post("/v1/classify?variant=x", content=PNG)
    client.post("/v1/compare", content=PNG)
    client.post("/v2/models/colours/infer", content=PNG, headers={"Inference-Header-Content-Length": "0"})
    client.get("/v1/nothing")
    client.get("/v1/broken")
    client.head("/health/live")
    assert counting.finished == [
        ("/v1/classify", 200),
        ("/v1/classify", 404),
        ("/v1/compare", 200),
        ("/v2/models/colours/infer", 200),
        ("/v1/nothing", 404),
        ("/v1/broken", 500),
        ("/health/live", 200),
    ]


RECORDING = {"count_request", "record", "record_overdue", "succeeded", "failed", "complete", "fail"}


def recording_calls(source: str) -> set[str]:
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {call.attr for call in calls if isinstance(call, ast.Attribute)} & RECORDING


def test_no_route_records_anything() -> None:
    service = Path(__file__).parents[3] / "service"
    for folder in ("routers", "protocol_v2"):
        for file in (service / folder).rglob("*.py"):
            assert recording_calls(file.read_text()) == set(), file
    recorder = (service / "telemetry" / "recorder.py").read_text()
    assert recording_calls(recorder) == {"count_request", "record", "record_overdue", "succeeded", "failed"}
