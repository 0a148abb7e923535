"""Responses to deadlines, full queues and failing backends, over HTTP."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.asgi import post
from tests.service.scripted import HANG, NOT_A_NUMBER, POISON, SLOW, ScriptedBackend, fresh, picture
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[type[ScriptedBackend]]:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant, top1=0.5)
    with fresh() as backend:
        yield backend


def client_of(path: Path, **settings: object) -> TestClient:
    fixed = {"repository": path, "backend": "scripted", "resizer": "scripted", "threads": 2}
    made = Settings.model_validate({**fixed, **settings})
    return TestClient(create_app(made))


def wait_until_ready(client: TestClient) -> None:
    wait_until(lambda: client.get("/health/ready").status_code == 200)


def check_problem(response: httpx2.Response, status: int, name: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in response.text
    assert "the script says so" not in response.text
    found: dict[str, Any] = response.json()
    assert found["type"] == f"urn:posbake:problem:{name}"
    return found


@pytest.mark.parametrize("red", [POISON, NOT_A_NUMBER], ids=["raises", "not a number"])
def test_an_image_on_which_the_network_fails_is_500_and_the_next_request_succeeds(
    tmp_path: Path, scripted: type[ScriptedBackend], red: int
) -> None:
    with client_of(tmp_path) as client:
        check_problem(client.post("/v1/classify", content=picture(red)), 500, "inference-failed")
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/classify", content=picture(1)).status_code == 200
    assert [reds for _, reds in scripted.batches if red in reds] == [[red]]


def test_a_broken_backend_is_503_until_it_is_restarted(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with client_of(tmp_path) as client:
        scripted.broken.add("a")
        response = client.post("/v1/classify?variant=a", content=picture(1))
        check_problem(response, 503, "backend-down")
        assert int(response.headers["Retry-After"]) >= 1
        found = check_problem(client.get("/health/ready"), 503, "not-ready")
        assert "colours/a/1" in found["detail"]
        assert client.get("/health/live").status_code == 200
        assert client.post("/v1/classify?variant=b", content=picture(1)).status_code == 200
        scripted.broken.clear()
        wait_until_ready(client)
        assert client.post("/v1/classify?variant=a", content=picture(1)).status_code == 200


def test_a_hanging_backend_is_503_until_it_is_restarted(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with client_of(tmp_path, backend_timeout_ms=300) as client:
        response = client.post("/v1/classify?variant=a", content=picture(HANG))
        check_problem(response, 503, "backend-down")
        assert client.get("/health/ready").status_code == 503
        assert client.post("/v1/classify?variant=b", content=picture(1)).status_code == 200
        wait_until_ready(client)
        assert client.post("/v1/classify?variant=a", content=picture(1)).status_code == 200
        scripted.gate.set()


def as_element(file: bytes) -> dict[str, Any]:
    data = [base64.b64encode(file).decode()]
    return {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": data}


def as_elements(file: bytes) -> dict[str, Any]:
    element = as_element(file)
    return {**element, "shape": [2], "data": element["data"] * 2}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/classify", bytes),
        ("/v1/compare", bytes),
        ("/v2/models/colours@a/infer", lambda file: json.dumps({"inputs": [as_element(file)]})),
        ("/v2/models/colours@a/infer", lambda file: json.dumps({"inputs": [as_elements(file)]})),
    ],
    ids=["classify", "compare", "infer", "infer with two images"],
)
def test_a_hanging_decode_is_504_and_others_are_served_on_another_thread(
    tmp_path: Path, scripted: type[ScriptedBackend], path: str, body: Callable[[bytes], bytes | str]
) -> None:
    with client_of(tmp_path, threads=1, decode_timeout_ms=150) as client:
        hung = client.post(path, content=body(picture(SLOW)))
        assert hung.status_code == 504
        assert "decoding took longer than the allowed 150 ms" in hung.text
        assert client.get("/health/ready").status_code == 200  # one hanging thread is tolerated
        assert client.post(path, content=body(picture(1))).status_code == 200
        metrics = client.get("/metrics").text
        assert 'posbake_abandoned_threads{work="decode"} 1.0' in metrics
        if path != "/v1/compare":
            assert 'posbake_decode_failures_total{reason="decode-timeout"} 1.0' in metrics
        scripted.gate.set()
        wait_until(lambda: 'posbake_abandoned_threads{work="decode"} 0.0' in client.get("/metrics").text)


def test_the_server_is_not_ready_while_too_many_decodes_hang(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with client_of(tmp_path, decode_timeout_ms=150) as client:
        for _ in range(2):
            check_problem(client.post("/v1/classify", content=picture(SLOW)), 504, "decode-timeout")
        found = check_problem(client.get("/health/ready"), 503, "not-ready")
        assert found["detail"].startswith("2 threads hang in abandoned work")
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        assert client.post("/v1/classify", content=picture(1)).status_code == 200
        scripted.gate.set()
        wait_until_ready(client)


def test_a_passed_deadline_is_504_immediately_even_while_the_backend_is_busy(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with client_of(tmp_path) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/classify", content=picture(HANG))
        assert scripted.hanging.wait(10)
        found = check_problem(client.post("/v1/classify?timeout_ms=1", content=picture(1)), 504, "deadline-passed")
        assert "1 ms" in found["detail"]
        scripted.gate.set()
        assert first.result().status_code == 200
        assert client.post("/v1/classify", content=picture(2)).status_code == 200
    assert [1] not in [reds for _, reds in scripted.batches]


def test_requests_without_a_deadline_get_the_servers(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with client_of(tmp_path, timeout_ms=50) as client:
        check_problem(client.post("/v1/classify", content=picture(HANG)), 504, "deadline-passed")
        scripted.gate.set()


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "86400001"])
def test_an_invalid_deadline_is_422(client: TestClient, given: str) -> None:
    response = client.post(f"/v1/classify?timeout_ms={given}", content=picture(1))
    assert check_problem(response, 422, "invalid-parameter")["parameters"][0]["parameter"] == "timeout_ms"


def test_a_request_whose_client_disconnected_is_dropped_before_it_runs(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    """The test calls the app as an ASGI server does: a client cannot control when the server sees the disconnect."""
    settings = Settings(repository=tmp_path, backend="scripted", threads=2)
    app = create_app(settings)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            engine = app.state.serving.engine
            servable = app.state.serving.catalogue.find()
            stays, leaves = asyncio.Event(), asyncio.Event()
            first = asyncio.create_task(post(app, "/v1/classify", picture(HANG), stays))
            while not scripted.hanging.is_set():
                await asyncio.sleep(0.002)
            second = asyncio.create_task(post(app, "/v1/classify", picture(1), leaves))
            while engine.load(servable).admitted != 1:
                await asyncio.sleep(0.002)
            leaves.set()
            assert (await second)[0]["status"] == 499
            scripted.gate.set()
            answer = await first
            assert json.loads(answer[1]["body"])["batch_size"] == 1

    asyncio.run(asyncio.wait_for(run(), 20))
    assert [1] not in [reds for _, reds in scripted.batches]
