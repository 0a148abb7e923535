"""Baking: everything that does not depend on the image is computed once, here.

A network is re-hosted in an inference form, a module written for running rather than for reading. A new architecture is
a file and a line in `INFERENCE_FORMS`.
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from artifact import Baked
from export.bake.layers import Normalisation
from export.bake.report import Report
from export.bake.swin import InferenceSwin
from export.bake.vit import InferenceViT
from export.errors import ExportError
from models import Swin, ViT

INFERENCE_FORMS: dict[type[nn.Module], Callable[[Any, Normalisation | None, Report], nn.Module]] = {
    Swin: InferenceSwin,
    ViT: InferenceViT,
}


def bake(network: nn.Module, pixels: Normalisation | None) -> tuple[nn.Module, tuple[Baked, ...]]:
    """Return the network's inference form, in float32, and what became of its position work.

    Constants are computed in float64 from a copy: later changes of `network` do not reach the inference form.

    Args:
        network: in eval mode.
        pixels: how pixels are normalised, to be folded into the form, whose input is then uint8 [B, height, width, 3];
            None leaves the input as the network's, float32 [B, 3, height, width].

    Raises:
        ExportError: the network is in train mode, or no inference form is known for it.
    """
    if network.training:
        raise ExportError("the network is in train mode; call .eval() before exporting it")
    try:
        form = INFERENCE_FORMS[type(network)]
    except KeyError:
        known = ", ".join(sorted(cls.__name__ for cls in INFERENCE_FORMS))
        raise ExportError(f"no inference form for {type(network).__name__}; there is one for {known}") from None
    report: Report = []
    baked = form(copy.deepcopy(network).double(), pixels, report)
    return baked.float().eval().requires_grad_(requires_grad=False), tuple(report)


__all__ = ["INFERENCE_FORMS", "Normalisation", "bake"]
