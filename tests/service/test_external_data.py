"""Weights in a file beside the graph: served like any others, and refused where that file is not what was exported."""

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


def take_weights_out(path: Path) -> None:
    """Move the weights of an artifact's graph into a file beside it, which is listed."""
    ir.save(ir.load(path / GRAPH), path / GRAPH, external_data=DATA, size_threshold_bytes=WEIGHTS.nbytes - 1)
    assert (path / DATA).stat().st_size == WEIGHTS.nbytes
    vouch(path, GRAPH, DATA, "labels.txt")


def vouch(path: Path, *names: str) -> None:
    """Let the manifest list these files as they are now."""
    file = path / "manifest.json"
    manifest = Manifest.model_validate_json(file.read_text())
    files = {name: describe_file(path / name) for name in names}
    file.write_text(manifest.model_copy(update={"files": files}).model_dump_json(exclude_none=True))


def refer_to(path: Path, location: str) -> None:
    """Let the graph look for its weights elsewhere, and take away the file beside it."""
    graph = onnx.load(path / GRAPH, load_external_data=False)
    (entry,) = [e for tensor in graph.graph.initializer for e in tensor.external_data if e.key == "location"]
    entry.value = location
    (path / GRAPH).write_bytes(graph.SerializeToString())
    (path / DATA).unlink()
    vouch(path, GRAPH, "labels.txt")


def test_an_artifact_with_its_weights_beside_it_is_served(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    take_weights_out(tmp_path / "colours/mean/1")
    pixels = random_pixels(8, 6)
    with TestClient(create_app(Settings(repository=tmp_path))) as client:
        answer = client.post("/v1/classify?top_k=4", content=encode(pixels)).json()
    found = {entry["label"]: entry["probability"] for entry in answer["predictions"]}
    assert found == pytest.approx(dict(zip(LABELS, expected_probabilities(pixels), strict=True)), abs=1e-5)


def lose(path: Path) -> None:
    (path / DATA).unlink()


def change_a_byte(path: Path) -> None:
    (path / DATA).write_bytes((path / DATA).read_bytes()[:-1] + b"\x42")


def unlist(path: Path) -> None:
    vouch(path, GRAPH, "labels.txt")


def lose_and_unlist(path: Path) -> None:
    refer_to(path, DATA)


def leave_by_dots(path: Path) -> None:
    shutil.copy(path / DATA, path.parent / "outside.data")
    refer_to(path, "../outside.data")


def leave_by_root(path: Path) -> None:
    shutil.copy(path / DATA, path.parent / "outside.data")
    refer_to(path, str(path.parent / "outside.data"))


def point_at(name: str) -> Callable[[Path], None]:
    return lambda path: refer_to(path, name)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lose, "model.onnx.data is missing"),
        (change_a_byte, "model.onnx.data is not the file the manifest describes"),
        (unlist, "model.onnx.data is not listed"),
        (lose_and_unlist, UNRUNNABLE),
        (leave_by_dots, UNRUNNABLE),
        (leave_by_root, UNRUNNABLE),
        (point_at("manifest.json"), UNRUNNABLE),
        (point_at("./manifest.json"), UNRUNNABLE),
        (point_at(GRAPH), UNRUNNABLE),
    ],
)
def test_weights_that_are_not_what_was_exported_are_refused(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    add_artifact(tmp_path, variant="good")
    add_artifact(tmp_path, variant="bad")
    take_weights_out(tmp_path / "colours/bad/1")
    assert load_catalogue(Settings(repository=tmp_path)).refused == ()
    damage(tmp_path / "colours/bad/1")
    (refused,) = load_catalogue(Settings(repository=tmp_path)).refused
    assert refused.name == "colours/bad/1"
    assert re.search(reason, refused.reason)


def test_a_link_to_weights_elsewhere_is_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    path = tmp_path / "colours/mean/1"
    take_weights_out(path)
    shutil.move(path / DATA, tmp_path / "outside.data")
    (path / DATA).symlink_to(tmp_path / "outside.data")
    with pytest.raises(UnsafePathError, match="is outside the artifact"):
        read_artifact(path)
