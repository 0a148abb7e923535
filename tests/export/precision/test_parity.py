"""Parity of lower precisions: limits on cosine and top-1 agreement."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from artifact import Parity
from export.precision.emulate import run_lowered
from export.precision.half import HALVES, ToHalf
from export.process.errors import ExportError, ParityError
from export.tracing.pixels import Normalisation
from export.verify.parity import Limits, check_lowered, cosine
from export.verify.reference import Reference
from export.write.saving import save_graph
from tests.export.precision.hand_made import graph, node

PIXELS = torch.randint(0, 256, (6, 1, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IDENTITY = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
WEIGHT = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
LIMITS = Limits(0.9999, 1.0)
SINGLE = Parity(
    reference="torch float64",
    batches=(6,),
    max_abs_error=1e-7,
    max_rel_error=1e-7,
    top1_agreement=1,
    tolerance=1e-5,
)


def reference(noise: float = 0.0) -> Reference:
    """Return the reference of a linear network with WEIGHT, perturbed by random numbers times `noise`."""
    images = PIXELS.double().permute(0, 3, 1, 2).reshape(6, 12).numpy() / 255
    other = np.random.default_rng(1).normal(size=WEIGHT.shape)
    return Reference((PIXELS,), IDENTITY, images @ (WEIGHT + noise * other), "torch float64")


def half_graph(half: ir.DataType, file: Path, large: float = 1.0) -> Path:
    nodes = [
        node("Reshape", ["image", "sizes"], ["flat"]),
        node("Mul", ["flat", "large"], ["enlarged"]),
        node("Mul", ["enlarged", "small"], ["reduced"]),
        node("MatMul", ["reduced", "weight"], ["logits"]),
    ]
    numbers = {"large": np.array(large, np.float32), "small": np.array(1 / large, np.float32)}
    model = graph(nodes, (3, 1, 4), (5,), sizes=np.array([-1, 12], np.int64), weight=WEIGHT, **numbers)
    ToHalf(half)(model)
    save_graph(model, file)
    return file


def check(precision: str, file: Path, expected: Reference, limits: Limits = LIMITS) -> Parity:
    runs = run_lowered(precision, file, expected, takes_pixels=False)
    return check_lowered(precision, runs, expected, SINGLE, limits, None)


@pytest.mark.parametrize(("precision", "runs"), [("fp16", ("emulated", "native")), ("bf16", ("emulated",))])
def test_a_graph_passes_and_records_how_it_was_run(precision: str, runs: tuple[str, ...], tmp_path: Path) -> None:
    file = half_graph(HALVES[precision], tmp_path / "model.onnx")
    parity = check(precision, file, reference(), LIMITS)
    assert parity.runs == runs
    assert parity.cosine is not None
    assert LIMITS.cosine < parity.cosine.min <= parity.cosine.mean < 1
    assert (parity.float32_error, parity.tolerance, parity.batches) == (1e-7, 1e-5, (6,))
    assert 1e-5 < parity.max_rel_error < 1e-2
    assert parity.batch_errors == (parity.max_rel_error,)


def test_another_networks_logits_are_refused(tmp_path: Path) -> None:
    file = half_graph(HALVES["fp16"], tmp_path / "model.onnx")
    with pytest.raises(ParityError, match=r"mean cosine 0\.\d+, limit 0\.9999 \(--min-cosine\)"):
        check("fp16", file, reference(noise=0.3), LIMITS)
    with pytest.raises(ParityError, match=r"top-1 agreement .*limit 100\.00% \(--min-agreement\)"):
        check("fp16", file, reference(noise=3), Limits(0, 1))


def test_an_overflow_is_refused_even_if_the_native_run_hides_it(tmp_path: Path) -> None:
    file = half_graph(HALVES["fp16"], tmp_path / "model.onnx", large=60000)
    images = torch.full_like(PIXELS, 255)
    bright = Reference((images,), Normalisation((0, 0, 0), (0.1, 0.1, 0.1)), reference().logits, "torch float64")
    with pytest.raises(ParityError, match="not finite"):
        check("fp16", file, bright, LIMITS)


def test_an_invalid_graph_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"no graph")
    with pytest.raises(ExportError, match="ONNX Runtime cannot load"):
        check("int8", file, reference(), LIMITS)


def test_cosine_is_that_of_the_angle_between_rows() -> None:
    rows = np.array([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    others = np.array([[6.0, 8.0], [0.0, 5.0], [-1.0, -1.0], [1.0, 0.0]])
    np.testing.assert_allclose(cosine(rows, others), [1, 0, -1, 0], atol=1e-15)
