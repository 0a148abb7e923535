"""POST /v1/compare: the same predictions as /v1/classify, and the agreement of the variants."""

from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.comparing import agreement, interpret
from service.inference import infer_each
from service.inputs.forms import Upload
from service.resources.memory import MemoryBudget, RequestMemory
from service.scheduling.request_scope import RequestScope
from service.schemas import Vote
from service.telemetry.record import RequestRecord
from service.telemetry.stopwatch import STAGES, Stopwatch
from tests.service.routers.compare.comparisons import PNG, compare, scripted_client
from tests.service.scripted import ScriptedBackend, picture


def test_every_variant_predicts_as_under_classify(client: TestClient) -> None:
    answer = compare(client, "top_k=4")
    assert [found["variant"] for found in answer["variants"]] == ["float", "large", "mean", "sharp", "turned"]
    for found in answer["variants"]:
        alone = client.post(f"/v1/classify?variant={found['variant']}&top_k=4", content=PNG).json()
        for name in ("variant", "encoding", "version", "predictions", "backend", "precision", "batch_size"):
            assert found[name] == alone[name], name
    probabilities = {found["variant"]: found["predictions"][0]["probability"] for found in answer["variants"]}
    assert probabilities["mean"] != probabilities["sharp"]  # the check can fail


def test_agreement_is_counted_over_successful_variants(client: TestClient) -> None:
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
def test_votes_are_sorted_by_size_with_ties_in_the_order_of_the_variants(labels: str, share: float, order: str) -> None:
    found = agreement((f"v{number}", label) for number, label in enumerate(labels))
    assert found.share == share
    assert "".join(vote.label for vote in found.votes if isinstance(vote, Vote)) == order
    assert found.unanimous == (len(order) == 1)
    assert sorted(variant for vote in found.votes for variant in vote.variants) == [f"v{i}" for i in range(len(labels))]


def test_named_variants_are_returned_once_in_their_order(client: TestClient) -> None:
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
def test_an_invalid_query_is_refused(client: TestClient, query: str, status: int, expected: str) -> None:
    response = client.post(f"/v1/compare?{query}", content=PNG)
    assert response.status_code == status
    assert expected in response.json()["detail"]


def test_an_image_is_decoded_once_and_preprocessed_once_per_kind(client: TestClient) -> None:
    rows = {found["variant"]: found["latency_ms"] for found in compare(client)["variants"]}
    assert len({row["decode"] for row in rows.values()}) == 1
    assert rows["mean"]["preprocess"] == rows["turned"]["preprocess"]
    assert len({row["preprocess"] for row in rows.values()}) > 1
    for row in rows.values():
        assert sum(row[stage] for stage in STAGES) == pytest.approx(row["total"], abs=1e-6)


def test_a_form_is_parsed_once_for_all_variants(client: TestClient) -> None:
    serving = client.app.state.serving  # type: ignore[attr-defined]
    extracted = []

    def extract(body: bytes) -> bytes:
        extracted.append(body)
        return body

    async def run() -> int:
        record = RequestRecord("id", is_inference=True, memory=RequestMemory(MemoryBudget(0)))
        upload, show = Upload(PNG, extract), partial(interpret, 1, None)
        servables = serving.catalogue.servables()
        outcomes = await infer_each(serving, record, servables, upload, RequestScope(10_000), Stopwatch(), show)
        assert [run.key for run in record.runs] == [servable.key for servable in servables]
        return len(outcomes)

    assert client.portal is not None
    assert client.portal.call(run) == 7
    assert extracted == [PNG]


def test_each_variant_counts_as_a_request_and_successful_ones_as_latencies(client: TestClient) -> None:
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


def test_a_variants_recorded_latency_equals_that_in_the_response(
    tmp_path: Path, scripted: type[ScriptedBackend]
) -> None:
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
