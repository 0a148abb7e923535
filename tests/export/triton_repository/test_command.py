"""Files written by `python export/to_triton.py`."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from artifact.manifest import MANIFEST_NAME
from export.process.command import DONE, FAILED
from tests.artifact.trees import tree_of
from tests.export.triton_repository.repositories import add_version_with_other_classes, image, run, with_engine
from tests.service.artifacts import add_artifact

SCRIPT = Path(__file__).parents[3] / "export" / "to_triton.py"


def test_every_variant_becomes_a_network_and_an_ensemble_with_a_shared_preprocessing_model(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_artifact(artifacts, variant="other")  # with the preprocessing of mean
    assert run(artifacts, tmp_path / "triton", "--json") == DONE
    written = json.loads(capsys.readouterr().out)
    pixels = {network["name"]: network["pixels"] for network in written["networks"]}
    assert pixels["colours.mean"] == pixels["colours.other"] != pixels["colours.float"]
    models = {path.name for path in (tmp_path / "triton").iterdir() if path.is_dir()}
    networks = {"colours.mean", "colours.float", "colours.other"}
    assert models == {*networks, *(f"{name}.image" for name in networks), *pixels.values()}
    assert [network["versions"] for network in written["networks"]] == [[1], [1, 2, 10], [1]]


def test_versions_are_those_of_the_artifacts_and_the_ensemble_runs_the_newest(artifacts: Path, tmp_path: Path) -> None:
    assert run(artifacts, tmp_path / "triton", "--quiet") == DONE
    network, ensemble = tmp_path / "triton" / "colours.mean", tmp_path / "triton" / "colours.mean.image"
    for version in ("1", "2", "10"):
        for file in ("model.onnx", MANIFEST_NAME):
            original = artifacts / "colours" / "mean" / version / file
            assert (network / version / file).read_bytes() == original.read_bytes()
    assert {path.name for path in network.iterdir()} == {"1", "2", "10", "config.pbtxt", "labels.txt"}
    assert {path.name for path in ensemble.iterdir()} == {"10", "config.pbtxt", "labels.txt"}
    assert "model_version: 10" in (ensemble / "config.pbtxt").read_text()
    assert (network / "labels.txt").read_text() == "red\ngreen\nblue\ngrey\n"


def test_external_weights_are_copied_and_files_that_the_graph_does_not_need_are_not(tmp_path: Path) -> None:
    from artifact import stage
    from tests.artifact.drafts import LABELS, draft

    with stage(tmp_path / "artifacts", "pets", "learned", 1) as staging:
        staging.graph.write_bytes(b"graph")
        (staging.directory / "model.onnx.data").write_bytes(b"weights")
        (staging.directory / "report.html").write_bytes(b"report")
        staging.commit(draft(), LABELS)
    assert run(tmp_path / "artifacts", tmp_path / "triton", "--quiet") == DONE
    version = tmp_path / "triton" / "pets.learned" / "1"
    assert {path.name for path in version.iterdir()} == {"model.onnx", "model.onnx.data", MANIFEST_NAME}


def test_an_engine_becomes_the_plan_and_its_best_batch_is_preferred(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_engine(tmp_path / "artifacts")
    assert run(tmp_path / "artifacts", tmp_path / "triton", "--json", "--backend", "tensorrt") == DONE
    network = tmp_path / "triton" / "colours.built"
    assert {path.name for path in (network / "1").iterdir()} == {"model.plan", MANIFEST_NAME}
    assert (network / "1" / "model.plan").read_bytes() == b"engine"
    config = (network / "config.pbtxt").read_text()
    for line in ('backend: "tensorrt"', "max_batch_size: 16", "preferred_batch_size: [8]", "kind: KIND_GPU"):
        assert line in config
    (written,) = json.loads(capsys.readouterr().out)["networks"]
    assert written["notes"] == ["the engine requires TensorRT 11.0.1 and NVIDIA L4 in Triton"]


def test_names_and_newest_select_artifacts(artifacts: Path, tmp_path: Path) -> None:
    add_artifact(artifacts, model="birds", variant="mean")
    output = tmp_path / "triton"
    assert (
        run(artifacts, output, "--quiet", "--models", "colours", "--variants", "mean", "--versions", "newest") == DONE
    )
    names = {path.name for path in output.iterdir() if not path.name.startswith("colours.pixels-")}
    assert names == {"colours.mean", "colours.mean.image", "requirements.txt"}
    assert not (output / "colours.mean" / "2").exists()


def test_the_python_model_contains_its_code_and_lists_its_requirements(artifacts: Path, tmp_path: Path) -> None:
    assert run(artifacts, tmp_path / "triton", "--quiet", "--variants", "mean", "--resizer", "pillow") == DONE
    (pixels,) = (tmp_path / "triton").glob("colours.pixels-*")
    assert {"model.py", "imaging", "artifact", MANIFEST_NAME} == {path.name for path in (pixels / "1").iterdir()}
    assert not list(pixels.rglob("__pycache__"))
    names = [line.partition("==")[0] for line in (tmp_path / "triton" / "requirements.txt").read_text().splitlines()]
    assert names == ["pillow", "pydantic"]


@pytest.mark.slow
def test_the_script_runs_from_anywhere_and_prints_a_table(artifacts: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(artifacts), "--output", str(tmp_path / "triton")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (DONE, "")
    assert "colours.mean" in ended.stdout
    assert "1, 2, 10" in ended.stdout
    assert "pillow==" in ended.stdout


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(artifacts: Path, tmp_path: Path) -> None:
    before = tree_of(tmp_path)
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(artifacts), "--output", str(tmp_path / "new" / "triton")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )
    assert ended.returncode == FAILED
    assert "error: no space to write" in ended.stderr
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("inside", ["", "triton", "colours/triton"])
def test_an_output_inside_of_the_repository_is_refused(
    inside: str, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree_of(artifacts)
    assert run(artifacts, artifacts / inside) == FAILED
    assert "whose server would take it for a model; give an --output outside of it" in capsys.readouterr().err
    assert tree_of(artifacts) == before


@pytest.mark.parametrize("kind", ["directory", "file", "broken link"])
def test_an_existing_output_is_not_changed(
    kind: str, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "triton"
    make: dict[str, Callable[[], None]] = {
        "directory": output.mkdir,
        "file": output.touch,
        "broken link": lambda: output.symlink_to("missing"),
    }
    make[kind]()
    before = output.lstat()
    assert run(artifacts, output) == FAILED
    assert "already exists; give another --output, or remove it first" in capsys.readouterr().err
    assert output.lstat().st_ino == before.st_ino
    assert {path.name for path in tmp_path.iterdir()} == {"artifacts", "triton"}


def test_the_newest_of_incompatible_versions_can_be_exported_alone(artifacts: Path, tmp_path: Path) -> None:
    add_version_with_other_classes(artifacts)
    assert run(artifacts, tmp_path / "triton", "--quiet", "--versions", "newest") == DONE
    assert (tmp_path / "triton" / "colours.mean" / "labels.txt").read_text() == "red\ngreen\nblue\n"


def test_an_artifact_for_one_image_and_multi_label_models_get_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_artifact(tmp_path / "artifacts", variant="single", input=image(1, 1))
    add_artifact(tmp_path / "artifacts", variant="many", task="multi-label")
    assert run(tmp_path / "artifacts", tmp_path / "triton", "--json") == DONE
    written = json.loads(capsys.readouterr().out)["networks"]
    notes = {network["name"]: network["notes"] for network in written}
    assert len({network["pixels"] for network in written}) == 2  # one takes a batch, the other has none
    assert notes["colours.single"] == ["the graph has batch size 1, so requests are not batched"]
    assert notes["colours.many"][0].startswith("multi-label: Triton's classification has no threshold")
