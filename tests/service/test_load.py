"""Many concurrent clients of a real server process."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from tests.service.artifacts import WEIGHTS, add_artifact, expected_probabilities
from tests.service.pictures import encode, png_claiming, random_pixels, truncated_jpeg
from tests.service.process import Running, serving
from tests.service.transport.sockets import connect

pytestmark = pytest.mark.slow

VARIANTS = {
    f"v{seed}": np.random.default_rng(seed).normal(0, 0.02, WEIGHTS.shape).astype(np.float32) for seed in range(5)
}
BAD = [
    ("variant=v0", b"no picture", 400),
    ("variant=v1", truncated_jpeg(), 400),
    ("variant=v2", png_claiming(50_000, 50_000), 413),
    ("variant=v9", encode(random_pixels()), 404),
    ("variant=v3&top_k=0", encode(random_pixels()), 422),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("five")
    for variant, weights in VARIANTS.items():
        add_artifact(path, variant=variant, weights=weights)
    return path


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, "--port", "0", "--repository", str(repository), "--threads", "2") as running:
        yield running
    assert "Traceback" not in running.log.read_text()


async def many(url: str, requests: list[tuple[str, bytes]]) -> list[httpx2.Response]:
    """Send all requests concurrently, each on its own connection."""
    limits = httpx2.Limits(max_connections=len(requests))
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        return await asyncio.gather(*(client.post(f"/v1/classify?{query}", content=body) for query, body in requests))


def test_200_concurrent_clients_of_five_variants_get_their_own_responses_and_errors(
    server: Running,
) -> None:
    names = list(VARIANTS)
    pictures = [random_pixels(seed=seed) for seed in range(200)]
    requests, bad = [], {}
    for place, pixels in enumerate(pictures):
        if place % 4 == 3:
            query, body, bad[place] = BAD[place // 4 % len(BAD)]
        else:
            query, body = f"variant={names[place % 5]}", encode(pixels)
        requests.append((query, body))
    answers = asyncio.run(many(server.url, requests))
    largest_batch = 0
    for place, answer in enumerate(answers):
        if place in bad:
            assert answer.status_code == bad[place], answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            continue
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document["variant"] == names[place % 5]
        found = [p["probability"] for p in sorted(document["predictions"], key=lambda p: p["index"])]
        expected = expected_probabilities(pictures[place], VARIANTS[names[place % 5]])
        np.testing.assert_allclose(found, expected, rtol=1e-4)  # float32 sums in the graph
        largest_batch = max(largest_batch, document["batch_size"])
    assert 1 <= largest_batch <= 8


def test_clients_that_disconnect_during_a_request_do_not_affect_others(server: Running) -> None:
    body = encode(random_pixels(600, 800))
    head = b"POST /v1/classify?variant=v0 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for sent in (head, head + body[:1000], head + body) * 20:
        with connect(server) as connection:
            connection.sendall(sent)
    answer = httpx2.post(f"{server.url}/v1/classify?variant=v0", content=body, timeout=30)
    assert answer.status_code == 200
    assert httpx2.get(f"{server.url}/health/ready").status_code == 200


def test_a_queue_of_four_refuses_some_of_100_clients_and_never_hangs(repository: Path, tmp_path: Path) -> None:
    body = encode(random_pixels(700, 700), "JPEG")
    flags = ("--port", "0", "--repository", str(repository), "--threads", "1", "--max-queue", "4")
    with serving(tmp_path, *flags) as running:
        answers = asyncio.run(many(running.url, [("variant=v0", body)] * 100))
        counts = Counter(answer.status_code for answer in answers)
        assert set(counts) == {200, 429}
        assert counts[200] >= 4
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.json()["title"] == "Queue full"
        assert httpx2.post(f"{running.url}/v1/classify?variant=v0", content=body).status_code == 200
