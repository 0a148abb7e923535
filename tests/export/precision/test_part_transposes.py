"""float16 graphs with a certain Transpose before a MatMul are loaded by ONNX Runtime, thanks to a Reshape between."""

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
        node("Transpose", ["image"], ["turned"], perm=perm),
        node("MatMul", ["turned", "weight"], ["product"]),
        node("Gelu", ["product"], ["logits"]),
    ]
    weight = np.random.default_rng(1).normal(size=(inner, 6)).astype(np.float32)
    return graph(nodes, (2, 3, 4), out, weight=weight)


def opens(file: Path) -> bool:
    script = f"import onnxruntime; onnxruntime.InferenceSession({str(file)!r})"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def moving_first() -> ir.Model:
    model = transposed([1, 2, 0, 3], (3, 2, 6), 4)
    model.graph.outputs[0].shape = model.graph.outputs[0].producer().inputs[0].shape  # type: ignore[union-attr]
    return model


@pytest.mark.slow
def test_such_a_graph_is_loaded(tmp_path: Path) -> None:
    model = moving_first()
    ToHalf(ir.DataType.FLOAT16)(model)
    assert PartTransposes()(model).modified
    save_graph(model, tmp_path / "model.onnx")
    assert opens(tmp_path / "model.onnx")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the optimiser that crashes is for x86-64")
@pytest.mark.slow
def test_without_the_reshape_it_ends_the_process(tmp_path: Path) -> None:
    """If this fails, ONNX Runtime is fixed, and the pass can go."""
    model = moving_first()
    ToHalf(ir.DataType.FLOAT16)(model)
    save_graph(model, tmp_path / "model.onnx")
    assert not opens(tmp_path / "model.onnx")


def test_the_reshape_changes_no_number() -> None:
    model = moving_first()
    before = run(model, IMAGE)
    PartTransposes()(model)
    np.testing.assert_array_equal(run(model, IMAGE), before)


def test_other_transposes_are_left_alone() -> None:
    assert not PartTransposes()(transposed([0, 2, 1, 3], (3, 2, 6), 4)).modified
    assert not PartTransposes()(transposed([0, 1, 3, 2], (2, 4, 6), 3)).modified
