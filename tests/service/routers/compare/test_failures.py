"""POST /v1/compare with failing variants: each fails alone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.asgi import post
from tests.service.routers.compare.comparisons import compare, image_with_center, scripted_client
from tests.service.scripted import HANG, ScriptedBackend, picture
from tests.service.waiting import wait_until


def test_a_failing_variant_is_listed_with_its_error_beside_the_others(client: TestClient) -> None:
    answer = compare(client)
    (failed,) = answer["failed"]
    assert "not all finite" in failed.pop("detail")
    assert failed == {
        "variant": "nan",
        "version": 1,
        "type": "urn:posbake:problem:inference-failed",
        "title": "Inference failed",
        "status": 500,
        "retry_after": None,
    }


@pytest.mark.parametrize(("content", "status"), [(b"no", 400), (b"", 400)])
def test_a_bad_image_is_one_error_for_the_whole_comparison(client: TestClient, content: bytes, status: int) -> None:
    response = client.post("/v1/compare", content=content)
    assert response.status_code == status
    assert "failed" not in response.json()


def test_a_broken_variant_alone_is_503(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path) as client:
        scripted.broken.add("corner")
        answer = compare(client, content=picture(1))
        assert [found["variant"] for found in answer["variants"]] == ["middle"]
        (failed,) = answer["failed"]
        assert (failed["variant"], failed["status"]) == ("corner", 503)
        assert failed["retry_after"] >= 1
        assert answer["agreement"]["share"] == 1


def test_if_all_variants_fail_the_response_is_the_first_ones_error(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with scripted_client(tmp_path) as client:
        scripted.broken.update({"corner", "middle"})
        response = client.post("/v1/compare", content=picture(1))
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    problem = response.json()
    assert problem["type"] == "urn:posbake:problem:backend-down"
    assert [(found["variant"], found["status"]) for found in problem["failed"]] == [("corner", 503), ("middle", 503)]


def test_a_variant_past_the_deadline_alone_is_504(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path) as client:
        answer = compare(client, "variants=middle,corner&timeout_ms=300", image_with_center(corner=HANG, middle=7))
        scripted.gate.set()
    assert [found["variant"] for found in answer["variants"]] == ["middle"]
    assert [(found["variant"], found["status"]) for found in answer["failed"]] == [("corner", 504)]


def test_a_variant_with_a_full_queue_alone_is_429(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path, max_queue=1) as client, ThreadPoolExecutor(3) as pool:
        running = pool.submit(client.post, "/v1/classify?variant=corner", content=picture(HANG))
        assert scripted.hanging.wait(10)
        waiting = pool.submit(client.post, "/v1/classify?variant=corner", content=picture(1))
        serving = client.app.state.serving  # type: ignore[attr-defined]
        corner, middle = (serving.catalogue.newest("colours", name) for name in ("corner", "middle"))
        wait_until(lambda: serving.engine.load(corner).admitted >= 1)
        response = pool.submit(compare, client, "", picture(2))
        wait_until(lambda: serving.engine.load(middle).admitted >= 1)
        scripted.gate.set()
        answer = response.result()
        assert [running.result().status_code, waiting.result().status_code] == [200, 200]
    assert [found["variant"] for found in answer["variants"]] == ["middle"]
    assert [(found["variant"], found["status"]) for found in answer["failed"]] == [("corner", 429)]
    assert answer["failed"][0]["retry_after"] >= 1


def test_the_response_is_504_if_no_variant_meets_the_deadline(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path) as client:
        response = client.post("/v1/compare?timeout_ms=100", content=picture(HANG))
        scripted.gate.set()
    assert response.status_code == 504
    assert response.json()["type"] == "urn:posbake:problem:deadline-passed"


def test_a_passed_deadline_is_recorded_once_in_its_variants_latency(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with scripted_client(tmp_path) as client:
        compare(client, "variants=middle,corner&timeout_ms=200", image_with_center(corner=HANG, middle=7))
        serving = client.app.state.serving  # type: ignore[attr-defined]
        keys = [serving.catalogue.newest("colours", name).key for name in ("corner", "middle")]
        assert serving.latency.recent_p95(keys[0]) >= 197
        assert serving.latency.recent_p95(keys[1]) < 200
        scripted.gate.set()


def test_closing_the_connection_cancels_all_variants(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    app = create_app(Settings(repository=tmp_path, backend="scripted", threads=2))

    async def run() -> int:
        disconnected = asyncio.Event()
        async with app.router.lifespan_context(app):
            response = asyncio.create_task(post(app, "/v1/compare", picture(HANG), disconnected))
            while not scripted.hanging.is_set():
                await asyncio.sleep(0.002)
            disconnected.set()
            messages = await response
            scripted.gate.set()
        return int(messages[0]["status"])

    assert asyncio.run(asyncio.wait_for(run(), 20)) == 499
    runs = [variant for variant, reds in scripted.batches if HANG in reds]
    assert len(runs) == 1  # the other was dropped before it ran
