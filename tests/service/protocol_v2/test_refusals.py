"""Responses to requests that cannot run now: the protocol's error format, and Retry-After."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.protocol_v2.answers import document_of
from tests.service.scripted import HANG, NOT_A_NUMBER, POISON, ScriptedBackend, pixels
from tests.service.waiting import wait_until

PATH = "/v2/models/colours@mean/infer"
RAW = {"Inference-Header-Content-Length": "0"}


@pytest.fixture
def app(tmp_path: Path, scripted: type[ScriptedBackend]) -> FastAPI:
    assert not scripted.batches
    add_artifact(tmp_path)
    settings = {"repository": tmp_path, "backend": "scripted", "max_queue": 2, "max_batch": 4, "threads": 1}
    return create_app(Settings.model_validate(settings))


def infer(client: TestClient, *reds: int) -> httpx2.Response:
    return client.post(PATH, content=np.stack([pixels(red) for red in reds]).tobytes(), headers=RAW)


def infer_when_free(client: TestClient, *reds: int) -> httpx2.Response:
    """Retry while the queue is full: a request past its deadline keeps its place wait_until it is decoded."""
    while (response := infer(client, *reds)).status_code == 429:
        time.sleep(0.005)
    return response


def error(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    message: str = response.json()["error"]
    return message


def test_a_full_queue_is_429_with_retry_after_and_a_late_response_504(
    app: FastAPI, scripted: type[ScriptedBackend]
) -> None:
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        hanging = pool.submit(infer, client, HANG)
        assert scripted.hanging.wait(10)
        late = {"inputs": [{"name": "image", "shape": [1, 8, 6, 3], "datatype": "UINT8", "data": [1] * 144}]}
        response = client.post(PATH, json={**late, "parameters": {"timeout": 1500}})
        assert "allowed 2 ms" in error(response, 504)  # 1500 µs, rounded up
        waiting = pool.submit(infer_when_free, client, 1, 2)
        wait_until(lambda: app.state.serving.engine.load(app.state.serving.catalogue.servables()[0]).admitted == 2)
        response = infer(client, 3)
        assert "2 images wait" in error(response, 429)
        assert int(response.headers["Retry-After"]) >= 1
        scripted.gate.set()
        assert hanging.result().status_code == 200
        assert document_of(waiting.result())["parameters"]["batch_size"] == 2


def test_the_rows_of_a_request_run_in_one_batch(app: FastAPI, scripted: type[ScriptedBackend]) -> None:
    with TestClient(app) as client:
        scripted.batches.clear()
        (output,) = document_of(infer(client, 5, 6))["outputs"]
        assert output["data"] == [5, 1, 2, 3, 6, 1, 2, 3]
        assert scripted.batches == [("mean", [5, 6])]


@pytest.mark.parametrize("red", [POISON, NOT_A_NUMBER])
def test_an_image_on_which_the_network_fails_is_500(app: FastAPI, red: int) -> None:
    with TestClient(app) as client:
        assert "the network" in error(infer(client, red), 500)
        assert infer(client, 1).status_code == 200


def test_a_failed_backend_is_503_and_makes_model_and_server_unready(
    app: FastAPI, scripted: type[ScriptedBackend]
) -> None:
    with TestClient(app) as client:
        scripted.broken.add("mean")
        response = infer(client, 1)
        assert "is being restarted" in error(response, 503)
        assert int(response.headers["Retry-After"]) >= 1
        for path in ("/v2/health/ready", "/v2/models/colours@mean/ready"):
            assert "being restarted" in error(client.get(path), 503)
        (entry,) = client.post("/v2/repository/index").json()
        assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "its backend is being restarted")
        assert client.post("/v2/repository/index", json={"ready": True}).json() == []
        scripted.broken.clear()
        wait_until(lambda: client.get("/v2/health/ready").status_code == 200)
        assert infer(client, 1).status_code == 200


def test_a_server_that_has_not_started_is_503(app: FastAPI) -> None:
    client = TestClient(app)  # without `with`, the app is not started
    assert client.get("/v2/health/live").json() == {"live": True}
    for path in ("/v2/health/ready", "/v2/models/colours", "/v2/models/stats"):
        assert "starting or stopping" in error(client.get(path), 503)
    assert "starting or stopping" in error(infer(client, 1), 503)


def test_an_unexpected_exception_has_the_protocols_error_format(app: FastAPI) -> None:
    @app.get("/v2/broken")
    async def broken() -> None:
        raise ZeroDivisionError("secret")

    message = error(TestClient(app).get("/v2/broken", headers={"X-Request-Id": "mine"}), 500)
    assert "for request mine" in message
    assert "secret" not in message
