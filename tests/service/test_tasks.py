"""Responses of each task: one label, several labels, values."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from artifact import Activation, ManifestError, Task
from service.app import create_app
from service.ranking import sigmoid
from service.settings import Settings
from tests.service.artifacts import LABELS, add_artifact, expected_probabilities
from tests.service.pictures import encode

PIXELS = np.full((8, 6, 3), (200, 100, 40), np.uint8)
WEIGHTS = np.array([[0.01, 0, 0, -0.01], [0, 0.01, 0, -0.01], [0, 0, 0.01, -0.01]], np.float32)
LOGITS = [2.0, 1.0, 0.4, -3.4]
PROBABILITIES = [1 / (1 + math.exp(-logit)) for logit in LOGITS]  # 0.88, 0.73, 0.60, 0.03


def client_of(repository: Path) -> TestClient:
    return TestClient(create_app(Settings(repository=repository, threads=1)))


def classify(client: TestClient, query: str = "", status: int = 200) -> dict[str, Any]:
    answer = client.post(f"/v1/classify?{query}", content=encode(PIXELS))
    assert answer.status_code == status, answer.text
    document: dict[str, Any] = answer.json()
    return document


def shown(answer: dict[str, Any]) -> list[tuple[int, Any]]:
    assert all(found["label"] == LABELS[found["index"]] for found in answer["predictions"])
    return [(found["index"], found.get("probability", found.get("value"))) for found in answer["predictions"]]


@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_multi_label_returns_the_sigmoid_of_each_class_above_the_threshold(
    tmp_path: Path, activation: Activation
) -> None:
    add_artifact(tmp_path, weights=WEIGHTS, task="multi-label", activation=activation)
    with client_of(tmp_path) as client:
        answer = classify(client)
        assert answer["task"] == "multi-label"
        expected = [(index, pytest.approx(PROBABILITIES[index], abs=1e-6)) for index in range(4)]
        assert shown(answer) == expected[:3]
        assert shown(classify(client, "threshold=0.7")) == expected[:2]
        assert shown(classify(client, "threshold=0")) == expected
        assert shown(classify(client, "threshold=0&top_k=2")) == expected[:2]
        assert classify(client, "threshold=1")["predictions"] == []
        for wrong in ("threshold=1.1", "threshold=-0.1", "threshold=nan", "threshold=many"):
            classify(client, wrong, 422)


@pytest.mark.parametrize("classes", [4, 1])
def test_regression_returns_every_value_unchanged(tmp_path: Path, classes: int) -> None:
    add_artifact(tmp_path, weights=WEIGHTS[:, ::-1][:, :classes].copy(), task="regression")
    with client_of(tmp_path) as client:
        answer = classify(client, "top_k=1")
        assert answer["task"] == "regression"
        assert shown(answer) == [(i, pytest.approx(LOGITS[::-1][i], abs=1e-5)) for i in range(classes)]
        assert all("probability" not in found for found in answer["predictions"])


def test_no_second_softmax_is_applied_to_a_network_that_has_one(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="with", weights=WEIGHTS, activation="softmax")
    add_artifact(tmp_path, variant="without", weights=WEIGHTS)
    expected = expected_probabilities(PIXELS, WEIGHTS)
    with client_of(tmp_path) as client:
        for variant in ("with", "without"):
            answer = classify(client, f"variant={variant}")
            assert answer["task"] == "single-label"
            assert shown(answer) == [(i, pytest.approx(expected[i], abs=1e-6)) for i in range(4)]


@pytest.mark.parametrize("task", ["single-label", "regression"])
@pytest.mark.parametrize("route", ["classify", "compare"])
def test_a_threshold_for_other_tasks_is_refused(tmp_path: Path, task: Task, route: str) -> None:
    add_artifact(tmp_path, task=task)
    with client_of(tmp_path) as client:
        answer = client.post(f"/v1/{route}?threshold=0.5", content=encode(PIXELS))
        assert answer.status_code == 422
        assert f"threshold is for multi-label models; colours@mean is {task}" in answer.json()["detail"]


def test_variants_of_a_multi_label_model_agree_if_their_sets_of_classes_are_equal(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="a", weights=WEIGHTS, task="multi-label")
    add_artifact(tmp_path, variant="b", weights=WEIGHTS[:, [1, 0, 2, 3]].copy(), task="multi-label")  # another order
    add_artifact(tmp_path, variant="c", weights=WEIGHTS * np.array([1, 1, -1, 1], np.float32), task="multi-label")
    with client_of(tmp_path) as client:
        answer = client.post("/v1/compare?top_k=1", content=encode(PIXELS)).json()
        assert answer["task"] == "multi-label"
        assert answer["agreement"] == {
            "unanimous": False,
            "share": pytest.approx(2 / 3),
            "votes": [
                {"labels": ["red", "green", "blue"], "variants": ["a", "b"]},
                {"labels": ["red", "green"], "variants": ["c"]},
            ],
        }
        none = client.post("/v1/compare?threshold=1", content=encode(PIXELS)).json()
        assert none["agreement"]["votes"] == [{"labels": [], "variants": ["a", "b", "c"]}]


def test_variants_of_a_regression_are_compared_by_their_maximum_difference(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="a", weights=WEIGHTS, task="regression")
    add_artifact(tmp_path, variant="b", weights=WEIGHTS * np.float32(1.5), task="regression")
    with client_of(tmp_path) as client:
        answer = client.post("/v1/compare", content=encode(PIXELS)).json()
        assert answer["agreement"] == {"max_difference": pytest.approx(1.7, abs=1e-5)}


def test_variant_auto_works_for_tasks_without_accuracy(tmp_path: Path) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant, weights=WEIGHTS, task="multi-label")
    with client_of(tmp_path) as client:
        answer = classify(client, "variant=auto&threshold=0.7")
        assert (answer["variant"], len(answer["predictions"])) == ("a", 2)
        assert answer["selection"]["considered"][0]["top1"] is None


@pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])
def test_protocol_v2_states_the_task_and_returns_the_raw_output(tmp_path: Path, task: Task) -> None:
    add_artifact(tmp_path, weights=WEIGHTS, task=task)
    request: dict[str, Any] = {
        "inputs": [{"name": "image", "shape": [1, 8, 6, 3], "datatype": "UINT8", "data": PIXELS.ravel().tolist()}]
    }
    with client_of(tmp_path) as client:
        config = client.get("/v2/models/colours/config").json()
        assert config["parameters"] == {"task": {"string_value": task}, "activation": {"string_value": "none"}}
        (output,) = client.post("/v2/models/colours/infer", json=request).json()["outputs"]
        assert output["data"] == pytest.approx(LOGITS, abs=1e-5)
        request["outputs"] = [{"name": "logits", "parameters": {"classification": 2}}]
        answer = client.post("/v2/models/colours/infer", json=request)
        if task == "regression":
            assert answer.status_code == 400
            assert "colours/mean/1 is a regression" in answer.json()["error"]
        else:
            best = answer.json()["outputs"][0]["data"]
            assert [text.split(":")[1:] for text in best] == [["0", "red"], ["1", "green"]]


def test_a_variant_whose_task_differs_from_its_models_is_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path, variant="b", task="multi-label")
    add_artifact(tmp_path, model="other", variant="b", task="multi-label")
    with client_of(tmp_path) as client:
        answer = client.get("/v1/models").json()
        assert [(found["model"], found["task"]) for found in answer["models"]] == [
            ("colours", "single-label"),
            ("other", "multi-label"),
        ]
        (refused,) = answer["refused"]
        assert refused["name"] == "colours/b/1"
        assert "its task is multi-label, but that of the served colours/a/1 is single-label" in refused["reason"]


@pytest.mark.parametrize(
    ("task", "activation"),
    [("single-label", "sigmoid"), ("multi-label", "softmax"), ("regression", "softmax")],
)
def test_a_manifest_whose_task_contradicts_the_activation_is_refused(
    tmp_path: Path, task: Task, activation: Activation
) -> None:
    with pytest.raises((ManifestError, ValueError), match=f"a final {activation} contradicts task {task}"):
        add_artifact(tmp_path, task=task, activation=activation)


def test_the_sigmoid_of_large_logits_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1000, -50, 0, 50, 1000], np.float32)).tolist() == pytest.approx(
            [0, math.exp(-50), 0.5, 1, 1], rel=1e-6
        )
