"""Baking: everything that does not depend on the image is computed once, here.

A network of ours is re-hosted in an inference form, a module written for running rather than for reading. A new
architecture is a file and a line in `INFERENCE_FORMS`. Any other network is taken as it is: `export.evaluation`
computes what it can while the network is traced.
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from artifact import Baked
from export.bake.doubled import read_in_float64
from export.bake.layers import Normalisation
from export.bake.native import NativeForm, report_constants
from export.bake.report import Report, as_stored
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

    Constants are computed in float64. Nothing is shared: later changes of `network` do not reach the inference form. A
    network without one is returned behind the same input, sharing its tensors, and nothing is said of it yet.

    Args:
        network: in eval mode.
        pixels: how pixels are normalised, to be folded into the form, whose input is then uint8 [B, height, width, 3];
            None leaves the input as the network's, float32 [B, 3, height, width].

    Raises:
        ExportError: the network is in train mode.
    """
    training = next((name for name, module in network.named_modules() if module.training), None)
    if training is not None:
        whole = f"its module {training}" if training else "the network"
        raise ExportError(f"{whole} is in train mode; call .eval() on the network before exporting it")
    form = INFERENCE_FORMS.get(type(network))
    if form is None:
        return NativeForm(network, pixels).eval(), ()
    report: Report = []
    with read_in_float64(network) as doubled:
        baked = form(doubled, pixels, report)
    _copy_what_is_shared(baked, doubled)
    return baked.float().eval().requires_grad_(requires_grad=False), tuple(report)


def _copy_what_is_shared(baked: nn.Module, doubled: nn.Module) -> None:
    """Give the inference form copies of the layers that it took over as they are."""
    theirs = set(doubled.modules())
    for parent in list(baked.modules()):
        if parent not in theirs:
            for name, child in list(parent.named_children()):
                if child in theirs:
                    setattr(parent, name, copy.deepcopy(child))


__all__ = ["INFERENCE_FORMS", "NativeForm", "Normalisation", "as_stored", "bake", "report_constants"]
