"""Memory budget shared by all requests."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request

from service.app import create_app
from service.inputs.body import read_body
from service.problems.client_errors import TooLargeToHoldError
from service.problems.server_errors import MemoryFullError
from service.resources.memory import MemoryBudget, RequestMemory, half_of_memory
from service.settings import Settings
from service.telemetry.record import RequestRecord, attach
from tests.service.artifacts import add_artifact
from tests.service.pictures import encode, random_pixels
from tests.service.scripted import HANG, fresh, picture

PNG = encode(random_pixels())
MIB = 2**20


def test_reservations_of_many_threads_are_counted_and_released() -> None:
    held = MemoryBudget(1000)
    largest = 0

    def work(_: int) -> int:
        nonlocal largest
        refused = 0
        for _ in range(200):
            try:
                with held.reserve(300):
                    largest = max(largest, held.held)
                    time.sleep(0)
            except MemoryFullError:
                refused += 1
        return refused

    with ThreadPoolExecutor(8) as pool:
        refused = sum(pool.map(work, range(8)))
    assert held.held == 0
    assert held.refused == refused
    assert 300 <= largest <= 900


def test_a_reservation_is_released_after_an_error() -> None:
    held = MemoryBudget(100)
    with pytest.raises(ZeroDivisionError), held.reserve(100):
        assert held.held == 100
        raise ZeroDivisionError
    assert held.held == 0


def test_a_request_that_never_fits_is_distinguished_from_one_that_does_not_fit_now() -> None:
    held = MemoryBudget(100)
    one, other = RequestMemory(held), RequestMemory(held)
    one.grow(60)
    with pytest.raises(MemoryFullError) as full:
        other.grow(50)
    assert full.value.headers["Retry-After"] == "1"
    with pytest.raises(TooLargeToHoldError, match=r"needs 110 bytes .* MAX_HELD_BYTES allows 100"):
        one.grow(50)  # it holds 60 already
    one.release()
    other.grow(50)
    other.release()
    other.release()
    assert (held.held, held.refused) == (0, 2)


FILES = {
    "no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
    "version 2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{512 * MIB}\n"}, 256 * MIB),
    "limit of the parent": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/memory.max": f"{64 * MIB}\n",
            "sys/fs/cgroup/a/b/memory.max": f"{128 * MIB}\n",
        },
        32 * MIB,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "4:memory:/m\n1:cpu:/\n",
            "sys/fs/cgroup/memory/m/memory.limit_in_bytes": f"{100 * MIB}\n",
        },
        50 * MIB,
    ),
    "version 1, no limit": (
        {"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
        None,
    ),
    "no cgroups": ({}, None),
}


@pytest.mark.parametrize("case", FILES)
def test_the_default_budget_is_half_of_the_memory(tmp_path: Path, case: str) -> None:
    files, expected = FILES[case]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert half_of_memory(tmp_path) == pytest.approx(expected or total / 2, rel=0.001)


def request_of(chunks: AsyncIterator[bytes], length: int | None, held: MemoryBudget) -> Request:
    headers = [] if length is None else [(b"content-length", str(length).encode())]

    async def receive() -> dict[str, object]:
        try:
            return {"type": "http.request", "body": await anext(chunks), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    scope: dict[str, object] = {"type": "http", "headers": headers}
    attach(scope, RequestRecord("id", is_inference=True, memory=RequestMemory(held)))
    return Request(scope, receive)


@pytest.mark.parametrize("known", [True, False])
def test_a_body_is_in_memory_once(known: bool) -> None:
    size, held = 8 * MIB, MemoryBudget(100 * MIB)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield bytes(65536)

    async def read() -> tuple[int, int]:
        tracemalloc.start()
        try:
            body = await read_body(request_of(chunks(), size if known else None, held), size)
            return len(body), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    length, peak = asyncio.run(read())
    assert length == held.held == size
    assert peak < 1.3 * size  # joining a list of chunks would need twice the size


@pytest.mark.parametrize("body", [PNG, b"no image", b"x" * 3_000_000], ids=["valid", "no image", "too large"])
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/compare", "/v2/models/colours/infer", "/v1/nothing"])
def test_a_request_releases_its_memory_however_it_ends(tmp_path: Path, path: str, body: bytes) -> None:
    add_artifact(tmp_path)
    app = create_app(Settings(repository=tmp_path, threads=1, max_body_bytes=1_000_000, max_held_bytes=1_000_000))
    with TestClient(app) as client:
        client.post(path, content=body)
        assert "posbake_held_bytes 0.0\n" in client.get("/metrics").text


def test_a_request_holds_its_body_until_its_response_and_others_are_refused_meanwhile(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    body = picture(HANG) + bytes(10_000)  # larger than its pixels, which are held during decoding
    with fresh() as scripted:
        settings = Settings(repository=tmp_path, backend="scripted", threads=1, max_held_bytes=2 * len(body) - 1)
        with TestClient(create_app(settings)) as client, ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(client.post, "/v1/classify", content=body)
            assert scripted.hanging.wait(10)
            refused = client.post("/v1/classify", content=body)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json()["type"] == "urn:posbake:problem:memory-full"
            assert client.post("/v2/models/colours/infer", content=body).status_code == 503
            scripted.gate.set()
            assert hanging.result().status_code == 200
            assert client.post("/v1/classify", content=picture(1)).status_code == 200


def test_decoded_pixels_count_against_the_budget(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    image = encode(random_pixels(100, 100))
    needed = len(image) + 8 * 100 * 100
    for limit, status in ((needed, 200), (needed - 1, 413)):  # the lower limit never fits
        with TestClient(create_app(Settings(repository=tmp_path, threads=1, max_held_bytes=limit))) as client:
            assert client.post("/v1/classify", content=image).status_code == status
            assert "posbake_held_bytes 0.0\n" in client.get("/metrics").text


def test_a_request_that_never_fits_is_413_with_the_setting(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    with TestClient(create_app(Settings(repository=tmp_path, threads=1, max_held_bytes=len(PNG) - 1))) as client:
        refused = client.post("/v1/classify", content=PNG)
    assert (refused.status_code, refused.json()["limit"]) == (413, len(PNG) - 1)
    assert "MAX_HELD_BYTES" in refused.json()["detail"]
