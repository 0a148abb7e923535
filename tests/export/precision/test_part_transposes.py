"""The Reshape between Transpose and MatMul that keeps ONNX Runtime from crashing on some float16 graphs."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from export.precision.half import ToHalf
from export.precision.part_transposes import PartTransposes
from export.write.saving import save_graph
from tests.export.precision.hand_made import graph, node, run

IMAGE = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype(np.float32)


def transposed(perm: list[int], out: tuple[int, ...], inner: int) -> ir.Model:
    nodes = [
        node("Transpose", ["image"], ["moved"], perm=perm),
        node("MatMul", ["moved", "weight"], ["product"]),
        node("Gelu", ["product"], ["logits"]),
    ]
    weight = np.random.default_rng(1).normal(size=(inner, 6)).astype(np.float32)
    return graph(nodes, (2, 3, 4), out, weight=weight)


def loads(file: Path) -> bool:
    script = f"import onnxruntime; onnxruntime.InferenceSession({str(file)!r})"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def moving_first() -> ir.Model:
    model = transposed([1, 2, 0, 3], (3, 2, 6), 4)
    model.graph.outputs[0].shape = model.graph.outputs[0].producer().inputs[0].shape  # type: ignore[union-attr]
    return model


@pytest.mark.slow
def test_a_graph_with_the_reshape_is_loaded(tmp_path: Path) -> None:
    model = moving_first()
    ToHalf(ir.DataType.FLOAT16)(model)
    assert PartTransposes()(model).modified
    save_graph(model, tmp_path / "model.onnx")
    assert loads(tmp_path / "model.onnx")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the crashing optimiser exists on x86-64 only")
@pytest.mark.slow
def test_a_graph_without_the_reshape_crashes_the_process(tmp_path: Path) -> None:
    """ONNX Runtime's bug; once fixed, this test fails and the pass can be removed."""
    model = moving_first()
    ToHalf(ir.DataType.FLOAT16)(model)
    save_graph(model, tmp_path / "model.onnx")
    assert not loads(tmp_path / "model.onnx")


def test_the_reshape_changes_no_number() -> None:
    model = moving_first()
    before = run(model, IMAGE)
    PartTransposes()(model)
    np.testing.assert_array_equal(run(model, IMAGE), before)


def test_other_transposes_are_not_changed() -> None:
    assert not PartTransposes()(transposed([0, 2, 1, 3], (3, 2, 6), 4)).modified
    assert not PartTransposes()(transposed([0, 1, 3, 2], (2, 4, 6), 3)).modified
