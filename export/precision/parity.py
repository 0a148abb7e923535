"""Whether a graph in another precision than float32 still says what the network says, and by how much it differs.

The reference is that of `export.parity`, on the calibration images where there are any, else on synthetic pictures.
Cosine: of the angle between the graph's and the network's logits of an image, as vectors; its mean over the images has
the limit, its minimum is stated.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from artifact import Calibration, Cosine, Parity
from export.errors import ExportError, ParityError
from export.parity import Array, Reference, run_graph
from export.precision.emulate import emulate
from export.precision.half import HALVES
from export.saving import save_graph

Run = Literal["native", "emulated"]


@dataclass(frozen=True)
class Limits:
    """What a graph must reach: the mean cosine, and the share of images whose top-1 is the network's."""

    cosine: float
    agreement: float


LIMITS = {"fp16": Limits(0.9999, 0.0), "bf16": Limits(0.999, 0.0), "int8": Limits(0.99, 0.97)}
"""Measured (benchmarks/README.md), 1 − cosine is 2e-6, 1e-4 and 5e-4 at most: the limits leave ten times that and more,
and a wrong bias or an overflow costs all of it. Top-1 of synthetic pictures says nothing, so it has a limit by default
only where images are always given."""


def check_precision(
    precision: str,
    graph: Path,
    reference: Reference,
    single: Parity,
    limits: Limits,
    calibration: Calibration | None,
    *,
    takes_pixels: bool,
) -> Parity:
    """Compare a graph's logits with the reference's; of two runs, state the worse.

    `native` is ONNX Runtime's CPU provider with the graph itself, `emulated` see `export.precision.emulate`: a
    half-precision graph is always emulated, and run natively too if the provider has the kernels.

    Args:
        precision: fp16, bf16 or int8.
        graph: the ONNX file.
        reference: images, and the network's logits of them.
        single: parity of the float32 graph that this one was made from.
        limits: what to reach.
        calibration: what the reference's images are, if they are not random.
        takes_pixels: whether the graph takes uint8.

    Raises:
        ParityError: a limit is missed, or logits are not finite.
        ExportError: ONNX Runtime cannot load or run the graph.
    """
    found: dict[Run, Array] = {}
    if precision in HALVES:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "emulated.onnx"
            save_graph(emulate(ir.load(graph)), copy)
            found["emulated"] = run_graph(copy, reference, takes_pixels=takes_pixels)
    try:
        found["native"] = run_graph(graph, reference, takes_pixels=takes_pixels)
    except ort_errors.NotImplemented as error:
        if not found:
            raise ExportError(f"ONNX Runtime has no kernel for a node of the {precision} graph: {error}") from error
    parities = [_measure(reference, logits, single, limits, precision) for logits in found.values()]
    worst = _worst(parities)
    _refuse_below(worst, limits, precision)
    stated: dict[str, object] = {"runs": tuple(sorted(found)), "calibration": calibration}
    return worst.model_copy(update=stated if calibration is None else stated | {"batch_errors": None})


def _measure(reference: Reference, found: Array, single: Parity, limits: Limits, precision: str) -> Parity:
    if not np.isfinite(found).all():
        raise ParityError(
            f"the {precision} graph yields logits that are not finite, the float32 graph does not: a value leaves the "
            "range of the type; use --precision bf16, whose range is float32's, or fp32"
        )
    cosines = cosine(reference.logits, found)
    return Parity(
        batches=reference.batches,
        tolerance=single.tolerance,
        float32_error=single.max_rel_error,
        cosine=Cosine(mean=float(cosines.mean()), min=float(cosines.min()), limit=limits.cosine),
        agreement_limit=limits.agreement,
        **reference.errors(found),
    )


def cosine(expected: Array, found: Array) -> NDArray[np.float64]:
    """Return, for each row of two [images, classes], the cosine of the angle between them."""
    a, b = expected.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: NDArray[np.float64] = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    return np.clip(products, -1, 1)  # rounding may carry it beyond


def _worst(parities: list[Parity]) -> Parity:
    """Return the parity with, of each figure, the worse one."""
    first = parities[0]
    cosines = [parity.cosine for parity in parities if parity.cosine is not None]
    return first.model_copy(
        update={
            "max_abs_error": max(parity.max_abs_error for parity in parities),
            "max_rel_error": max(parity.max_rel_error for parity in parities),
            "batch_errors": tuple(map(max, zip(*(parity.batch_errors or () for parity in parities), strict=True))),
            "top1_agreement": min(parity.top1_agreement for parity in parities),
            "cosine": Cosine(
                mean=min(each.mean for each in cosines), min=min(each.min for each in cosines), limit=cosines[0].limit
            ),
        }
    )


def misses(reference: Reference, found: Array, limits: Limits) -> list[str]:
    """Return which limits logits [images, classes] miss, in words; none if they are finite and near enough."""
    if not np.isfinite(found).all():
        return ["logits that are not finite"]
    return _misses(float(cosine(reference.logits, found).mean()), reference.agreement(found), limits)


def _misses(mean: float, agreement: float, limits: Limits) -> list[str]:
    missed = []
    if mean < limits.cosine:
        missed.append(f"mean cosine {mean:.6f}, limit {limits.cosine} (--min-cosine)")
    if agreement < limits.agreement:
        missed.append(f"top-1 agreement {agreement:.2%}, limit {limits.agreement:.2%} (--min-agreement)")
    return missed


def _refuse_below(parity: Parity, limits: Limits, precision: str) -> None:
    assert parity.cosine is not None
    if missed := _misses(parity.cosine.mean, parity.top1_agreement, limits):
        raise ParityError(
            f"the {precision} graph is too far from the network: {'; '.join(missed)}. The float32 graph passed "
            f"({parity.float32_error:.1e} of the largest logit): use a wider precision, or lower the limit"
        )
