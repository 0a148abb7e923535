"""Golden file of an artifact: images and logits of the parity reference, and error limits for backends.

The images are calibration images if there are any, otherwise synthetic images.
"""

from pathlib import Path

import numpy as np

from artifact import Golden, Parity
from artifact.golden import GOLDEN_LIMIT
from artifact.parts.values import RunPrecision
from export.verify.reference import GOLDEN_IMAGES, Array, Reference

FP32_LIMIT = 1e-4
"""Limit for fp32: ten times the parity tolerance, because other processors and runtimes sum in another order."""

MARGIN = 3.0
"""Ratio of the limit to the measured parity, because runtimes round different intermediate results. Measured (3 digits
networks, Swin-T, ViT-S, Swin v2-T, in OpenVINO): up to 1.9 times the parity for bf16, 1.1 times for int8."""

ROUNDING: dict[RunPrecision, float] = {"tf32": 6e-3, "fp16": 6e-3, "bf16": 5e-2}
"""Addition to the limit if a runtime computes in a lower precision than the artifact's. Measured for fp32 artifacts of
the same networks in OpenVINO's bf16: 4e-3 to 1.1e-2. tf32 and fp16 have three more bits. Errors of a wrong graph are
0.1 to 1."""

OMITTED = (
    f"no golden file was written: {GOLDEN_IMAGES} images and their logits take more than {GOLDEN_LIMIT} bytes; "
    "backends are not checked at load"
)


def write_golden(reference: Reference, parity: Parity, precision: str, file: Path) -> Golden | None:
    """Write the golden file, and return its description for the manifest; None if it would be too large.

    Args:
        reference: at least `GOLDEN_IMAGES` images, and the network's logits.
        parity: parity of the artifact's graph with this reference.
        precision: precision of the artifact.
        file: path of the golden file.

    Raises:
        OSError: the file cannot be written.
    """
    chosen = choose_images(reference.logits)
    every = [image.numpy() for images in reference.pixels for image in images]
    pixels, logits = np.stack([every[index] for index in chosen]), reference.logits[chosen].astype("<f8")
    if pixels.nbytes + logits.nbytes > GOLDEN_LIMIT:
        return None
    np.savez(file, pixels=pixels, logits=logits)
    return Golden(file=file.name, images=len(chosen), limits=limits(parity, precision))


def choose_images(logits: Array) -> list[int]:
    """Return the indices of `GOLDEN_IMAGES` evenly spaced rows of logits [images, classes].

    They include the row with the largest logit, so that errors are relative to the same number as in the parity check.
    """
    last = len(logits) - 1
    chosen = [round(number * last / (GOLDEN_IMAGES - 1)) for number in range(GOLDEN_IMAGES)]
    largest = int(np.abs(logits).max(axis=1).argmax())
    nearest = min(range(GOLDEN_IMAGES), key=lambda number: abs(chosen[number] - largest))
    chosen[nearest] = largest
    return sorted(chosen)


def limits(parity: Parity, precision: str) -> dict[RunPrecision, float]:
    """Return the limit on the relative error, rounded to 3 digits, for each precision in which a runtime may compute.

    Args:
        parity: parity of the artifact's graph.
        precision: precision of the artifact: fp32, fp16, bf16 or int8.
    """
    own = max(FP32_LIMIT, parity.tolerance, MARGIN * parity.max_rel_error)
    found: dict[RunPrecision, float] = {"fp32": own}
    for name, added in ROUNDING.items():
        found[name] = own if name == precision else own + added
    if precision == "int8":
        found["int8"] = own
    return {name: float(f"{limit:.3g}") for name, limit in found.items()}
