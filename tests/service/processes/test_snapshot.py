"""Combined metrics, latencies and statistics of several processes."""

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from artifact import VersionKey
from service.processes.snapshot import Snapshot, combined, merged, only
from service.telemetry.families import VersionState, stage_family, version_families
from service.telemetry.latency import NO_ANSWERS, LatencyCounts, LatencyRecorder
from service.telemetry.metrics import Metrics, text_of
from service.telemetry.stopwatch import STAGES, TOTAL

KEY = VersionKey("colours", "mean", 1)
OTHER = VersionKey("colours", "mean", 2)


def values(families: list[Metric]) -> dict[str, float]:
    lines = text_of(families).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def state(queued: int, *, down: bool = False, load_seconds: float = 1.0) -> VersionState:
    return VersionState(KEY, queued, 0, {1: 2, 4: 1}, 1, down, load_seconds, "onnxruntime-cpu", "fp32")


def laps(milliseconds: int) -> dict[str, int]:
    return {**dict.fromkeys(STAGES, 1000 * milliseconds), TOTAL: 5000 * milliseconds}


def recorded(*milliseconds: int) -> LatencyRecorder:
    recorder = LatencyRecorder()
    for time in milliseconds:
        recorder.record(KEY, laps(time))
    return recorder


def test_counts_and_queue_lengths_are_summed_and_states_are_not() -> None:
    found = values(merged([version_families([state(3, load_seconds=2.0)]), version_families([state(4, down=True)])]))
    labels = '{model="colours",variant="mean",version="1"}'
    assert found[f"posbake_queue_images{labels}"] == 7
    assert found[f"posbake_batch_images_count{labels}"] == 6
    assert found[f"posbake_batch_images_sum{labels}"] == 12
    assert found[f"posbake_backend_restarts_total{labels}"] == 2
    assert found[f"posbake_backend_up{labels}"] == 0
    assert found[f"posbake_model_load_seconds{labels}"] == 2
    assert [found[name] for name in found if name.startswith("posbake_backend_info")] == [1]


def test_histograms_of_all_processes_are_merged() -> None:
    parts = [[stage_family(recorder.distributions())] for recorder in (recorded(1, 20), recorded(20, 20, 20))]
    combined_values = [stage_family(recorded(1, 20, 20, 20, 20).distributions())]
    assert values(merged(parts)) == pytest.approx(values(combined_values))
    assert values(merged(parts)) != pytest.approx(values(parts[0]))


def test_series_of_one_process_alone_are_kept() -> None:
    one, other = Metrics(), Metrics()
    one.count_request(KEY, 200)
    other.count_request(KEY, 200)
    other.count_request(None, 400, "not-an-image")
    found = values(merged([one.families([], 0), other.families([], 0)]))
    assert found['posbake_requests_total{model="colours",status="200",variant="mean",version="1"}'] == 2
    assert found['posbake_requests_total{model="",status="400",variant="",version=""}'] == 1
    assert found['posbake_decode_failures_total{reason="not-an-image"}'] == 1


def test_removed_versions_are_omitted() -> None:
    metrics = Metrics()
    for key in (KEY, OTHER, None):
        metrics.count_request(key, 200)
    found = values(only(metrics.families([], 0), [KEY]))
    kept = [name for name in found if name.startswith("posbake_requests_total")]
    assert [name.count('version="1"') + name.count('version=""') for name in kept] == [1, 1]


def test_an_ended_process_keeps_its_counts_but_not_its_state() -> None:
    counter, gauge = CounterMetricFamily("made", "help", 5), GaugeMetricFamily("held", "help", 7)
    ended = Snapshot([counter, gauge], {KEY: recorded(1).counts(KEY)}, {KEY: recorded(1).recent_counts(KEY)}).ended()
    assert values(ended.families) == {"made_total": 5}
    assert ended.latency[KEY].summary().count == 1
    assert ended.recent == {}


def test_the_latency_of_two_processes_covers_all_their_requests() -> None:
    parts = [Snapshot(latency={KEY: recorded(*times).counts(KEY)}) for times in ((1, 2, 3), (100,))]
    assert combined(parts).latency[KEY].summary() == recorded(1, 2, 3, 100).summary(KEY)
    assert combined(parts).latency[KEY].summary() != recorded(1, 2, 3).summary(KEY)


def test_adding_empty_counts_changes_nothing() -> None:
    counts = recorded(1, 2).counts(KEY)
    assert (counts + NO_ANSWERS).summary() == counts.summary()
    assert NO_ANSWERS.summary().stages == {}
    with pytest.raises(ValueError, match="broadcast"):
        counts + LatencyCounts(np.zeros((1, 3), np.int64), np.zeros(1, np.int64))


def test_statistics_are_summed_without_changing_the_originals() -> None:
    parts = []
    for images, batch in ((1, 1), (2, 4), (2, 4)):
        metrics = Metrics()
        metrics.statistics.succeeded(KEY, laps(10), images, batch)
        metrics.statistics.failed(KEY, 500)
        parts.append(Snapshot(statistics=metrics.statistics.copy()))
    found = combined(parts).statistics[KEY]
    assert (found.images, found.executions, found.success.count, found.fail.microseconds) == (5, 2, 3, 1500)
    assert found.batches.keys() == {1, 4}
    assert found.batches[4].compute_infer.count == 1
    assert found.last_inference_ms == max(part.statistics[KEY].last_inference_ms for part in parts)
    assert parts[0].statistics[KEY].images == 1, "an original was changed"


def test_a_snapshot_does_not_change_with_later_requests() -> None:
    metrics = Metrics()
    metrics.statistics.succeeded(KEY, laps(10), 1, 1)
    before = metrics.statistics.copy()
    metrics.statistics.succeeded(KEY, laps(10), 1, 1)
    assert metrics.statistics.copy()[KEY].images == 2
    assert before[KEY].images == 1


def test_the_value_of_one_version_is_summed_over_processes() -> None:
    one, other = Metrics(), Metrics()
    one.count_request(KEY, 429, "queue-full")
    one.count_request(OTHER, 429, "queue-full")
    other.count_request(KEY, 504, "deadline-passed")
    combined_values = combined([Snapshot(one.families([state(3)], 0)), Snapshot(other.families([state(4)], 0))])
    assert combined_values.value("posbake_rejections_total", KEY) == 2
    assert combined_values.value("posbake_queue_images", KEY) == 7
    assert combined_values.value("posbake_queue_images", OTHER) == 0
