"""The golden file that an export writes, and the command `export/check.py`."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from artifact import Artifact, Batch, GoldenInputs, Parity, read_artifact, read_golden
from export.check import main
from export.verify import golden as golden_module
from export.verify.golden import choose_images, limits, write_golden
from export.verify.reference import compute_reference
from models.sources import Checkpoint, Overrides, load_source
from tests.artifact.golden import vouch
from tests.artifact.hostile import edit
from tests.conftest import DIGITS
from tests.export.verify.test_parity import NORMALISATION, Mixed

PARITY = Parity(
    reference="torch float64",
    batches=(1, 2),
    max_abs_error=1e-6,
    max_rel_error=2e-7,
    top1_agreement=1,
    tolerance=1e-5,
)


def opened(path: Path) -> tuple[Artifact, GoldenInputs]:
    artifact = read_artifact(path)
    golden = read_golden(artifact)
    assert golden is not None
    return artifact, golden


@pytest.fixture
def exported(digits_repository: Path, tmp_path: Path) -> Path:
    """Return a writable copy of an artifact."""
    shutil.copytree(digits_repository / "digits" / "swin-table" / "1", tmp_path / "1")
    return tmp_path / "1"


def test_logits_are_those_of_the_original_network_in_float64(digits_repository: Path) -> None:
    artifact, golden = opened(digits_repository / "digits" / "rope" / "1")
    assert artifact.manifest.golden is not None
    assert artifact.manifest.golden.limits == {"fp32": 1e-4, "tf32": 6.1e-3, "fp16": 6.1e-3, "bf16": 5.01e-2}
    weights = Checkpoint(DIGITS / "checkpoints" / "rope.safetensors")
    loaded = load_source(f"posbake:{DIGITS / 'configs' / 'rope'}.json", weights, Overrides())
    pixels = np.frombuffer(golden.pixels, np.uint8).reshape(golden.shape)
    normalised = (pixels / 255 - np.array(loaded.preprocess.mean)) / np.array(loaded.preprocess.std)
    with torch.no_grad():
        logits = loaded.network.double()(torch.from_numpy(normalised.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(golden.logits, logits.numpy(), rtol=1e-9)


def test_images_have_shapes_and_colours_and_none_is_noise(digits_repository: Path) -> None:
    _, golden = opened(digits_repository / "digits" / "rope" / "1")
    pixels = np.frombuffer(golden.pixels, np.uint8).reshape(golden.shape).astype(float)
    assert len(pixels) == 4
    for image in pixels:
        assert np.corrcoef(image[:, :-1].ravel(), image[:, 1:].ravel())[0, 1] > 0.5  # about 0 for noise
        assert image.std() > 20
        assert abs(image[..., 0] - image[..., 2]).mean() > 5


def test_images_are_spread_evenly_and_have_the_largest_logit() -> None:
    logits = np.random.default_rng(0).uniform(-1, 1, (13, 5))
    logits[8, 2] = -3
    assert choose_images(logits) == [0, 4, 8, 12]
    logits[7, 0] = -4
    assert choose_images(logits) == [0, 4, 7, 12]
    assert choose_images(logits[:4]) == [0, 1, 2, 3]


def test_limits_follow_the_parity_and_the_precision_that_runs() -> None:
    measured = PARITY.model_copy(update={"max_rel_error": 0.02})
    assert limits(PARITY, "fp32")["fp32"] == 1e-4
    assert limits(PARITY.model_copy(update={"tolerance": 3e-4}), "fp32")["fp32"] == 3e-4
    assert limits(measured, "bf16") == pytest.approx({"fp32": 0.06, "tf32": 0.066, "fp16": 0.066, "bf16": 0.06})
    int8 = limits(measured, "int8")
    assert int8 == pytest.approx({"fp32": 0.06, "tf32": 0.066, "fp16": 0.066, "bf16": 0.11, "int8": 0.06})


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (3, 3), (5, 5), (1, 64)])
def test_four_images_are_written_for_any_batch(sizes: tuple[int, int], tmp_path: Path) -> None:
    reference = compute_reference(Mixed(), (2, 2), NORMALISATION, Batch(min=sizes[0], max=sizes[1]))
    golden = write_golden(reference, PARITY, "fp32", tmp_path / "golden.npz")
    assert golden is not None
    assert golden.images == 4
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as written:
        assert written["pixels"].shape == (4, 2, 2, 3)
        assert set(map(tuple, written["logits"])) <= set(map(tuple, reference.logits))


def test_a_golden_file_above_the_size_limit_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = compute_reference(Mixed(), (2, 2), NORMALISATION, Batch(min=1, max=3))
    monkeypatch.setattr(golden_module, "GOLDEN_LIMIT", 4 * 12 + 4 * 8 * 10 - 1)
    assert write_golden(reference, PARITY, "fp32", tmp_path / "golden.npz") is None
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_errors_and_limits(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(exported)]) == 0
    shown = capsys.readouterr().out
    assert "onnxruntime" in shown
    assert "1.0e-04" in shown
    assert f"{exported} reproduces the network's logits" in shown
    assert main([str(exported), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert [(run["batch"], run["precision"], run["passed"]) for run in found["runs"]] == [
        (1, "fp32", True),
        (4, "fp32", True),
    ]
    assert all(0 < run["error"] < 1e-6 for run in found["runs"])


@pytest.mark.parametrize("factor", [1.01, np.nan])
def test_the_command_fails_when_weights_differ(
    factor: float, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(exported / "model.onnx")
    (head,) = (tensor for tensor in model.graph.initializer if tensor.name == "head.weight")
    weight = numpy_helper.to_array(head).copy()
    weight[0, 0] *= np.float32(factor)
    weight[np.unravel_index(np.abs(weight).argmax(), weight.shape)] *= np.float32(factor)
    head.CopyFrom(numpy_helper.from_array(weight, head.name))
    onnx.save(model, exported / "model.onnx")
    assert main([str(exported)]) == 1
    assert "model.onnx is not the file the manifest describes" in capsys.readouterr().err
    vouch(exported, "model.onnx")
    assert main([str(exported)]) == 1
    shown = capsys.readouterr().out
    assert "does not reproduce the network's logits" in shown
    assert ("not finite" in shown) == np.isnan(factor)
    assert main([str(exported), "--json"]) == 1
    assert [run["passed"] for run in json.loads(capsys.readouterr().out)["runs"]] == [False, False]


def test_the_command_reports_a_missing_golden_file(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exported / "golden.npz").unlink()
    edit(exported, lambda manifest: (manifest.pop("golden"), manifest["files"].pop("golden.npz")))
    assert main([str(exported)]) == 1
    assert "has no golden file; export it again" in capsys.readouterr().err


def test_the_command_reports_unreadable_files_and_missing_backends(
    exported: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(exported / "elsewhere")]) == 1
    assert "manifest.json is missing; an artifact is a directory REPOSITORY/MODEL" in capsys.readouterr().err
    (exported / "model.onnx").write_bytes(b"not onnx")
    vouch(exported, "model.onnx")
    assert main([str(exported)]) == 1
    said = capsys.readouterr().err
    assert "error: onnxruntime cannot load the graph" in said
    assert "; choose another --backend" in said
    monkeypatch.setitem(sys.modules, "openvino", None)  # marks the module as not importable
    assert main([str(exported), "--backend", "openvino"]) == 1
    assert "error: backend openvino is not installed" in capsys.readouterr().err
    for wrong in ([], [""], [str(exported), "--backend", "abacus"]):
        with pytest.raises(SystemExit) as raised:
            main(wrong)
        assert raised.value.code == 2


@pytest.mark.parametrize(("requested", "limit"), [("fp32", 1e-4), ("bf16", 5.01e-2)])
def test_the_command_checks_openvino_against_the_limit_of_its_precision(
    requested: str, limit: float, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openvino = pytest.importorskip("openvino")
    supported = requested == "fp32" or "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    status = main([str(exported), "--backend", "openvino", "--precision", requested, "--json"])
    said = capsys.readouterr()
    if not supported:
        assert status == 1
        assert said.err == "error: OpenVINO does not compute in bf16 on this CPU, but in fp32; omit --precision\n"
        return
    assert status == 0
    assert {(run["precision"], run["limit"]) for run in json.loads(said.out)["runs"]} == {(requested, limit)}


def test_the_command_refuses_a_precision_that_the_backend_does_not_choose(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(exported), "--precision", "fp16"]) == 1
    assert "onnxruntime computes in the precision of the graph; omit --precision" in capsys.readouterr().err
