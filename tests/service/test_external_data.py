"""Weights in an external data file: served as any others, and refused if the file differs from the exported one."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from fastapi.testclient import TestClient

from artifact import Manifest, UnsafePathError, read_artifact
from artifact.hashing import describe_file
from service.app import create_app
from service.catalogue.loading import load_catalogue
from service.settings import Settings
from tests.service.artifacts import LABELS, WEIGHTS, add_artifact, expected_probabilities
from tests.service.pictures import encode, random_pixels

GRAPH, DATA = "model.onnx", "model.onnx.data"
UNRUNNABLE = "ONNX Runtime cannot run the graph|OpenVINO cannot read"


def externalise_weights(path: Path) -> None:
    """Move the weights of an artifact's graph into an external data file, and list it in the manifest."""
    ir.save(ir.load(path / GRAPH), path / GRAPH, external_data=DATA, size_threshold_bytes=WEIGHTS.nbytes - 1)
    assert (path / DATA).stat().st_size == WEIGHTS.nbytes
    update_hashes(path, GRAPH, DATA, "labels.txt")


def update_hashes(path: Path, *names: str) -> None:
    """Update the manifest with the current hashes of these files."""
    file = path / "manifest.json"
    manifest = Manifest.model_validate_json(file.read_text())
    files = {name: describe_file(path / name) for name in names}
    file.write_text(manifest.model_copy(update={"files": files}).model_dump_json(exclude_none=True))


def refer_to(path: Path, location: str) -> None:
    """Change the location of the graph's external data, and delete the original file."""
    graph = onnx.load(path / GRAPH, load_external_data=False)
    (entry,) = [e for tensor in graph.graph.initializer for e in tensor.external_data if e.key == "location"]
    entry.value = location
    (path / GRAPH).write_bytes(graph.SerializeToString())
    (path / DATA).unlink()
    update_hashes(path, GRAPH, "labels.txt")


def test_an_artifact_with_external_weights_is_served(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    externalise_weights(tmp_path / "colours/mean/1")
    pixels = random_pixels(8, 6)
    with TestClient(create_app(Settings(repository=tmp_path))) as client:
        answer = client.post("/v1/classify?top_k=4", content=encode(pixels)).json()
    found = {entry["label"]: entry["probability"] for entry in answer["predictions"]}
    assert found == pytest.approx(dict(zip(LABELS, expected_probabilities(pixels), strict=True)), abs=1e-5)


def delete_data(path: Path) -> None:
    (path / DATA).unlink()


def change_a_byte(path: Path) -> None:
    (path / DATA).write_bytes((path / DATA).read_bytes()[:-1] + b"\x42")


def unlist_data(path: Path) -> None:
    update_hashes(path, GRAPH, "labels.txt")


def delete_and_unlist(path: Path) -> None:
    refer_to(path, DATA)


def refer_to_parent(path: Path) -> None:
    shutil.copy(path / DATA, path.parent / "outside.data")
    refer_to(path, "../outside.data")


def refer_to_absolute_path(path: Path) -> None:
    shutil.copy(path / DATA, path.parent / "outside.data")
    refer_to(path, str(path.parent / "outside.data"))


def location(name: str) -> Callable[[Path], None]:
    return lambda path: refer_to(path, name)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (delete_data, "model.onnx.data is missing"),
        (change_a_byte, "model.onnx.data is not the file the manifest describes"),
        (unlist_data, "model.onnx.data is not listed"),
        (delete_and_unlist, UNRUNNABLE),
        (refer_to_parent, UNRUNNABLE),
        (refer_to_absolute_path, UNRUNNABLE),
        (location("manifest.json"), UNRUNNABLE),
        (location("./manifest.json"), UNRUNNABLE),
        (location(GRAPH), UNRUNNABLE),
    ],
)
def test_changed_external_weights_are_refused(tmp_path: Path, damage: Callable[[Path], None], reason: str) -> None:
    add_artifact(tmp_path, variant="good")
    add_artifact(tmp_path, variant="bad")
    externalise_weights(tmp_path / "colours/bad/1")
    assert load_catalogue(Settings(repository=tmp_path)).refused == ()
    damage(tmp_path / "colours/bad/1")
    (refused,) = load_catalogue(Settings(repository=tmp_path)).refused
    assert refused.name == "colours/bad/1"
    assert re.search(reason, refused.reason)


def test_a_link_to_weights_outside_the_artifact_is_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    path = tmp_path / "colours/mean/1"
    externalise_weights(path)
    shutil.move(path / DATA, tmp_path / "outside.data")
    (path / DATA).symlink_to(tmp_path / "outside.data")
    with pytest.raises(UnsafePathError, match="is outside the artifact"):
        read_artifact(path)
