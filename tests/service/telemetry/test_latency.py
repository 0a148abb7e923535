"""Stage times in responses, in /v1/latency and in /metrics, which agree."""

import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from artifact import VersionKey
from service.app import create_app
from service.settings import Settings
from service.telemetry.latency import BOUNDS, COLUMNS, LatencyRecorder, LatencySummary
from service.telemetry.stopwatch import STAGES, Laps, Stopwatch, milliseconds, server_timing
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels(200, 300))
KEY = VersionKey("colours", "mean", 1)
LABELS = frozenset({"model": "colours", "variant": "mean", "version": "10", "status": "200"}.items())
BUCKET = 1 / 64
"""Maximum relative distance of a duration from the middle of its bucket."""


def test_laps_add_up_to_the_total_in_spite_of_rounding() -> None:
    readings = iter([1_999, 3_000, 3_001, 1_003_500, 1_003_999, 9_999_999, 10_000_001])
    watch = Stopwatch(lambda: next(readings))
    for stage in ("queue", "decode", "preprocess", "inference", "postprocess", "postprocess"):
        watch.lap(stage)
    laps = watch.laps()
    assert laps == {
        "decode": 0,
        "preprocess": 1000,
        "queue": 2,
        "inference": 0,
        "postprocess": 8997,
        "total": 9999,
    }
    assert server_timing(milliseconds(laps)).startswith("decode;dur=0.0, preprocess;dur=1.0, queue;dur=0.002")


def test_stages_add_up_to_the_total_in_every_response(client: TestClient) -> None:
    for _ in range(20):
        times = client.post("/v1/classify", content=PNG).json()["latency_ms"]
        total = times.pop("total")
        assert list(times) == list(STAGES)
        assert sum(times.values()) == pytest.approx(total, abs=1e-6)  # a missing stage would exceed this
        assert all(duration >= 0 for duration in times.values())
        assert times["decode"] > 0
        assert times["inference"] > 0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def random_laps(count: int, seed: int = 3) -> list[Laps]:
    random = np.random.default_rng(seed)
    return [dict(zip(COLUMNS, random.integers(0, 10_000, len(COLUMNS)).tolist(), strict=True)) for _ in range(count)]


def check_summary(summary: LatencySummary, rows: list[Laps]) -> None:
    assert summary.count == len(rows)
    for stage in COLUMNS:
        found = summary.stages[stage]
        ranked = sorted(row[stage] / 1000 for row in rows)
        assert found.mean == pytest.approx(statistics.mean(ranked))
        expected = [ranked[math.ceil(percent / 100 * len(rows)) - 1] for percent in (50, 90, 95, 99)]
        assert [found.p50, found.p90, found.p95, found.p99] == pytest.approx(expected, rel=BUCKET)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_percentiles_and_means_are_those_of_the_recorded_times(count: int) -> None:
    recorder = LatencyRecorder()
    rows = random_laps(count)
    for row in rows:
        recorder.record(KEY, row)
    check_summary(recorder.summary(KEY), rows)
    check_summary(recorder.recent(KEY), rows)
    with pytest.raises(AssertionError):  # the check can fail
        check_summary(recorder.summary(KEY), random_laps(count, seed=4))


def test_recent_covers_the_last_minute_and_the_summary_all_requests() -> None:
    clock = Clock()
    recorder = LatencyRecorder(clock)
    rows = random_laps(300)
    for row in rows:  # one per second
        clock.now += 1
        recorder.record(KEY, row)
    check_summary(recorder.summary(KEY), rows)
    count = recorder.recent(KEY).count
    assert 60 <= count <= 65
    check_summary(recorder.recent(KEY), rows[-count:])
    clock.now += 66
    assert recorder.recent(KEY) == LatencySummary(0, {})
    assert recorder.recent_p95(KEY) is None
    recorder.record(KEY, rows[0])
    check_summary(recorder.recent(KEY), rows[:1])
    assert recorder.summary(KEY).count == 301


def test_old_times_are_not_recent_even_if_first_read_later() -> None:
    clock = Clock()
    recorder = LatencyRecorder(clock)
    recorder.record(KEY, random_laps(1)[0])
    clock.now += 3600
    assert recorder.recent(KEY).count == 0
    assert recorder.summary(KEY).count == 1


def test_the_recent_p95_includes_requests_past_their_deadline() -> None:
    clock = Clock()
    recorder = LatencyRecorder(clock)
    for _ in range(90):
        recorder.record(KEY, dict.fromkeys(COLUMNS, 1000))
    assert recorder.recent_p95(KEY) == pytest.approx(1, rel=BUCKET)
    for _ in range(10):
        recorder.record_overdue(KEY, 50_000)
    assert recorder.recent_p95(KEY) == pytest.approx(50, rel=BUCKET)
    assert recorder.recent(KEY).count == recorder.summary(KEY).count == 90
    clock.now += 66
    assert recorder.recent_p95(KEY) is None


def test_a_version_whose_requests_all_missed_their_deadline_has_a_p95() -> None:
    recorder = LatencyRecorder()
    recorder.record_overdue(KEY, 80_000)
    assert recorder.recent_p95(KEY) == pytest.approx(80, rel=BUCKET)
    assert recorder.summary(KEY) == LatencySummary(0, {})


def test_prometheus_buckets_include_their_bounds() -> None:
    recorder = LatencyRecorder()
    durations = [0, 99, 100, 101, 10_000_000, 10_000_001]
    for duration in durations:
        recorder.record(KEY, dict.fromkeys(COLUMNS, duration))
    found = recorder.distributions()[KEY]["total"]
    assert found.counts == [3, 1, *[0] * (len(BOUNDS) - 3), 1, 1]
    assert found.seconds == sum(durations) / 1e6


def test_times_of_removed_versions_are_dropped() -> None:
    recorder = LatencyRecorder()
    other = VersionKey("colours", "mean", 2)
    for key in (KEY, other):
        recorder.record(key, random_laps(1)[0])
    recorder.keep_only([other])
    assert (recorder.summary(KEY).count, recorder.summary(other).count) == (0, 1)


def test_several_threads_may_record_and_read() -> None:
    recorder = LatencyRecorder()
    rows = random_laps(500)

    def work(row: Laps) -> None:
        recorder.record(KEY, row)
        recorder.recent_p95(KEY)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, rows))
    check_summary(recorder.summary(KEY), rows)


def test_a_fork_continues_from_the_existing_laps() -> None:
    readings = iter([0, 5_000, 7_000, 20_000])
    watch = Stopwatch(lambda: next(readings))
    watch.lap("decode")
    other = watch.fork()
    watch.lap("queue")
    other.lap("inference")
    assert watch.timeline() == [("decode", 0, 5), ("queue", 5, 7)]
    assert other.timeline() == [("decode", 0, 5), ("inference", 5, 20)]
    assert (watch.laps()["total"], other.laps()["total"]) == (7, 20)


def test_a_version_without_requests_has_an_empty_summary() -> None:
    recorder = LatencyRecorder()
    recorder.record(KEY, dict.fromkeys(COLUMNS, 1))
    summary = recorder.summary(VersionKey("colours", "mean", 2))
    assert (summary.count, summary.stages) == (0, {})


def test_latency_and_metrics_agree_with_the_responses(repository: Path) -> None:
    requests_of = {"mean&version=1": 7, "mean&version=2": 1, "float": 4}
    with TestClient(create_app(Settings(repository=repository, threads=2))) as client:
        answers = [
            client.post(f"/v1/classify?variant={query}", content=PNG).json()
            for query, times in requests_of.items()
            for _ in range(times)
        ]
        refused = [
            client.post("/v1/classify?variant=mean&version=1", content=b"no").status_code,
            client.post("/v1/classify?variant=rope", content=PNG).status_code,
            client.post("/v1/classify?top_k=0", content=PNG).status_code,
        ]
        report = client.get("/v1/latency").json()
        samples = metrics(client)
    assert refused == [400, 404, 422]

    rows = {(row["variant"], row["version"]): row for row in report["versions"]}
    assert {key: row["count"] for key, row in rows.items()} == {
        ("float", 1): 4,
        ("mean", 1): 7,
        ("mean", 2): 1,
        ("mean", 10): 0,
        ("nan", 1): 0,
    }
    assert {key: row["rejected"] for key, row in rows.items()} == {key: int(key == ("mean", 1)) for key in rows}
    assert {(row["queued"], row["running"]) for row in rows.values()} == {(0, 0)}
    for (variant, version), row in rows.items():
        given = [a["latency_ms"] for a in answers if (a["variant"], a["version"]) == (variant, version)]
        labels = {"model": "colours", "variant": variant, "version": str(version)}
        if not given:
            assert row["stages"] == row["recent"]["stages"] == {}
            continue
        assert row["recent"] == {
            "count": row["count"],
            "stages": row["stages"],
        }  # all requests are from the last minute
        for stage in COLUMNS:
            durations = [times[stage] for times in given]
            found = row["stages"][stage]
            assert found["mean"] == pytest.approx(sum(durations) / len(durations))
            assert found["p50"] == pytest.approx(statistics.median_low(durations), rel=BUCKET)
            assert found["p99"] == pytest.approx(max(durations), rel=BUCKET)
            observed = samples["posbake_stage_seconds_sum", frozenset({**labels, "stage": stage}.items())]
            assert observed == pytest.approx(sum(durations) / 1000)
            assert samples["posbake_stage_seconds_count", frozenset({**labels, "stage": stage}.items())] == len(given)
        answered = frozenset({**labels, "status": "200"}.items())
        assert samples["posbake_requests_total", answered] == len(given)

    def requests(variant: str, version: str, status: str) -> float:
        model = "colours" if variant else ""
        labels = {"model": model, "variant": variant, "version": version, "status": status}
        return samples["posbake_requests_total", frozenset(labels.items())]

    assert requests("mean", "1", "400") == 1
    assert requests("", "", "404") == 1
    assert requests("", "", "422") == 1


def test_latency_is_filtered_by_model_and_variant(client: TestClient) -> None:
    def versions(query: str) -> list[tuple[str, int]]:
        return [(row["variant"], row["version"]) for row in client.get(f"/v1/latency?{query}").json()["versions"]]

    everything = [("float", 1), ("mean", 1), ("mean", 2), ("mean", 10), ("nan", 1)]
    assert versions("") == versions("model=colours") == everything
    assert versions("variant=float") == versions("model=colours&variant=float") == [("float", 1)]


def test_apps_in_one_process_have_their_own_metrics(repository: Path) -> None:
    with TestClient(create_app(Settings(repository=repository))) as first:
        first.post("/v1/classify", content=PNG)
        with TestClient(create_app(Settings(repository=repository))) as second:
            assert ("posbake_requests_total", LABELS) in metrics(first)
            assert ("posbake_requests_total", LABELS) not in metrics(second)


def test_milliseconds_are_exact_to_the_microsecond() -> None:
    laps = {"decode": 1, "total": 1_234_567}
    assert milliseconds(laps) == {"decode": 0.001, "total": 1234.567}
    assert server_timing(milliseconds(laps)) == "decode;dur=0.001, total;dur=1234.567"


def metrics(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families: Any = text_string_to_metric_families(response.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
