"""POST /v1/compare: the same answers as /v1/classify gives one by one, and who agrees; what fails fails alone."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from service.app import create_app
from service.comparing import agreement, interpret
from service.inference import infer_each
from service.inputs.forms import Upload
from service.resources.memory import MemoryBudget, RequestMemory
from service.scheduling.request_scope import RequestScope
from service.schemas import Vote
from service.settings import Settings
from service.telemetry.record import RequestRecord
from service.telemetry.stopwatch import STAGES, Stopwatch
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.pictures import encode, random_pixels
from tests.service.scripted import HANG, ScriptedBackend, fresh, picture

PNG = encode(random_pixels(300, 200))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Five variants that prepare images in four ways; two of them see the colours turned around."""
    path = tmp_path_factory.mktemp("artifacts")
    add_artifact(path, variant="float", dtype="float32")
    add_artifact(path, variant="large", size=(160, 120))
    add_artifact(path, variant="mean", version=1)
    add_artifact(path, variant="mean", version=2)
    add_artifact(path, variant="nan", logits="nan")
    add_artifact(path, variant="turned", weights=np.ascontiguousarray(WEIGHTS[:, ::-1]))
    add_artifact(path, variant="sharp", preprocess={**STEPS, "interpolation": "nearest"})
    with TestClient(create_app(Settings(repository=path, threads=2))) as client:
        yield client


STEPS = {"resize": (8, 6), "interpolation": "bicubic", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[type[ScriptedBackend]]:
    """`corner` sees the first pixel of an image, `middle` that of its central part."""
    add_artifact(tmp_path, variant="corner", preprocess={**STEPS, "interpolation": "nearest"})
    cut = {**STEPS, "resize": (24, 18), "crop": (8, 6), "interpolation": "nearest"}
    add_artifact(tmp_path, variant="middle", preprocess=cut)
    with fresh() as backend:
        yield backend


def scripted_client(path: Path, **settings: object) -> TestClient:
    made = Settings.model_validate({"repository": path, "backend": "scripted", "threads": 2, **settings})
    return TestClient(create_app(made))


def framed(corner: int, middle: int) -> bytes:
    pixels: NDArray[np.uint8] = np.full((24, 18, 3), (corner, 1, 2), np.uint8)
    pixels[8:16, 6:12, 0] = middle
    return encode(pixels)


def compare(client: TestClient, query: str = "", content: bytes = PNG) -> dict[str, Any]:
    response = client.post(f"/v1/compare?{query}", content=content)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_every_variant_answers_as_it_does_alone(client: TestClient) -> None:
    answer = compare(client, "top_k=4")
    assert [found["variant"] for found in answer["variants"]] == ["float", "large", "mean", "sharp", "turned"]
    for found in answer["variants"]:
        alone = client.post(f"/v1/classify?variant={found['variant']}&top_k=4", content=PNG).json()
        for name in ("variant", "encoding", "version", "predictions", "backend", "precision", "batch_size"):
            assert found[name] == alone[name], name
    probabilities = {found["variant"]: found["predictions"][0]["probability"] for found in answer["variants"]}
    assert probabilities["mean"] != probabilities["sharp"]  # the check is able to fail


def test_what_fails_in_one_variant_is_told_there_and_does_not_lose_the_others(client: TestClient) -> None:
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


def test_agreement_is_counted_over_those_that_answer(client: TestClient) -> None:
    answer = compare(client)
    best = {found["variant"]: found["predictions"][0]["label"] for found in answer["variants"]}
    votes = {vote["label"]: vote["variants"] for vote in answer["agreement"]["votes"]}
    assert votes == {label: [name for name in best if best[name] == label] for label in set(best.values())}
    largest = max(map(len, votes.values()))
    assert len(answer["agreement"]["votes"][0]["variants"]) == largest
    assert answer["agreement"]["share"] == largest / 5
    assert answer["agreement"]["unanimous"] is False
    alone = compare(client, "variants=mean,large")["agreement"]
    assert (alone["unanimous"], alone["share"]) == (True, 1)


@pytest.mark.parametrize(
    ("labels", "share", "order"),
    [("aab", 2 / 3, "ab"), ("abb", 2 / 3, "ba"), ("ab", 1 / 2, "ab"), ("a", 1, "a"), ("cbabca", 1 / 3, "cba")],
)
def test_votes_are_the_largest_first_and_ties_in_the_order_of_the_answers(
    labels: str, share: float, order: str
) -> None:
    found = agreement((f"v{number}", label) for number, label in enumerate(labels))
    assert found.share == share
    assert "".join(vote.label for vote in found.votes if isinstance(vote, Vote)) == order
    assert found.unanimous == (len(order) == 1)
    assert sorted(variant for vote in found.votes for variant in vote.variants) == [f"v{i}" for i in range(len(labels))]


def test_variants_are_those_named_in_their_order_once(client: TestClient) -> None:
    answer = compare(client, "model=colours&variants=turned,mean,,turned, float&top_k=1")
    assert [found["variant"] for found in answer["variants"]] == ["turned", "mean", "float"]
    assert {len(found["predictions"]) for found in answer["variants"]} == {1}
    assert {found["variant"]: found["version"] for found in answer["variants"]}["mean"] == 2


@pytest.mark.parametrize(
    ("query", "status", "expected"),
    [
        ("variants=mean,rope", 404, "known: float, large, mean"),
        ("model=x", 404, "known: colours"),
        ("variants=,", 422, "names none; known: float"),
        ("top_k=0", 422, "top_k"),
        ("timeout_ms=0", 422, "timeout_ms"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(client: TestClient, query: str, status: int, expected: str) -> None:
    response = client.post(f"/v1/compare?{query}", content=PNG)
    assert response.status_code == status
    assert expected in response.json()["detail"]


@pytest.mark.parametrize(("content", "status"), [(b"no", 400), (b"", 400)])
def test_a_bad_image_is_everybodys_and_one_error(client: TestClient, content: bytes, status: int) -> None:
    response = client.post("/v1/compare", content=content)
    assert response.status_code == status
    assert "failed" not in response.json()


def test_the_image_is_decoded_once_and_prepared_once_in_each_way(client: TestClient) -> None:
    rows = {found["variant"]: found["latency_ms"] for found in compare(client)["variants"]}
    assert len({row["decode"] for row in rows.values()}) == 1
    assert rows["mean"]["preprocess"] == rows["turned"]["preprocess"]
    assert len({row["preprocess"] for row in rows.values()}) > 1
    for row in rows.values():
        assert sum(row[stage] for stage in STAGES) == pytest.approx(row["total"], abs=1e-6)


def test_the_form_is_opened_once_however_many_variants_there_are(client: TestClient) -> None:
    serving = client.app.state.serving  # type: ignore[attr-defined]
    opened = []

    def extract(body: bytes) -> bytes:
        opened.append(body)
        return body

    async def scene() -> int:
        record = RequestRecord("id", is_inference=True, memory=RequestMemory(MemoryBudget(0)))
        upload, show = Upload(PNG, extract), partial(interpret, 1, None)
        servables = serving.catalogue.servables()
        outcomes = await infer_each(serving, record, servables, upload, RequestScope(10_000), Stopwatch(), show)
        assert [run.key for run in record.runs] == [servable.key for servable in servables]
        return len(outcomes)

    assert client.portal is not None
    assert client.portal.call(scene) == 7
    assert opened == [PNG]


def test_a_broken_variant_is_503_for_itself_only(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path) as client:
        scripted.broken.add("corner")
        answer = compare(client, content=picture(1))
        assert [found["variant"] for found in answer["variants"]] == ["middle"]
        (failed,) = answer["failed"]
        assert (failed["variant"], failed["status"]) == ("corner", 503)
        assert failed["retry_after"] >= 1
        assert answer["agreement"]["share"] == 1


def test_if_no_variant_answers_the_first_ones_error_is_the_answer(
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


def test_a_variant_that_is_too_slow_is_504_for_itself_only(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path) as client:
        answer = compare(client, "variants=middle,corner&timeout_ms=300", framed(corner=HANG, middle=7))
        scripted.gate.set()
    assert [found["variant"] for found in answer["variants"]] == ["middle"]
    assert [(found["variant"], found["status"]) for found in answer["failed"]] == [("corner", 504)]


def test_a_full_queue_is_429_for_its_variant_only(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path, max_queue=1) as client, ThreadPoolExecutor(3) as pool:
        running = pool.submit(client.post, "/v1/classify?variant=corner", content=picture(HANG))
        assert scripted.hanging.wait(10)
        waiting = pool.submit(client.post, "/v1/classify?variant=corner", content=picture(1))
        serving = client.app.state.serving  # type: ignore[attr-defined]
        corner, middle = (serving.catalogue.newest("colours", name) for name in ("corner", "middle"))
        end = time.monotonic() + 10
        while serving.engine.load(corner).admitted < 1:
            assert time.monotonic() < end
        asked = pool.submit(compare, client, "", picture(2))
        while serving.engine.load(middle).admitted < 1:
            assert time.monotonic() < end
        scripted.gate.set()
        answer = asked.result()
        assert [running.result().status_code, waiting.result().status_code] == [200, 200]
    assert [found["variant"] for found in answer["variants"]] == ["middle"]
    assert [(found["variant"], found["status"]) for found in answer["failed"]] == [("corner", 429)]
    assert answer["failed"][0]["retry_after"] >= 1


def test_the_whole_is_504_if_the_deadline_passes_before_any_answer(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with scripted_client(tmp_path) as client:
        response = client.post("/v1/compare?timeout_ms=100", content=picture(HANG))
        scripted.gate.set()
    assert response.status_code == 504
    assert response.json()["type"] == "urn:posbake:problem:deadline-passed"


def test_each_variant_counts_as_a_request_and_its_answer_as_a_latency(client: TestClient) -> None:
    def counted() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith("posbake_requests_total{"))
        return {labels: float(count) for labels, _, count in found}

    def latencies() -> dict[tuple[str, int], int]:
        versions = client.get("/v1/latency").json()["versions"]
        return {(row["variant"], row["version"]): row["count"] for row in versions}

    before, measured = counted(), latencies()
    compare(client, "variants=mean,nan")
    client.post("/v1/compare", content=b"no")
    more = {labels: count - before.get(labels, 0) for labels, count in counted().items()}
    name = 'posbake_requests_total{{model="{}",status="{}",variant="{}",version="{}"}}'
    assert {labels: count for labels, count in more.items() if count} == {
        name.format("colours", 200, "mean", 2): 1,
        name.format("colours", 500, "nan", 1): 1,
        name.format("", 400, "", ""): 1,
    }
    assert latencies() == {**measured, ("mean", 2): measured["mean", 2] + 1}


def test_what_a_variant_took_is_what_its_latency_says(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    with scripted_client(tmp_path) as client:
        found = compare(client, content=picture(1))["variants"]
        assert len(found) == len(scripted.closed) + 2
        rows = {row["variant"]: row for row in client.get("/v1/latency").json()["versions"]}
        statistics = client.get("/v2/models/stats").json()["model_stats"]
    for answer in found:
        means = {stage: row["mean"] for stage, row in rows[answer["variant"]]["stages"].items()}
        assert means == pytest.approx(answer["latency_ms"], abs=1e-6)
        (counts,) = (row for row in statistics if row["name"] == f"colours@{answer['variant']}")
        assert counts["inference_stats"]["success"] == {"count": 1, "ns": round(1e6 * means["total"])}


def test_a_deadline_that_passes_in_a_comparison_counts_against_its_variant_once(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
    with scripted_client(tmp_path) as client:
        compare(client, "variants=middle,corner&timeout_ms=200", framed(corner=HANG, middle=7))
        serving = client.app.state.serving  # type: ignore[attr-defined]
        keys = [serving.catalogue.newest("colours", name).key for name in ("corner", "middle")]
        assert serving.latency.recent_p95(keys[0]) >= 197
        assert serving.latency.recent_p95(keys[1]) < 200
        scripted.gate.set()


def test_who_closes_the_connection_loses_all_variants(tmp_path: Path, scripted: type[ScriptedBackend]) -> None:
    app = create_app(Settings(repository=tmp_path, backend="scripted", threads=2))

    async def scene() -> int:
        gone = asyncio.Event()
        body = [{"type": "http.request", "body": picture(HANG)}]
        statuses = []

        async def receive() -> Any:  # noqa: ANN401 -- an ASGI message
            if body:
                return body.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:  # noqa: ANN401
            statuses.append(message.get("status"))

        async with app.router.lifespan_context(app):
            scope = {"type": "http", "method": "POST", "path": "/v1/compare", "query_string": b"", "headers": []}
            asked = asyncio.create_task(app({**scope, "raw_path": b"/v1/compare"}, receive, send))
            while not scripted.hanging.is_set():
                await asyncio.sleep(0.002)
            gone.set()
            await asked
            scripted.gate.set()
        return int(statuses[0])

    assert asyncio.run(asyncio.wait_for(scene(), 20)) == 499
    runs = [variant for variant, reds in scripted.batches if HANG in reds]
    assert len(runs) == 1  # the other was dropped before it was run
