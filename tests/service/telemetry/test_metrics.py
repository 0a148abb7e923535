"""/metrics: queues, batches, refusals, loads and restarts, all documented."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from artifact import VersionKey
from service.app import create_app
from service.settings import Settings
from service.telemetry.families import VersionState, version_families
from service.telemetry.gpu import GpuReader
from service.telemetry.latency import COLUMNS
from service.telemetry.metrics import Metrics, text_of
from tests.service.artifacts import add_artifact
from tests.service.pictures import png_claiming
from tests.service.scripted import HANG, ScriptedBackend, fresh, picture
from tests.service.telemetry.test_gpu import Nvml
from tests.service.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[type[ScriptedBackend]]:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)
    with fresh() as backend:
        yield backend


def client_of(path: Path, **settings: object) -> TestClient:
    made = Settings.model_validate({"repository": path, "backend": "scripted", "threads": 2, **settings})
    return TestClient(create_app(made))


def scrape(client: TestClient) -> Samples:
    families: Any = text_string_to_metric_families(client.get("/metrics").text)
    samples: Samples = {}
    for family in families:
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return samples


def of(variant: str, **labels: str) -> frozenset[tuple[str, str]]:
    return frozenset({"model": "colours", "variant": variant, "version": "1", **labels}.items())


@pytest.mark.usefixtures("scripted")
def test_the_documentation_lists_exactly_the_exported_metrics_and_labels(tmp_path: Path) -> None:
    with client_of(tmp_path) as client:
        client.app.state.metrics.gpus = GpuReader(Nvml())  # type: ignore[attr-defined]
        client.post("/v1/classify", content=picture(1))
        client.post("/v1/classify", content=b"no")
        families: Any = list(text_string_to_metric_families(client.get("/metrics").text))
    exported = {}
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        exported[name] = (family.type, labels)
    names = {"model", "variant", "version"}
    documented = {}
    for line in (ROOT / "docs/operations.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if found := re.fullmatch(r"`(posbake_\w+)`", cells[0]):
            labels = set(re.findall(r"`(\w+)`", cells[2])) | (names if "names" in cells[2] else set())
            documented[found[1]] = (cells[1], labels)
    assert documented == exported
    assert len(exported) == 23


def test_batches_queues_and_running_images_are_reported_as_they_change(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with client_of(tmp_path) as client, ThreadPoolExecutor(8) as pool:
        first = pool.submit(client.post, "/v1/classify?variant=a", content=picture(HANG))
        assert scripted.hanging.wait(10)
        rest = [pool.submit(client.post, "/v1/classify?variant=a", content=picture(1)) for _ in range(5)]
        wait_until(lambda: scrape(client)["posbake_queue_images"][of("a")] == 5)
        wait_until(lambda: scrape(client)["posbake_decode_queue_images"] == {frozenset(): 0})  # all five are decoded
        samples = scrape(client)
        assert samples["posbake_running_images"] == {of("a"): 1, of("b"): 0}
        assert samples["posbake_queue_images"] == {of("a"): 5, of("b"): 0}
        assert samples["posbake_decode_queue_images"] == {frozenset(): 0}
        assert samples["posbake_batch_images_count"][of("a")] == 0
        scripted.gate.set()
        assert [answer.result().status_code for answer in (first, *rest)] == [200] * 6
        samples = scrape(client)
    assert samples["posbake_queue_images"][of("a")] == 0
    buckets = {
        dict(labels)["le"]: n for labels, n in samples["posbake_batch_images_bucket"].items() if of("a") < labels
    }
    assert [buckets[bound] for bound in ("1.0", "2.0", "4.0", "8.0", "128.0", "+Inf")] == [1, 1, 1, 2, 2, 2]
    assert samples["posbake_batch_images_sum"] == {of("a"): 6, of("b"): 0}
    assert samples["posbake_batch_images_count"] == {of("a"): 2, of("b"): 0}
    assert samples["posbake_stage_seconds_count"][of("a", stage="total")] == 6


def test_a_backend_failure_and_its_restart_are_counted(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with client_of(tmp_path) as client:
        assert scrape(client)["posbake_backend_up"] == {of("a"): 1, of("b"): 1}
        scripted.broken.add("a")
        assert client.post("/v1/classify?variant=a", content=picture(1)).status_code == 503
        assert scrape(client)["posbake_backend_up"] == {of("a"): 0, of("b"): 1}
        scripted.broken.clear()
        wait_until(lambda: scrape(client)["posbake_backend_up"][of("a")] == 1)
        assert scrape(client)["posbake_backend_restarts_total"] == {of("a"): 1, of("b"): 0}


def test_refusals_are_counted_by_reason_and_names_from_requests_are_not_labels(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with client_of(tmp_path, max_body_bytes=2000) as client:
        for _ in range(3):
            client.post("/v1/classify?variant=a", content=b"no")
        client.post("/v1/classify?variant=a", content=png_claiming(99_999, 99_999))
        client.post("/v1/classify?variant=a", content=b"x" * 2001)
        client.post("/v1/classify?variant=b&timeout_ms=30", content=picture(HANG))
        scripted.gate.set()
        for invented in ("x1", "x2", "x3"):
            client.post(f"/v1/classify?model={invented}", content=picture(1))
            client.post(f"/v1/classify?variant={invented}", content=picture(1))
            client.post(f"/v1/{invented}", content=picture(1))
            client.post(f"/v2/models/{invented}/infer", content=picture(1))
            client.get(f"/v2/models/{invented}")
        client.get("/v1/classify")
        samples = scrape(client)
    no_version = {"model": "", "variant": "", "version": ""}
    assert samples["posbake_rejections_total"] == {
        of("a", reason="not-an-image"): 3,
        of("a", reason="too-many-pixels"): 1,
        of("a", reason="body-too-large"): 1,
        of("b", reason="deadline-passed"): 1,
        frozenset({**no_version, "reason": "unknown-name"}.items()): 9,
        frozenset({**no_version, "reason": "method-not-allowed"}.items()): 1,
    }
    assert samples["posbake_decode_failures_total"] == {
        frozenset({("reason", "not-an-image")}): 3,
        frozenset({("reason", "too-many-pixels")}): 1,
        frozenset({("reason", "decode-timeout")}): 0,
    }
    assert sum(samples["posbake_requests_total"].values()) == 16


def test_a_full_queue_is_counted_as_a_reason(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with client_of(tmp_path, max_queue=1) as client, ThreadPoolExecutor(2) as pool:
        running = pool.submit(client.post, "/v1/classify?variant=a", content=picture(HANG))
        assert scripted.hanging.wait(10)
        waiting = pool.submit(client.post, "/v1/classify?variant=a", content=picture(1))
        wait_until(lambda: scrape(client)["posbake_queue_images"][of("a")] == 1)
        assert client.post("/v1/classify?variant=a", content=picture(1)).status_code == 429
        scripted.gate.set()
        assert [running.result().status_code, waiting.result().status_code] == [200, 200]
        assert scrape(client)["posbake_rejections_total"] == {of("a", reason="queue-full"): 1}


@pytest.mark.usefixtures("scripted")
def test_loads_are_counted_and_timed(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="damaged")
    (tmp_path / "colours/damaged/1/model.onnx").write_bytes(b"changed")
    before = time.perf_counter()
    with client_of(tmp_path) as client:
        elapsed = time.perf_counter() - before
        samples = scrape(client)
    loads = samples["posbake_model_loads_total"]
    assert {dict(labels)["outcome"]: count for labels, count in loads.items()} == {"success": 2, "failure": 1}
    assert set(samples["posbake_model_load_seconds"]) == {of("a"), of("b")}
    assert 0 < sum(samples["posbake_model_load_seconds"].values()) < elapsed


def test_the_series_of_a_removed_version_are_dropped() -> None:
    metrics = Metrics()
    old, new = VersionKey("colours", "a", 1), VersionKey("colours", "a", 2)
    for key in (old, new, None):
        metrics.count_request(key, 200)
        metrics.count_request(key, 429, "queue-full")
    for key in (old, new):
        metrics.latency.record(key, dict.fromkeys(COLUMNS, 5))
    state = VersionState(new, 0, 0, {}, 0, False, 0.1, "scripted-paper", "fp32")
    assert b'version="1"' in text_of(metrics.families([state], 0))
    metrics.keep_only({new})
    text = text_of(metrics.families([state], 0))
    assert b'version="1"' not in text
    assert text.count(b'posbake_requests_total{model="colours",status="200",variant="a",version="2"} 1.0') == 1
    assert text.count(b'posbake_requests_total{model="",status="200",variant="",version=""} 1.0') == 1


def test_a_batch_of_any_size_is_counted_in_one_bucket() -> None:
    state = VersionState(
        VersionKey("m", "v", 1), 0, 0, {1: 2, 3: 5, 128: 1, 200: 1}, 0, False, 0.0, "scripted-paper", "fp32"
    )
    batches = {family.name: family for family in version_families([state])}["posbake_batch_images"]
    counts = [sample.value for sample in batches.samples if sample.name.endswith("_bucket")]
    assert counts == [2, 2, 7, 7, 7, 7, 7, 8, 9]
    assert {sample.value for sample in batches.samples if sample.name.endswith("_sum")} == {2 + 15 + 128 + 200}
