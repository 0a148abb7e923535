"""Stage times: in answers, in /v1/latency and in /metrics; all three say the same."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.settings import Settings
from service.telemetry.latency import COLUMNS, Key, LatencyRecorder
from service.telemetry.stopwatch import STAGES, Stopwatch, milliseconds, server_timing
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels(200, 300))
KEY = Key("colours", "mean", 1)


def test_laps_add_up_to_the_total_whatever_the_clock_says() -> None:
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
    assert server_timing(laps).startswith("decode;dur=0.0, preprocess;dur=1.0, queue;dur=0.002")


def test_stages_add_up_to_the_total_in_every_answer(client: TestClient) -> None:
    for _ in range(20):
        times = client.post("/v1/classify", content=PNG).json()["latency_ms"]
        total = times.pop("total")
        assert list(times) == list(STAGES)
        assert sum(times.values()) == pytest.approx(total, abs=1e-6)  # 0.3 ms are allowed; a stage left out shows
        assert all(duration >= 0 for duration in times.values())
        assert times["decode"] > 0
        assert times["inference"] > 0


def test_percentiles_and_means_are_those_of_the_numbers_recorded() -> None:
    random = np.random.default_rng(3)
    recorder = LatencyRecorder(window=50)
    rows = [dict(zip(COLUMNS, random.integers(0, 10_000, len(COLUMNS)).tolist(), strict=True)) for _ in range(120)]
    for row in rows:
        recorder.record(KEY, row)
    summary = recorder.summary(KEY)
    assert summary.count == 120
    for stage in COLUMNS:
        found = summary.stages[stage]
        assert found.mean == pytest.approx(statistics.mean(row[stage] for row in rows) / 1000)
        cuts = statistics.quantiles([row[stage] for row in rows[-50:]], n=100, method="inclusive")
        assert [found.p50, found.p90, found.p95, found.p99] == pytest.approx(
            [cuts[percent - 1] / 1000 for percent in (50, 90, 95, 99)]
        )


def test_a_version_without_answers_has_none() -> None:
    recorder = LatencyRecorder()
    recorder.record(KEY, dict.fromkeys(COLUMNS, 1))
    summary = recorder.summary(Key("colours", "mean", 2))
    assert (summary.count, summary.stages) == (0, {})


def test_latency_and_metrics_agree_with_the_answers(repository: Path) -> None:
    asked = {"mean&version=1": 7, "mean&version=2": 1, "float": 4}
    with TestClient(create_app(Settings(repository=repository, threads=2))) as client:
        answers = [
            client.post(f"/v1/classify?variant={query}", content=PNG).json()
            for query, times in asked.items()
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
    for (variant, version), row in rows.items():
        given = [a["latency_ms"] for a in answers if (a["variant"], a["version"]) == (variant, version)]
        labels = {"model": "colours", "variant": variant, "version": str(version)}
        if not given:
            assert row["stages"] == {}
            continue
        for stage in COLUMNS:
            durations = [times[stage] for times in given]
            found = row["stages"][stage]
            assert found["mean"] == pytest.approx(sum(durations) / len(durations))
            assert found["p50"] == pytest.approx(statistics.median(durations))
            assert min(durations) <= found["p99"] <= max(durations) + 1e-9
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


def test_apps_in_one_process_have_metrics_of_their_own(repository: Path) -> None:
    with TestClient(create_app(Settings(repository=repository))) as first:
        first.post("/v1/classify", content=PNG)
        with TestClient(create_app(Settings(repository=repository))) as second:
            assert metrics(first)
            assert not metrics(second)


def test_milliseconds_are_exact_to_the_microsecond_however_long_it_took() -> None:
    laps = {"decode": 1, "total": 1_234_567}
    assert milliseconds(laps) == {"decode": 0.001, "total": 1234.567}
    assert server_timing(laps) == "decode;dur=0.001, total;dur=1234.567"


def metrics(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    families: Any = text_string_to_metric_families(response.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
