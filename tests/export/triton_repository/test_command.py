"""`python export/to_triton.py`: what is written, and what is refused with which remedy."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from artifact.manifest import MANIFEST_NAME
from export.process.command import DONE, FAILED
from export.to_triton import main
from tests.artifact.trees import tree_of
from tests.service.artifacts import WEIGHTS, add_artifact

SCRIPT = Path(__file__).parents[3] / "export" / "to_triton.py"
COSINE = {"mean": 0.9999, "min": 0.9999, "limit": 0.999}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifacts")
    for version in (1, 2, 10):
        add_artifact(path, variant="mean", version=version)
    add_artifact(path, variant="float", dtype="float32")
    return path


@pytest.fixture
def artifacts(made: Path, tmp_path: Path) -> Path:
    """`colours`: mean in versions 1, 2 and 10, and float; a copy that a test may change."""
    return shutil.copytree(made, tmp_path / "artifacts")


def run(repository: Path, output: Path, *flags: str) -> int:
    return main([str(repository), "--output", str(output), *flags])


def test_every_variant_becomes_a_network_an_ensemble_and_shares_a_model_for_its_pixels(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_artifact(artifacts, variant="other")  # sees the same pixels as mean
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


def test_weights_beside_the_graph_are_copied_and_what_the_graph_does_not_need_is_not(tmp_path: Path) -> None:
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
    assert written["notes"] == [
        "the engine is for TensorRT 11.0.1 and NVIDIA L4: Triton's image and GPU must be the same"
    ]


def test_names_and_newest_choose_among_the_artifacts(artifacts: Path, tmp_path: Path) -> None:
    add_artifact(artifacts, model="birds", variant="mean")
    output = tmp_path / "triton"
    assert (
        run(artifacts, output, "--quiet", "--models", "colours", "--variants", "mean", "--versions", "newest") == DONE
    )
    names = {path.name for path in output.iterdir() if not path.name.startswith("colours.pixels-")}
    assert names == {"colours.mean", "colours.mean.image", "requirements.txt"}
    assert not (output / "colours.mean" / "2").exists()


def test_the_python_model_brings_its_code_and_names_what_pip_installs(artifacts: Path, tmp_path: Path) -> None:
    assert run(artifacts, tmp_path / "triton", "--quiet", "--variants", "mean", "--resizer", "pillow") == DONE
    (pixels,) = (tmp_path / "triton").glob("colours.pixels-*")
    assert {"model.py", "imaging", "artifact", MANIFEST_NAME} == {path.name for path in (pixels / "1").iterdir()}
    assert not list(pixels.rglob("__pycache__"))
    names = [line.partition("==")[0] for line in (tmp_path / "triton" / "requirements.txt").read_text().splitlines()]
    assert names == ["pillow", "pydantic"]


def test_the_script_runs_from_anywhere_and_prints_a_table(artifacts: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(artifacts), "--output", str(tmp_path / "triton")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (DONE, "")
    assert "colours.mean" in ended.stdout
    assert "1, 2, 10" in ended.stdout
    assert "pillow==" in ended.stdout


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
    assert "error: no room to write" in ended.stderr
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("kind", ["directory", "file", "broken link"])
def test_an_output_that_exists_is_left_alone(
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
    assert "is already there; name another --output, or remove it first" in capsys.readouterr().err
    assert output.lstat().st_ino == before.st_ino
    assert {path.name for path in tmp_path.iterdir()} == {"artifacts", "triton"}


def damage(path: Path) -> None:
    graph = path / "colours" / "mean" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")


def misplace(path: Path) -> None:
    (path / "colours" / "float").rename(path / "colours" / "moved")


def one_has_other_classes(path: Path) -> None:
    add_artifact(path, variant="mean", version=11, weights=np.ascontiguousarray(WEIGHTS[:, :3]))


def one_has_another_size(path: Path) -> None:
    add_artifact(path, variant="mean", version=11, size=(4, 4))


def bf16(path: Path) -> None:
    add_artifact(path, variant="low", precision="bf16", parity=lower_parity())


def lower_parity() -> dict[str, object]:
    return {
        "reference": "NumPy",
        "batches": (1, 2),
        "max_abs_error": 0.0,
        "max_rel_error": 0.0,
        "top1_agreement": 1.0,
        "tolerance": 1e-5,
        "cosine": COSINE,
        "float32_error": 0.0,
    }


REFUSED: list[tuple[Callable[[Path], object], tuple[str, ...], str]] = [
    (damage, (), "is not the file the manifest describes"),
    (misplace, (), "its manifest says colours/float/1; move the directory there"),
    (one_has_other_classes, (), "differ in the outputs (4; 3)"),
    (one_has_another_size, (), "differ in the input"),
    (lambda path: add_artifact(path, "colours", "mean.image"), (), "would both be called colours.mean.image"),
    (
        lambda path: (add_artifact(path, "a", "b.c"), add_artifact(path, "a.b", "c")),
        (),
        "the network of a/b.c and the network of a.b/c would both be called a.b.c",
    ),
    (lambda path: add_artifact(path, "m" * 128, "v" * 127), (), "has 256 characters"),
    (lambda path: add_artifact(path, version=2**63), (), "Triton's versions end at 9223372036854775807"),
    (lambda path: add_artifact(path, variant="many", input=image(2, 8)), (), "export it again with --batch 1:8"),
    (bf16, (), "choose --device gpu or --backend openvino"),
    (bf16, ("--accelerator", "tensorrt"), "export it with --precision fp32 or fp16 or int8"),
    (lambda _: None, ("--backend", "tensorrt"), "has no engine; build one with python export/to_tensorrt.py"),
    (
        lambda path: with_engine(path, flavour="rtx", library="TensorRT-RTX", gpu=None, targets=("8.6",)),
        ("--backend", "tensorrt", "--variants", "built"),
        "has an engine of TensorRT-RTX, which Triton's backend does not read",
    ),
    (lambda _: None, ("--models", "birds"), "model 'birds' is not in the repository; it has colours"),
    (lambda _: None, ("--variants", "mean,man"), "variant 'man' is not in the repository; it has float, mean"),
    (lambda _: None, ("--backend", "openvino", "--device", "gpu"), "--backend openvino runs on cpu, not on gpu"),
    (
        lambda _: None,
        ("--accelerator", "tensorrt", "--device", "cpu"),
        "--accelerator tensorrt runs on gpu, not on cpu",
    ),
    (lambda _: None, ("--accelerator", "tensorrt", "--backend", "openvino"), "is one of ONNX Runtime's"),
]


def with_engine(path: Path, **changes: object) -> None:
    """Write an artifact `built` with an engine of any bytes, for batches 1 to 16."""
    engine = {
        "file": "model.engine",
        "library": "TensorRT",
        "version": "11.0.1",
        "flavour": "tensorrt",
        "gpu": {"name": "NVIDIA L4", "compute_capability": "8.9"},
        "profile": {"min": 1, "opt": 8, "max": 16},
        "settings": {},
        "seconds": 1.0,
    }
    found = {"engine": {**engine, **changes}, "input": image(1, 16), "target": "tensorrt"}
    add_artifact(path, variant="built", files={"model.engine": b"engine"}, **found)  # type: ignore[arg-type]


def image(smallest: int, largest: int) -> dict[str, object]:
    sides = {"name": "image", "dtype": "uint8", "layout": "NHWC", "height": 8, "width": 6}
    return {**sides, "batch": {"min": smallest, "max": largest}}


@pytest.mark.parametrize(("change", "flags", "said"), REFUSED, ids=[said[:40] for *_, said in REFUSED])
def test_what_triton_cannot_take_is_refused_and_nothing_is_written(
    change: Callable[[Path], object],
    flags: tuple[str, ...],
    said: str,
    artifacts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(artifacts)
    before = tree_of(tmp_path)
    assert run(artifacts, tmp_path / "triton", *flags) == FAILED
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert said in printed.err
    assert printed.out == ""
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("repository", ["missing", "empty"])
def test_a_repository_without_artifacts_is_refused(
    repository: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / repository, tmp_path / "triton") == FAILED
    assert "python export/to_onnx.py SOURCE --output" in capsys.readouterr().err


def test_versions_that_differ_are_exported_by_the_newest_alone(artifacts: Path, tmp_path: Path) -> None:
    one_has_other_classes(artifacts)
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
    assert notes["colours.single"] == ["the graph takes one image at a time, so requests are not batched"]
    assert notes["colours.many"][0].startswith("multi-label: Triton's classification has no threshold")


@pytest.mark.parametrize(
    "flags", [("--instances", "0"), ("--batch-delay-ms", "-1"), ("--batch-delay-ms", "inf"), ("--variants", "a,,b")]
)
def test_values_out_of_range_are_usage_errors(flags: tuple[str, ...], artifacts: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(artifacts, tmp_path / "triton", *flags)
    assert ended.value.code == 2
