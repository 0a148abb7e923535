"""Parity: deviation of an exported graph's logits from the reference.

In fp32, the largest error relative to the largest logit is limited, because single logits may be near zero. In fp16,
bf16 and int8, the mean cosine similarity of the graph's and the network's logits is limited, and the minimum reported.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from artifact import Calibration, Cosine, Parity
from export.process.errors import ExportError, ParityError
from export.verify.reference import Array, Reference
from export.verify.sessions import cpu_session

Run = Literal["native", "emulated"]

TOLERANCE = 1e-5
"""Tolerance for fp32, which has 7 digits: a dozen layers lose one or two, a wrong bias or token order all of them."""
UNKNOWN_TOLERANCE = 1e-4
"""Tolerance for networks with an unnamed position encoding: deep convolutions with attention lose another digit, also
in torch's float32."""

_MAX_ROUNDING_RATIO = 4
"""Maximum ratio of the errors of two float32 computations that round differently; a wrong graph exceeds it."""


@dataclass(frozen=True)
class Limits:
    """Lower limits on the mean cosine and on the top-1 agreement with the network."""

    cosine: float
    agreement: float


LIMITS = {"fp16": Limits(0.9999, 0.0), "bf16": Limits(0.999, 0.0), "int8": Limits(0.99, 0.97)}
"""Default limits. The measured 1 − cosine is at most 2e-6, 1e-4 and 5e-4 (benchmarks/README.md), a tenth of the limits
or less; a wrong bias or an overflow exceeds them. Top-1 agreement is limited only for int8, which requires calibration
images: it is meaningless on synthetic images."""


def check_parity(reference: Reference, graph: Path, *, takes_pixels: bool, tolerance: float = TOLERANCE) -> Parity:
    """Run the graph on the reference's images and compare its logits.

    Args:
        reference: reference of the exported network.
        graph: path of the ONNX file.
        takes_pixels: True if the graph's input is uint8 [B, height, width, 3], False if it is the network's.
        tolerance: limit on the largest absolute error over the largest absolute logit.

    Raises:
        ParityError: the error is above the tolerance, or a logit is not finite.
        ExportError: ONNX Runtime cannot load or run the graph.
    """
    return compare(reference, run_graph(graph, reference, takes_pixels=takes_pixels), tolerance)


def run_graph(graph: Path, reference: Reference, *, takes_pixels: bool) -> Array:
    """Return a graph's logits [images, classes] for a reference's images, computed by ONNX Runtime on the CPU.

    Raises:
        NotImplemented: ONNX Runtime has no kernel for a node (`onnxruntime`'s exception).
        ExportError: ONNX Runtime cannot load or run the graph.
    """
    try:
        session = cpu_session(graph)
    except ort_errors.NotImplemented:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ExportError(f"ONNX Runtime cannot load the exported graph: {error}") from error
    found = []
    for images in reference.inputs(takes_pixels=takes_pixels):
        try:
            found.append(session.run(["logits"], {"image": images})[0])
        except Exception as error:
            raise ExportError(f"ONNX Runtime cannot run the exported graph at batch {len(images)}: {error}") from error
    return np.concatenate(found)


def compare(reference: Reference, found: Array, tolerance: float) -> Parity:
    """Compare a float32 graph's logits [images, classes] with the network's.

    Raises:
        ParityError: the logits differ too much, are not finite, do not depend on the image, or have another shape.
    """
    expected, own_error = reference.logits, reference.float32_error
    if expected.shape != found.shape:
        raise ParityError(f"the graph's logits have shape {found.shape}, the network's {expected.shape}")
    if not np.isfinite(expected).all():
        raise ParityError("logits are not finite; check the weights")
    if not np.isfinite(found).all():
        own = "nor are the network's" if own_error == math.inf else "but the network's are"
        raise ParityError(
            f"the graph's logits are not finite in float32, {own}; in float64 the network's are finite, so a value "
            "overflows float32. Check the weights"
        )
    if not expected.any() or (len(expected) > 1 and (expected == expected[0]).all()):
        raise ParityError(
            "the network's logits are equal for all images, so a comparison says nothing about the graph; check the "
            "weights, first those of the last layer"
        )
    errors = reference.errors(found)
    if errors["max_rel_error"] > tolerance:
        raise ParityError(_refusal(errors["max_rel_error"], tolerance, own_error))
    return Parity(batches=reference.batches, tolerance=tolerance, **errors)


def _refusal(relative: float, tolerance: float, float32_error: float | None) -> str:
    if float32_error is not None and (float32_error > tolerance or relative <= _MAX_ROUNDING_RATIO * float32_error):
        return (
            f"float32 is not sufficient for this network: on the images of the check its own float32 logits are off by "
            f"{float32_error:.1e} of the largest logit from its float64 logits, the graph's by {relative:.1e}, "
            f"tolerance {tolerance:.0e}. It amplifies rounding errors, and so any change of an image: check that the "
            "weights are trained and belong to this network; with --random-weights, use another seed"
        )
    own = "" if float32_error is None else f"; the network's own float32 logits are off by {float32_error:.1e}"
    return (
        f"the graph's logits are off by {relative:.1e} of the largest logit, tolerance {tolerance:.0e}{own}; "
        "please report this with the command"
    )


def check_lowered(
    precision: str,
    runs: Mapping[Run, Array],
    reference: Reference,
    single: Parity,
    limits: Limits,
    calibration: Calibration | None,
) -> Parity:
    """Compare the logits of a graph in a lower precision; report the worst of several runs.

    Args:
        precision: fp16, bf16 or int8.
        runs: logits [images, classes] of each run of the graph, see `export.precision.emulate.run_lowered`.
        reference: images, and the network's logits.
        single: parity of the original float32 graph.
        limits: limits on the cosine and the agreement.
        calibration: description of the reference's images, if they are not synthetic.

    Raises:
        ParityError: a limit is not met, or logits are not finite.
    """
    worst = _worst([_measure(reference, logits, single, limits, precision) for logits in runs.values()])
    assert worst.cosine is not None
    if missed := misses(worst.cosine.mean, worst.top1_agreement, limits):
        raise ParityError(
            f"the {precision} graph is too far from the network: {'; '.join(missed)}. The float32 graph passed "
            f"({worst.float32_error:.1e} of the largest logit): use a wider precision, or lower the limit"
        )
    stated: dict[str, object] = {"runs": tuple(sorted(runs)), "calibration": calibration}
    return worst.model_copy(update=stated if calibration is None else stated | {"batch_errors": None})


def _measure(reference: Reference, found: Array, single: Parity, limits: Limits, precision: str) -> Parity:
    if not np.isfinite(found).all():
        raise ParityError(
            f"the {precision} graph's logits are not finite, but the float32 graph's are: a value overflows "
            f"{precision}; use --precision bf16, which has the range of float32, or fp32"
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
    """Return the cosine similarity of each pair of rows of two arrays [images, classes]."""
    a, b = expected.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products: NDArray[np.float64] = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    return np.clip(products, -1, 1)  # rounding may exceed 1


def _worst(parities: list[Parity]) -> Parity:
    """Return a parity with the worst value of each field."""
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


def misses(mean: float, agreement: float, limits: Limits) -> list[str]:
    """Return descriptions of the limits that a mean cosine and a top-1 agreement do not meet."""
    missed = []
    if mean < limits.cosine:
        missed.append(f"mean cosine {mean:.6f}, limit {limits.cosine} (--min-cosine)")
    if agreement < limits.agreement:
        missed.append(f"top-1 agreement {agreement:.2%}, limit {limits.agreement:.2%} (--min-agreement)")
    return missed
