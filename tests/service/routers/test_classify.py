"""Successful requests to POST /v1/classify; expected probabilities come from tests.service.artifacts."""

import base64
import re
from typing import Any, Unpack

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.service.artifacts import LABELS, MEAN, STD, WEIGHTS, expected_probabilities
from tests.service.pictures import encode, random_pixels
from tests.service.requests import Request

PIXELS = random_pixels()
PNG = encode(PIXELS)


def classify(client: TestClient, query: str = "", **request: Unpack[Request]) -> dict[str, Any]:
    if not request.keys() & {"content", "files", "json"}:
        request["content"] = PNG
    response = client.post(f"/v1/classify?{query}", **request)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def probabilities(answer: dict[str, Any]) -> list[float]:
    by_index = {found["index"]: found["probability"] for found in answer["predictions"]}
    return [by_index[index] for index in range(len(by_index))]


def test_the_response_has_the_documented_members(client: TestClient, backend_name: str) -> None:
    answer = classify(client, "variant=mean&version=1")
    assert list(answer) == [
        *("id", "model", "variant", "encoding", "version", "task", "predictions"),
        *("latency_ms", "batch_size", "backend", "precision", "running_precision"),
    ]
    assert {name: answer[name] for name in ("model", "variant", "encoding", "version", "batch_size", "precision")} == {
        "model": "colours",
        "variant": "mean",
        "encoding": "none",
        "version": 1,
        "batch_size": 1,
        "precision": "fp32",
    }
    assert (answer["backend"], answer["running_precision"]) == (backend_name, "fp32")
    assert list(answer["latency_ms"]) == ["decode", "preprocess", "queue", "inference", "postprocess", "total"]


def test_probabilities_are_those_of_the_network(client: TestClient) -> None:
    answer = classify(client, "variant=mean&version=1")
    # the graph sums in float32, this test in float64
    np.testing.assert_allclose(probabilities(answer), expected_probabilities(PIXELS), rtol=1e-5)
    assert [found["label"] for found in answer["predictions"]] == [
        LABELS[index] for index in np.argsort(expected_probabilities(PIXELS))[::-1]
    ]
    assert sum(probabilities(answer)) == pytest.approx(1, abs=1e-9)
    with pytest.raises(AssertionError):  # the comparison above can fail
        np.testing.assert_allclose(probabilities(answer), expected_probabilities(255 - PIXELS), rtol=1e-5)


def test_float_inputs_get_normalised_pixels(client: TestClient) -> None:
    normalised = (PIXELS / 255 - np.array(MEAN)) / np.array(STD)
    logits = normalised.mean(axis=(0, 1)) @ WEIGHTS.astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(probabilities(classify(client, "variant=float")), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "request_",
    [
        {"content": PNG, "headers": {"Content-Type": "image/png"}},
        {"content": PNG, "headers": {"Content-Type": "IMAGE/WEBP; q=1"}},
        {"content": PNG, "headers": {"Content-Type": "application/octet-stream"}},
        {"content": PNG},
        {"files": {"image": ("digit.png", PNG, "image/png")}},
        {"files": {"image": ("digit.png", PNG)}, "data": {"top_k": "5"}},
        {"json": {"image": base64.b64encode(PNG).decode()}},
        {"json": {"image": base64.b64encode(PNG).decode(), "top_k": 5, "model": None}},
    ],
    ids=["image", "other image type", "bytes", "no type", "multipart", "multipart with more", "json", "json with more"],
)
def test_every_form_of_the_body_gets_the_same_probabilities(client: TestClient, request_: dict[str, Any]) -> None:
    answer = classify(client, "variant=mean&version=1", **request_)
    np.testing.assert_allclose(probabilities(answer), expected_probabilities(PIXELS), rtol=1e-5)


@pytest.mark.parametrize(
    ("query", "variant", "version"),
    [
        ("", "mean", 10),  # the newest version of mean has top-1 0.9, although version 1 has 0.99
        ("model=colours", "mean", 10),
        ("variant=mean", "mean", 10),
        ("variant=mean&version=2", "mean", 2),
        ("variant=float", "float", 1),
        ("variant=mean&version=1&variant=mean", "mean", 1),
    ],
)
def test_the_default_is_the_newest_version_of_the_most_accurate_variant(
    client: TestClient, query: str, variant: str, version: int
) -> None:
    answer = classify(client, query)
    assert (answer["variant"], answer["version"]) == (variant, version)


def test_versions_have_their_own_networks(client: TestClient) -> None:
    first, tenth = (probabilities(classify(client, f"variant=mean&version={version}")) for version in (1, 10))
    np.testing.assert_allclose(first, tenth[::-1], rtol=1e-5)


@pytest.mark.parametrize(("top_k", "expected"), [(1, 1), (3, 3), (4, 4), (99, 4)])
def test_top_k_is_the_number_of_predictions_up_to_all_classes(client: TestClient, top_k: int, expected: int) -> None:
    found = [prediction["probability"] for prediction in classify(client, f"top_k={top_k}")["predictions"]]
    assert len(found) == expected
    assert found == sorted(found, reverse=True)


def test_server_timing_equals_the_latency_in_the_response(client: TestClient) -> None:
    response = client.post("/v1/classify", content=PNG)
    stated = dict(re.findall(r"(\w+);dur=([0-9.]+)", response.headers["Server-Timing"]))
    assert {stage: float(ms) for stage, ms in stated.items()} == response.json()["latency_ms"]


def test_logits_that_are_not_finite_are_an_error(client: TestClient) -> None:
    response = client.post("/v1/classify?variant=nan", content=PNG)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "not all finite" in response.json()["detail"]
    classify(client)


def test_equal_probabilities_come_in_class_order(client: TestClient) -> None:
    black = encode(np.zeros((8, 6, 3), np.uint8))
    assert [found["index"] for found in classify(client, content=black)["predictions"]] == [0, 1, 2, 3]
