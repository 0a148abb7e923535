"""`variant=auto`: selection of the variant, and its explanation in the response."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from artifact import VersionKey
from service.app import create_app
from service.settings import Settings
from service.telemetry.latency import COLUMNS, LatencyRecorder
from tests.service.artifacts import add_artifact
from tests.service.scripted import HANG, ScriptedBackend, fresh, picture

ACCURACIES = {"best": 0.9, "good": 0.8, "fair": 0.7, "unknown": None}


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[type[ScriptedBackend]]:
    for variant, top1 in ACCURACIES.items():
        add_artifact(tmp_path, variant=variant, top1=top1)
    with fresh() as backend:
        yield backend


@pytest.fixture
def client(tmp_path: Path, scripted: type[ScriptedBackend]) -> Iterator[TestClient]:  # noqa: ARG001
    settings = Settings(repository=tmp_path, backend="scripted", threads=2, timeout_ms=20_000)
    with TestClient(create_app(settings)) as client:
        yield client


def record_latencies(client: TestClient, **p95_ms: float) -> None:
    """Record response times of variants, in ms."""
    recorder: LatencyRecorder = client.app.state.serving.latency  # type: ignore[attr-defined]
    for variant, ms in p95_ms.items():
        recorder.record(VersionKey("colours", variant, 1), dict.fromkeys(COLUMNS, round(1000 * ms)))


def classify_auto(client: TestClient, query: str = "") -> dict[str, Any]:
    response = client.post(f"/v1/classify?variant=auto&{query}", content=picture(1))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def considered(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(found["variant"], found["basis"], found["verdict"]) for found in answer["selection"]["considered"]]


def test_before_any_request_the_time_of_the_first_run_is_used(client: TestClient) -> None:
    answer = classify_auto(client)
    assert answer["variant"] == "best"
    assert considered(answer) == [("best", "warm-up", "chosen")]
    found = answer["selection"]["considered"][0]
    (servable,) = client.app.state.serving.catalogue.versions("colours", "best")  # type: ignore[attr-defined]
    assert found == {
        "variant": "best",
        "version": 1,
        "top1": 0.9,
        "p95_ms": round(servable.warm_seconds * 1000, 3),
        "basis": "warm-up",
        "verdict": "chosen",
    }
    assert servable.warm_seconds > 0
    assert "first run" in answer["selection"]["reason"]


def test_the_most_accurate_variant_whose_p95_fits_is_chosen_with_the_reason(client: TestClient) -> None:
    record_latencies(client, best=5000, good=4000, fair=100, unknown=1)
    answer = classify_auto(client, "timeout_ms=4500")
    assert answer["variant"] == "good"
    assert considered(answer) == [("best", "measured", "too slow"), ("good", "measured", "chosen")]
    reason = answer["selection"]["reason"]
    for expected in ("good", "0.8000", "ms over the last 60 s", "4500 ms", "too slow or down: 1"):
        assert expected in reason
    assert classify_auto(client, "timeout_ms=10000")["variant"] == "best"
    assert classify_auto(client, "timeout_ms=2000")["variant"] == "fair"


def test_a_variant_without_accuracy_is_chosen_last(client: TestClient) -> None:
    record_latencies(client, best=5000, good=5000, fair=5000, unknown=1)
    answer = classify_auto(client, "timeout_ms=1000")
    assert answer["variant"] == "unknown"
    assert "of unknown accuracy" in answer["selection"]["reason"]
    assert answer["selection"]["considered"][-1]["top1"] is None


def test_without_timeout_ms_the_servers_deadline_is_used(client: TestClient) -> None:
    record_latencies(client, best=30_000)
    assert classify_auto(client)["variant"] == "good"


def test_if_no_variant_fits_the_response_is_504_with_the_fastest_p95(client: TestClient) -> None:
    record_latencies(client, best=5000, good=3000, fair=4000, unknown=6000)
    response = client.post("/v1/classify?variant=auto&timeout_ms=1000", content=picture(1))
    assert response.status_code == 504
    problem = response.json()
    assert problem["type"] == "urn:posbake:problem:no-variant-fits"
    assert [found["variant"] for found in problem["considered"]] == list(ACCURACIES)
    fastest = problem["considered"][1]["p95_ms"]
    assert fastest == pytest.approx(3000, rel=1 / 64)
    assert f"of the fastest, good, the p95 ({fastest:.1f} ms" in problem["detail"]


def test_a_failed_variant_is_skipped(client: TestClient, scripted: type[ScriptedBackend]) -> None:
    scripted.broken.add("best")
    assert client.post("/v1/classify?variant=best", content=picture(1)).status_code == 503
    answer = classify_auto(client)
    assert answer["variant"] == "good"
    assert considered(answer)[0][::2] == ("best", "down")


def test_if_all_variants_have_failed_the_response_is_503(client: TestClient, scripted: type[ScriptedBackend]) -> None:
    scripted.broken.update(ACCURACIES)
    for variant in ACCURACIES:
        assert client.post(f"/v1/classify?variant={variant}", content=picture(1)).status_code == 503
    response = client.post("/v1/classify?variant=auto", content=picture(1))
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1


def test_a_variant_that_missed_deadlines_counts_as_slow(client: TestClient, scripted: type[ScriptedBackend]) -> None:
    response = client.post("/v1/classify?variant=auto&timeout_ms=300", content=picture(HANG))
    assert response.status_code == 504
    scripted.gate.set()
    answer = classify_auto(client, "timeout_ms=250")
    assert answer["variant"] == "good"
    assert answer["selection"]["considered"][0]["p95_ms"] > 250


def test_auto_cannot_be_combined_with_a_version(client: TestClient) -> None:
    response = client.post("/v1/classify?variant=auto&version=1", content=picture(1))
    assert response.status_code == 422
    assert "leave out version" in response.json()["detail"]


def test_a_named_variant_has_no_selection_in_the_response(client: TestClient) -> None:
    assert "selection" not in client.post("/v1/classify?variant=best", content=picture(1)).json()


def test_auto_of_an_unknown_model_is_404(client: TestClient) -> None:
    assert client.post("/v1/classify?model=x&variant=auto", content=picture(1)).status_code == 404
