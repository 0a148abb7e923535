"""The command `export/to_tensorrt.py`, on a fake TensorRT with a GPU and on TensorRT-RTX without one."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from artifact import read_artifact, read_golden
from artifact.hashing import describe_file
from engines import build_engine
from export.engine import pipeline
from export.to_tensorrt import main
from tests.engines.fake_tensorrt import FakeTensorRt
from tests.engines.fakes import fake_gpu as fake_gpu
from tests.engines.fakes import forget
from tests.engines.rtx import rtx_or_skip
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.waiting import wait_until

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), np.uint8)


def add(repository: Path, *, golden: bool = True) -> Path:
    """Write an fp32 artifact with a golden file, and return its directory."""
    logits = IMAGES.astype(np.float64).mean(axis=(1, 2)) @ WEIGHTS.astype(np.float64)
    file = io.BytesIO()
    np.savez(file, pixels=IMAGES, logits=logits)
    described = {"file": "golden.npz", "images": 4, "limits": {"fp32": 1e-4, "fp16": 1e-2}}
    if golden:
        add_artifact(repository, files={"golden.npz": file.getvalue()}, golden=described)
    else:
        add_artifact(repository)
    directory = repository / "colours/mean/1"
    model = onnx.shape_inference.infer_shapes(onnx.load(directory / "model.onnx"))  # with types, as in exports
    (node,) = (node for node in model.graph.node if node.op_type == "MatMul")
    node.name = "node_matmul"
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'head', 'node_matmul']")
    onnx.save(model, directory / "model.onnx")
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = describe_file(directory / "model.onnx").model_dump()
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_an_engine_and_its_graph_are_written_as_a_new_artifact(
    tmp_path: Path, fake_gpu: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    source = add(tmp_path / "from")
    options = ("--batch", "1:4:16", "--workspace", "1.5", "--optimization-level", "5", "--version-compatible")
    assert run(source, "--output", tmp_path / "to", *options, "--report", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["path"] == str(tmp_path / "to/colours/mean-fp16-tensorrt/1")
    assert result["layers"] == {"layers": 2, "attention": 1, "precisions": {"fp16": 1, "fp32": 1}, "constant_bytes": 16}
    built = read_artifact(tmp_path / "to/colours/mean-fp16-tensorrt/1")
    manifest, engine = built.manifest, built.manifest.engine
    assert engine is not None
    assert (manifest.target, manifest.precision) == ("tensorrt", "fp16")
    assert (engine.library, engine.version, engine.flavour) == ("TensorRT", "10.16.1", "tensorrt")
    assert engine.gpu is not None
    assert (engine.gpu.name, engine.gpu.compute_capability, engine.targets) == ("Fake GPU", "8.9", ())
    assert (str(engine.profile), manifest.input.batch.max) == ("1:4:16", 16)
    assert engine.settings.workspace_bytes == 1.5 * 2**30
    assert (engine.settings.optimization_level, engine.settings.version_compatible) == (5, True)
    assert manifest.tools["tensorrt"] == "10.16.1"
    assert set(manifest.files) == {"model.onnx", "model.engine", "golden.npz", "labels.txt", "engine.json"}
    assert [layer["precision"] for layer in json.loads((built.path / "engine.json").read_text())] == ["fp16", "fp32"]
    (config,) = fake_gpu.configs
    assert config.flags == {FakeTensorRt.BuilderFlag.VERSION_COMPATIBLE}  # TF32 is off
    assert config.profile.shapes == {"image": [[1, 8, 6, 3], [4, 8, 6, 3], [16, 8, 6, 3]]}
    assert built.labels == read_artifact(source).labels
    assert read_golden(built) == read_golden(read_artifact(source))


def test_the_graph_is_strongly_typed_and_its_parity_is_measured_again(tmp_path: Path, fake_gpu: FakeTensorRt) -> None:  # noqa: ARG001
    source = add(tmp_path)
    for precision, dtype in (("fp16", onnx.TensorProto.FLOAT16), ("bf16", onnx.TensorProto.BFLOAT16)):
        assert run(source, "--output", tmp_path, "--precision", precision, "--quiet") == 0
        built = read_artifact(tmp_path / f"colours/mean-{precision}-tensorrt/1")
        stored = {tensor.data_type for tensor in onnx.load(built.graph).graph.initializer if tensor.dims == [3, 4]}
        assert stored == {dtype}
        parity = built.manifest.parity
        assert parity.cosine is not None
        assert 0 < parity.max_rel_error < 0.02
        assert parity.float32_error == read_artifact(source).manifest.parity.max_rel_error
        assert built.manifest.accuracy is None


def test_the_artifacts_own_precision_is_kept_without_a_comparison(tmp_path: Path, fake_gpu: FakeTensorRt) -> None:  # noqa: ARG001
    source = add(tmp_path, golden=False)
    assert run(source, "--output", tmp_path, "--precision", "fp32", "--quiet") == 0
    built = read_artifact(tmp_path / "colours/mean-tensorrt/1")
    assert built.graph.read_bytes() == read_artifact(source).graph.read_bytes()
    assert built.manifest.parity == read_artifact(source).manifest.parity


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--precision", "int8"],
            "int8 requires images for calibration: export the network with python export/to_onnx",
        ),
        (["--batch", "1:8:100"], "is outside the batch sizes of .*, 1 to 64; choose sizes in this range"),
        (["--variant", "No Name"], "'No Name' is not a valid variant name"),
        (["--min-cosine", "1"], "the fp16 graph is too far from the network"),
        (["--flavour", "rtx"], "TensorRT-RTX is not available: .*; install it with pip install"),
    ],
)
def test_a_refused_request_is_one_sentence_and_leaves_no_artifact(
    tmp_path: Path,
    fake_gpu: FakeTensorRt,  # noqa: ARG001
    options: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engines.library.importlib.util.find_spec", lambda _name: None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    source = add(tmp_path / "from")
    assert run(source, "--output", tmp_path / "to", *options) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert re.search(reason, message), message
    assert not (tmp_path / "to").exists()


@pytest.mark.slow
def test_help_and_usage_errors_come_before_onnx_is_imported(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "export" / "to_tensorrt.py"

    def status(*arguments: str) -> int:
        return subprocess.run([sys.executable, str(script), *arguments], cwd=tmp_path, check=False).returncode

    assert status("--help") == 0
    for wrong in (
        ["artifact"],
        ["artifact", "--output", "x", "--batch", "8:1:4"],
        ["artifact", "--output", "x", "--batch", "1:4"],
        ["artifact", "--output", "x", "--workspace", "0"],
        ["artifact", "--output", "x", "--optimization-level", "6"],
    ):
        assert status(*wrong) == 2
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_the_error_names_the_flavour_that_needs_none(
    tmp_path: Path, fake_gpu: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gpu.cuda.devices = 0
    assert run(add(tmp_path), "--output", tmp_path) == 1
    assert "choose --flavour rtx, which builds without a GPU" in capsys.readouterr().err


def test_a_refused_node_is_named_with_its_module_and_the_parsers_reason(
    tmp_path: Path, fake_gpu: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    source = add(tmp_path)
    fake_gpu.refused = {"MatMul"}
    assert run(source, "--output", tmp_path / "to", "--precision", "fp32") == 1
    message = capsys.readouterr().err
    assert "MatMul node_matmul of module head: Assertion failed: it is not supported; change these modules" in message


def test_an_interrupted_build_stops_and_leaves_no_artifact(
    tmp_path: Path, fake_gpu: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = add(tmp_path / "from")
    steps: list[int] = []

    def interrupt(cancelled: Callable[[], bool], _phase: str, done: int, _of: int) -> None:
        steps.append(done)
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)
            wait_until(cancelled)  # the main thread handles the signal

    build = build_engine
    monkeypatch.setattr(
        pipeline,
        "build_engine",
        lambda library, graph, options, gpu, _, cancelled: build(
            library, graph, options, gpu, partial(interrupt, cancelled), cancelled
        ),
    )
    assert run(source, "--output", tmp_path / "to", "--precision", "fp32") == 130
    assert max(steps) < 3
    assert fake_gpu.builds == []
    assert not (tmp_path / "to").exists()


def test_the_timing_cache_is_read_and_written(
    tmp_path: Path, fake_gpu: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    source, file = add(tmp_path), tmp_path / "timing"
    options = ("--output", tmp_path, "--precision", "fp32", "--timing-cache", file, "--quiet")
    for builds in (1, 2):
        assert run(source, *options) == 0
        assert file.read_bytes() == b"cache" + b" of one more build" * builds
    file.write_bytes(b"another")
    assert run(source, *options) == 1
    assert "is not a timing cache of this library on this GPU" in capsys.readouterr().err
    assert len(fake_gpu.builds) == 2


@pytest.mark.slow
@pytest.mark.rtx
def test_tensorrt_rtx_builds_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forget()
    rtx_or_skip()
    assert run(add(tmp_path), "--output", tmp_path, "--flavour", "rtx") == 0
    shown = capsys.readouterr().out
    for text in ("TensorRT-RTX 1.", "built without a GPU, for compute capability 8.0, 8.6", "strongly typed", "layers"):
        assert text in shown
    built = read_artifact(tmp_path / "colours/mean-fp16-rtx/1")
    assert built.manifest.engine is not None
    assert built.manifest.engine.gpu is None
    assert (built.path / "model.engine").stat().st_size > 1000
    for option in ("--version-compatible", "--timing-cache=file"):
        assert run(tmp_path / "colours/mean/1", "--output", tmp_path, "--flavour", "rtx", option) == 1
        assert f"omit {option.partition('=')[0]}" in capsys.readouterr().err
