"""Loading of repositories: damaged artifacts are refused by name, and the others are served."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from fastapi.testclient import TestClient

from artifact import Manifest
from artifact.hashing import describe_file
from service import backends
from service.app import create_app
from service.catalogue.loading import load_catalogue
from service.problems.errors import BackendUnavailableError, RepositoryError
from service.settings import Settings
from tests.service.artifacts import MEAN, STD, WEIGHTS, add_artifact
from tests.service.counting import CountingBackend
from tests.service.pictures import encode, random_pixels

pytestmark = pytest.mark.slow


def change_a_byte(path: Path) -> None:
    graph = path / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")


def break_json(path: Path) -> None:
    (path / "manifest.json").write_text("{")


def drop_a_file(path: Path) -> None:
    (path / "labels.txt").unlink()


def change_the_format(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))


def delete_all_files(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def rename_the_version(path: Path) -> None:
    path.rename(path.with_name("2"))


def rename_the_version_to_v1(path: Path) -> None:
    path.rename(path.with_name("v1"))


def rename_the_variant(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def test_an_artifact_that_resizes_images_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    preprocess = {"resize": (60_000, 60_000), "crop": (8, 6), "interpolation": "bicubic", "mean": MEAN, "std": STD}
    add_artifact(tmp_path, variant="large", preprocess=preprocess)
    with TestClient(create_app(Settings(repository=tmp_path))) as client:
        (refused,) = client.get("/v1/models").json()["refused"]
        assert refused["name"] == "colours/large/1"
        assert "resize of 60000×60000 pixels is over the limit of 50000000 pixels" in refused["reason"]
        assert client.post("/v1/classify", content=encode(random_pixels())).status_code == 200


@pytest.mark.parametrize(
    ("damage", "name", "reason"),
    [
        (change_a_byte, "colours/bad/1", "model.onnx is not the file the manifest describes"),
        (break_json, "colours/bad/1", "manifest.json is not JSON"),
        (drop_a_file, "colours/bad/1", "labels.txt is missing"),
        (change_the_format, "colours/bad/1", "format 2 is unknown"),
        (delete_all_files, "colours/bad/1", "manifest.json is missing"),
        (rename_the_version, "colours/bad/2", "its manifest says colours/bad/1"),
        (rename_the_version_to_v1, "colours/bad/v1", "its manifest says colours/bad/1"),
        (rename_the_variant, "colours/elsewhere/1", "its manifest says colours/bad/1"),
    ],
)
def test_a_damaged_artifact_is_refused_by_name_and_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], name: str, reason: str
) -> None:
    add_artifact(tmp_path, variant="good")
    add_artifact(tmp_path, variant="bad")
    damage(tmp_path / "colours/bad/1")
    with TestClient(create_app(Settings(repository=tmp_path))) as client:
        (refused,) = client.get("/v1/models").json()["refused"]
        assert refused["name"] == name
        assert reason in refused["reason"]
        assert str(tmp_path) not in refused["reason"]
        errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 1
        assert errors[0].startswith(f"refused artifact {name}: ")
        assert reason in errors[0]
        answer = client.post("/v1/classify", content=encode(random_pixels()))
        assert answer.json()["variant"] == "good"
        assert client.post("/v1/classify?variant=bad", content=encode(random_pixels())).status_code == 404


def replace_graph(path: Path, manifest: Manifest, content: bytes) -> None:
    """Replace the graph's file, and update its hash in the manifest."""
    (path / "model.onnx").write_bytes(content)
    files = {**manifest.files, "model.onnx": describe_file(path / "model.onnx")}
    (path / "manifest.json").write_text(manifest.model_copy(update={"files": files}).model_dump_json(exclude_none=True))


def test_an_unreadable_graph_is_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="good")
    manifest = add_artifact(tmp_path, variant="bad")
    replace_graph(tmp_path / "colours/bad/1", manifest, b"not onnx")
    (refused,) = load_catalogue(Settings(repository=tmp_path)).refused
    assert refused.name == "colours/bad/1"
    assert re.search("ONNX Runtime cannot read the graph|OpenVINO cannot read colours/bad/1/model.onnx", refused.reason)


@pytest.mark.parametrize("given", ["absolute", "relative", "link"])
@pytest.mark.parametrize("damage", ["graph", "file", "byte"])
def test_a_reason_contains_the_artifacts_name_but_not_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, damage: str
) -> None:
    repository = tmp_path / "secret" / "repository"
    add_artifact(repository, variant="good")
    manifest = add_artifact(repository, variant="bad")
    if damage == "graph":
        replace_graph(repository / "colours/bad/1", manifest, b"not onnx")
    elif damage == "file":
        drop_a_file(repository / "colours/bad/1")
    else:
        change_a_byte(repository / "colours/bad/1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("secret/repository")
    paths = {"absolute": repository, "relative": Path("secret/repository"), "link": Path("link")}
    (refused,) = load_catalogue(Settings(repository=paths[given])).refused
    assert "colours/bad/1" in refused.reason
    for part in ("secret", "repository/", "link/", str(tmp_path)):
        assert part not in refused.reason


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"dtype": "float32"}, "graph's input is [('image', 'float32', [3, 8, 6])]"),
        ({"weights": WEIGHTS[:, :3]}, "graph's output is [('logits', 'float32', [3])]"),
        ({"output": "scores"}, "graph's output is [('scores', 'float32', [4])]"),
    ],
)
def test_a_graph_that_differs_from_its_manifest_is_refused(tmp_path: Path, other: dict[str, Any], reason: str) -> None:
    add_artifact(tmp_path, variant="good")
    manifest = add_artifact(tmp_path, variant="bad")
    add_artifact(tmp_path / "elsewhere", **other)
    graph = (tmp_path / "elsewhere/colours/mean/1/model.onnx").read_bytes()
    replace_graph(tmp_path / "colours/bad/1", manifest, graph)
    refused = {found.name: found.reason for found in load_catalogue(Settings(repository=tmp_path)).refused}
    assert reason in refused["colours/bad/1"]


def test_a_graph_that_loads_but_does_not_run_is_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="good")
    add_artifact(tmp_path, variant="bad", logits="unrunnable")
    (refused,) = load_catalogue(Settings(repository=tmp_path)).refused
    assert refused.name == "colours/bad/1"
    assert re.search("(ONNX Runtime failed while running|OpenVINO cannot run) the graph", refused.reason)


def test_an_artifact_whose_minimum_batch_is_2_is_refused(tmp_path: Path) -> None:
    made = add_artifact(tmp_path, variant="good")
    pairs = made.input.model_copy(update={"batch": made.input.batch.model_copy(update={"min": 2})})
    add_artifact(tmp_path, variant="pairs", input=pairs.model_dump())
    (refused,) = load_catalogue(Settings(repository=tmp_path)).refused
    assert "smallest batch is 2" in refused.reason


def test_every_version_is_warmed_at_startup_and_closed_at_shutdown(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CountingBackend.batches.clear()
    CountingBackend.closed.clear()
    monkeypatch.setitem(backends.BACKENDS, "counting", ("tests.service.counting", "CountingBackend"))
    everything = ["colours/float/1", "colours/mean/1", "colours/mean/2", "colours/mean/10", "colours/nan/1"]
    with TestClient(create_app(Settings(repository=repository, backend="counting", threads=3))) as client:
        assert CountingBackend.batches == {key: [1, 8] for key in everything}
        answer = client.post("/v1/classify?variant=float", content=encode(random_pixels())).json()
        assert answer["backend"] == "counting-abacus-3"
        assert CountingBackend.batches == {key: [1, 8] + [1] * (key == "colours/float/1") for key in everything}
        assert CountingBackend.closed == []
    assert CountingBackend.closed == everything


def test_a_repository_without_a_usable_artifact_stops_the_start(tmp_path: Path) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)
        change_a_byte(tmp_path / "colours" / variant / "1")
    with pytest.raises(RepositoryError, match=r"none of the 2 artifacts .* colours/a/1, because: .*model.onnx"):
        load_catalogue(Settings(repository=tmp_path))


def test_an_unknown_default_model_stops_the_start(repository: Path) -> None:
    with pytest.raises(RepositoryError, match="'birds' is unknown; known: colours; choose another --default-model"):
        load_catalogue(Settings(repository=repository, default_model="birds"))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"device": "cuda"}, "no CUDAExecutionProvider"),
        ({"device": "tensorrt"}, "no TensorrtExecutionProvider"),
        ({"device": "npu"}, "device 'npu' is unknown; known: auto, cpu, cuda, tensorrt"),
        ({"backend": "tensorflow"}, "backend 'tensorflow' is unknown; known: auto, openvino, onnxruntime"),
        ({"backend": "openvino", "device": "cuda"}, "device 'cuda' is not available: OpenVINO runs on the CPU"),
        ({"cpu_precision": "fp8"}, "CPU precision 'fp8' is unknown; known: auto, fp32, bf16"),
        ({"cpu_precision": "bf16"}, "ONNX Runtime has no bf16 on the CPU; choose .*--backend openvino"),
    ],
)
def test_an_unavailable_backend_or_device_stops_the_start(
    repository: Path, settings: dict[str, str], reason: str
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and settings["device"] in {"cuda", "tensorrt"}:
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(BackendUnavailableError, match=reason):
        load_catalogue(Settings.model_validate({"repository": repository, "backend": "onnxruntime", **settings}))


def test_a_backend_that_is_not_installed_is_reported(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(backends.BACKENDS, name, ("service.backends.not_there", "Nothing"))
    for name in ("auto", "onnxruntime", "openvino"):
        with pytest.raises(BackendUnavailableError, match=r"No module named 'service\.backends\.not_there'"):
            load_catalogue(Settings(repository=repository, backend=name))
