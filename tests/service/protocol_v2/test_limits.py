"""Limits and deadlines of requests under /v2, with a backend that hangs on demand."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.inputs.json_text import LARGE
from service.scheduling.request_scope import RequestScope
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.scripted import HANG, ScriptedBackend, fresh, pixels
from tests.service.waiting import wait_until

PATH = "/v2/models/colours@mean"


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[type[ScriptedBackend]]:
    add_artifact(tmp_path)
    with fresh() as backend:
        yield backend


def client_of(path: Path, **settings: object) -> TestClient:
    made = Settings.model_validate({"repository": path, "backend": "scripted", "threads": 1, **settings})
    return TestClient(create_app(made))


def infer(client: TestClient, *reds: int, padding: int = 0, **parameters: object) -> httpx2.Response:
    data = [pixels(red).tolist() for red in reds]
    image: dict[str, Any] = {"name": "image", "shape": [len(reds), 8, 6, 3], "datatype": "UINT8", "data": data}
    return client.post(
        f"{PATH}/infer", content=json.dumps({"parameters": parameters, "inputs": [image]}) + " " * padding
    )


def test_a_passed_deadline_counts_once_in_the_latencies(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with client_of(tmp_path) as client:
        for _ in range(19):
            assert infer(client, 1).status_code == 200
        assert infer(client, HANG, timeout=1_000_000).status_code == 504
        serving = client.app.state.serving  # type: ignore[attr-defined]
        # The p95 of 20 requests, of which one was late.
        assert serving.latency.recent_p95(serving.catalogue.find().key) < 995
        scripted.gate.set()
        assert infer(client, 1).status_code == 200
        assert infer(client, HANG).status_code == 200


def test_a_request_with_more_images_than_the_queue_is_refused_without_retry_after(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with client_of(tmp_path, max_queue=2) as client:
        assert client.get(f"{PATH}/config").json()["max_batch_size"] == 2
        assert infer(client, 1, 2).status_code == 200
        refused = infer(client, 1, 2, 3)
        assert (refused.status_code, refused.headers.get("Retry-After")) == (400, None)
        assert "takes 1 to 2" in refused.json()["error"]
    assert scripted.batches[-1] == ("mean", [1, 2])


def test_a_timeout_starts_when_the_body_has_arrived_and_includes_the_wait_for_parsing(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    decoding, proceed = threading.Event(), threading.Event()

    def occupy() -> None:
        decoding.set()
        assert proceed.wait(10)

    with client_of(tmp_path) as client, ThreadPoolExecutor(2) as pool:
        engine = client.app.state.serving.engine  # type: ignore[attr-defined]

        async def offload() -> None:
            with RequestScope(20_000) as scope:
                await engine.offload(occupy, scope)

        assert client.portal is not None
        occupied = pool.submit(client.portal.call, offload)
        assert decoding.wait(10)
        waiting = pool.submit(infer, client, 7, padding=LARGE, timeout=200_000)
        wait_until(lambda: engine.decoding)
        time.sleep(0.2)  # the request waits for longer than its timeout
        proceed.set()
        answer = waiting.result()
        occupied.result()
    assert answer.status_code == 504
    assert "no response within the allowed 200 ms" in answer.json()["error"]
    assert ("mean", [7]) not in scripted.batches
