"""Graph rewrites: one a file, behind onnx_ir's pass interface, which says whether the graph was changed.

A new pass is a file and a line in `run_passes`. Passes that onnx_ir has are used as they are.
"""

import onnx_ir as ir
from onnx_ir.passes import common

from export.passes.fold_constants import FoldConstants
from export.passes.lay_out_constants import LayOutConstants


def run_passes(model: ir.Model) -> None:
    """Rewrite `model` itself: nothing constant is left to compute, nothing is stored twice, no build paths remain."""
    ir.passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        FoldConstants(),
        LayOutConstants(),
        common.DeduplicateHashedInitializersPass(size_limit=2**40),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),  # torch leaves the source's paths and stack traces in them
    )(model)


__all__ = ["FoldConstants", "LayOutConstants", "run_passes"]
