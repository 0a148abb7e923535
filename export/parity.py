"""Whether the exported graph computes what the network computes.

The reference is the original network in float64, on random images. The error is relative to the largest logit: single
logits may be near zero.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from artifact import Batch, Parity
from export.bake import Normalisation
from export.errors import ExportError, ParityError

BATCHES = (1, 2, 3, 7)
TOLERANCE = 1e-5
"""float32 keeps 7 digits; a dozen layers lose one or two of them. A wrong bias or order costs all of them."""

_SEED = 0


def check_parity(
    network: nn.Module,
    graph: Path,
    image_size: tuple[int, int],
    normalisation: Normalisation,
    *,
    takes_pixels: bool,
    batch: Batch,
    tolerance: float = TOLERANCE,
) -> Parity:
    """Run both on the same random images, at batches 1, 2, 3 and 7 as far as `batch` allows, and compare.

    Args:
        network: takes normalised float images [B, 3, height, width].
        graph: the ONNX file; takes uint8 [B, height, width, 3] if `takes_pixels`, else what the network takes.
        image_size: (height, width) in pixels.
        normalisation: how pixels become what the network takes.
        tolerance: limit on max abs error over max abs logit.

    Raises:
        ParityError: the error is above the tolerance, or a logit is not finite.
        ExportError: ONNX Runtime cannot load or run the graph.
    """
    session = _open(graph)
    reference = copy.deepcopy(network).double()
    generator = torch.Generator().manual_seed(_SEED)
    batches = [size for size in BATCHES if batch.min <= size <= batch.max] or [batch.min]
    expected, found = [], []
    for size in batches:
        pixels = torch.randint(0, 256, (size, *image_size, 3), dtype=torch.uint8, generator=generator)
        normalised = normalise(pixels, normalisation)
        with torch.no_grad():
            expected.append(reference(normalised).numpy())
        found.append(_run(session, pixels if takes_pixels else normalised.float()))
    return compare(np.concatenate(expected), np.concatenate(found), batches, tolerance)


def normalise(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """Map uint8 [B, height, width, 3] to float64 [B, 3, height, width]: (pixel / 255 − mean) / std."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (normalisation.mean, normalisation.std))
    return ((pixels.double() / 255 - mean) / std).permute(0, 3, 1, 2)


def compare(
    expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any], batches: Sequence[int], tolerance: float
) -> Parity:
    """Return how far two sets of logits [images, classes] are apart.

    Raises:
        ParityError: too far, not finite, or not of one shape.
    """
    if expected.shape != found.shape:
        raise ParityError(f"the graph yields logits {found.shape}, the network {expected.shape}")
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        raise ParityError("logits are not finite; check the weights")
    if not expected.any():
        raise ParityError("all logits of the network are zero, so nothing can be compared; check the weights")
    worst = float(np.abs(expected - found).max())
    relative = worst / float(np.abs(expected).max())
    if relative > tolerance:
        raise ParityError(
            f"the graph's logits are off by {relative:.1e} of the largest logit, tolerance {tolerance:.0e}; "
            "please report this with the command you ran"
        )
    return Parity(
        reference="torch float64",
        batches=tuple(batches),
        max_abs_error=worst,
        max_rel_error=relative,
        top1_agreement=float((expected.argmax(axis=1) == found.argmax(axis=1)).mean()),
        tolerance=tolerance,
    )


def _open(graph: Path) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        raise ExportError(f"ONNX Runtime cannot load the exported graph: {error}") from error


def _run(session: ort.InferenceSession, image: Tensor) -> np.ndarray[Any, Any]:
    try:
        logits = session.run(["logits"], {"image": image.numpy()})[0]
    except Exception as error:
        raise ExportError(f"ONNX Runtime cannot run the exported graph at batch {len(image)}: {error}") from error
    assert isinstance(logits, np.ndarray)
    return logits
