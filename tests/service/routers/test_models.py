"""GET /v1/models and the routes below it."""

from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from artifact import Accuracy, read_artifact
from service.routers.models import _written
from tests.service.artifacts import LABELS

UNCHECKED = {"status": "unchecked", "precision": None, "images": None, "error": None, "limit": None}


def test_models_lists_variants_with_their_versions_and_details_of_the_newest(
    client: TestClient, backend_name: str
) -> None:
    def variant(name: str, versions: list[int], top1: float | None) -> dict[str, object]:
        accuracy = None if top1 is None else {"dataset": "patches", "top1": top1, "count": 100}
        precisions = {"precision": "fp32", "backend": backend_name, "running_precision": "fp32"}
        facts = {"encoding": "none", **precisions, "accuracy": accuracy, "golden": UNCHECKED}
        return {"variant": name, "versions": versions, **facts}

    colours = {
        "model": "colours",
        "task": "single-label",
        "default_variant": "mean",
        "variants": [variant("float", [1], 0.5), variant("mean", [1, 2, 10], 0.9), variant("nan", [1], None)],
    }
    assert client.get("/v1/models").json() == {
        "default_model": "colours",
        "models": [colours],
        "refused": [],
        "refused_count": 0,
        "loading": [],
    }
    assert client.get("/v1/models/colours").json() == colours


def test_the_details_of_a_variant_are_those_of_its_manifests(
    client: TestClient, repository: Path, backend_name: str
) -> None:
    answer = client.get("/v1/models/colours/variants/mean").json()
    assert (answer["model"], answer["variant"]) == ("colours", "mean")
    assert [facts["version"] for facts in answer["versions"]] == [1, 2, 10]
    for facts in answer["versions"]:
        path = repository / "colours/mean" / str(facts["version"])
        manifest = read_artifact(path).manifest.model_dump(mode="json")
        for name in ("encoding", "architecture", "precision", "target", "source", "input", "output", "preprocess"):
            assert facts[name] == manifest[name]
        for name in ("graph", "baked", "constants", "about", "parity", "accuracy", "tools", "created"):
            assert facts[name] == manifest[name]
        assert facts["golden"] == UNCHECKED
        assert facts["labels"] == list(LABELS)
        assert facts["bytes"] == sum(file.stat().st_size for file in path.rglob("*.*") if "manifest" not in file.name)
        assert facts["backend"] == backend_name
        assert facts["running_precision"] == "fp32"


def test_the_list_is_rendered_once_until_an_accuracy_is_recorded(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    catalogue = app.state.serving.catalogue
    before = client.get("/v1/models").json()
    document = _written[catalogue]
    assert client.get("/v1/models").json() == before
    assert _written[catalogue] is document
    servable = catalogue.find("colours", "nan")
    artifact = servable.artifact
    manifest = artifact.manifest.model_copy(update={"accuracy": Accuracy(dataset="new", top1=0.25, count=8)})
    servable.take_accuracy(replace(artifact, manifest=manifest))
    try:
        (found,) = [
            found
            for found in client.get("/v1/models").json()["models"][0]["variants"]
            if found["accuracy"] and found["accuracy"]["dataset"] == "new"
        ]
        assert found["variant"] == "nan"
    finally:
        servable.take_accuracy(artifact)
    assert client.get("/v1/models").json() == before
