"""Refusals of `python export/to_triton.py` and their remedies."""

from collections.abc import Callable
from pathlib import Path

import pytest

from export.process.command import FAILED
from tests.artifact.trees import tree_of
from tests.export.triton_repository.repositories import add_version_with_other_classes, image, run, with_engine
from tests.service.artifacts import add_artifact

COSINE = {"mean": 0.9999, "min": 0.9999, "limit": 0.999}


def damage(path: Path) -> None:
    graph = path / "colours" / "mean" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")


def misplace(path: Path) -> None:
    (path / "colours" / "float").rename(path / "colours" / "moved")


def add_version_with_another_size(path: Path) -> None:
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
    (misplace, (), "its manifest is for colours/float/1; move the directory to that path"),
    (add_version_with_other_classes, (), "differ in the outputs (4; 3)"),
    (add_version_with_another_size, (), "differ in the input"),
    (lambda path: add_artifact(path, "colours", "mean.image"), (), "would both be named colours.mean.image"),
    (
        lambda path: (add_artifact(path, "a", "b.c"), add_artifact(path, "a.b", "c")),
        (),
        "the network of a/b.c and the network of a.b/c would both be named a.b.c",
    ),
    (lambda path: add_artifact(path, "m" * 128, "v" * 127), (), "has 256 characters"),
    (lambda path: add_artifact(path, version=2**63), (), "the largest version in Triton is 9223372036854775807"),
    (lambda path: add_artifact(path, variant="many", input=image(2, 8)), (), "export it again with --batch 1:8"),
    (bf16, (), "choose --device gpu or --backend openvino"),
    (bf16, ("--accelerator", "tensorrt"), "export it with --precision fp32 or fp16 or int8"),
    (lambda _: None, ("--backend", "tensorrt"), "has no engine; build one with python export/to_tensorrt.py"),
    (
        lambda path: with_engine(path, flavour="rtx", library="TensorRT-RTX", gpu=None, targets=("8.6",)),
        ("--backend", "tensorrt", "--variants", "built"),
        "has an engine of TensorRT-RTX, which Triton's backend cannot read",
    ),
    (lambda _: None, ("--models", "birds"), "model 'birds' is not in the repository; it has colours"),
    (lambda _: None, ("--variants", "mean,man"), "variant 'man' is not in the repository; it has float, mean"),
    (lambda _: None, ("--backend", "openvino", "--device", "gpu"), "--backend openvino runs on cpu, not on gpu"),
    (
        lambda _: None,
        ("--accelerator", "tensorrt", "--device", "cpu"),
        "--accelerator tensorrt runs on gpu, not on cpu",
    ),
    (lambda _: None, ("--accelerator", "tensorrt", "--backend", "openvino"), "requires --backend onnxruntime"),
]


@pytest.mark.parametrize(("change", "flags", "reason"), REFUSED, ids=[reason[:40] for *_, reason in REFUSED])
def test_artifacts_that_triton_cannot_serve_are_refused_and_nothing_is_written(
    change: Callable[[Path], object],
    flags: tuple[str, ...],
    reason: str,
    artifacts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(artifacts)
    before = tree_of(tmp_path)
    assert run(artifacts, tmp_path / "triton", *flags) == FAILED
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert reason in printed.err
    assert printed.out == ""
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("repository", ["missing", "empty"])
def test_a_repository_without_artifacts_is_refused(
    repository: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / repository, tmp_path / "triton") == FAILED
    assert "python export/to_onnx.py SOURCE --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", [("--instances", "0"), ("--batch-delay-ms", "-1"), ("--batch-delay-ms", "inf"), ("--variants", "a,,b")]
)
def test_values_out_of_range_are_usage_errors(flags: tuple[str, ...], artifacts: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(artifacts, tmp_path / "triton", *flags)
    assert ended.value.code == 2
