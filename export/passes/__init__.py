"""Graph rewrites behind onnx_ir's pass interface, each in its own file or folder. A pass returns whether it modified.

A new pass is a file and a line here. Passes that onnx_ir has are used as they are.
"""

from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter

from export.passes.compute_what_is_read import ComputeWhatIsRead
from export.passes.cut_constants import Cut, cuts
from export.passes.exact import RoundConstants
from export.passes.fold_batch_norms import FoldBatchNorms
from export.passes.fold_constants import FoldConstants
from export.passes.fold_norms import FoldNorms
from export.passes.fold_rotations import FoldRotations
from export.passes.fold_scales import FoldScales
from export.passes.fold_shifts import FoldShifts
from export.passes.lay_out_constants import LayOutConstants
from export.passes.merged import Merged, merged
from export.passes.movement import AssignTokenOrders, ComposeMovement, Rewritten
from export.passes.pad_instead_of_concat import PadInsteadOfConcat
from export.passes.remove_no_ops import RemoveNoOps
from export.passes.sweep import Declined, FoldingPass
from export.passes.unbroadcast import Unbroadcast

_SHAPES = 1024
"""Elements of the largest constant to fold at first: shapes are smaller. Weights are larger, and two graphs would each
make a copy of them."""


class Folded(NamedTuple):
    """Outcome for constants, by name.

    Attributes:
        merged: those that hold the sum of several.
        changed: those that something was folded into, these aside.
        gone: those that were folded into others, these aside.
        declined: nodes that were not folded, and why.
    """

    merged: tuple[Merged, ...]
    changed: frozenset[str]
    gone: frozenset[str]
    declined: tuple[Declined, ...]


class Prepared(NamedTuple):
    """Result of the passes on a graph.

    Attributes:
        folded: outcome for constants.
        cuts: what is left of constants of which only a part is read.
        moved: outcome for chains of data movement.
    """

    folded: Folded
    cuts: tuple[Cut, ...]
    moved: tuple[Rewritten, ...]


def prepare(model: ir.Model, batch: int | None = None) -> Prepared:
    """Rewrite a graph whose batch is still a number, so that as little as possible in it depends on that number.

    Args:
        model: all its sizes are numbers.
        batch: the one that it was traced with, if that is to be freed; no other size is a multiple of it then.
    """
    FoldConstants({"Transpose"})(model)  # weights as products read them, under the names that they had
    optimizer.fold_constants(model, onnx_shape_inference=True, input_size_limit=_SHAPES, output_size_limit=_SHAPES)
    ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        RemoveNoOps(),
        Unbroadcast(),
        PadInsteadOfConcat(),
    )(model)
    folded = fold(model, batch)
    ir.passes.Sequential(
        ComputeWhatIsRead(batch),
        RemoveNoOps(),
        common.RemoveUnusedNodesPass(),
    )(model)
    left = tuple(cuts(model))  # before their names go: an index that is composed with others is another constant
    return Prepared(folded, left, move(model, batch))


def fold(model: ir.Model, batch: int | None = None) -> Folded:
    """Fold what is affine into weights, in float64; see `prepare`."""
    before, rounding = _names_read(model), RoundConstants()
    # Shifts that are declined at first are folded after scales, or declined again.
    rotations, norms, scales, shifts = FoldRotations(batch), FoldNorms(), FoldScales(), FoldShifts(batch)
    constants, batch_norms = FoldConstants({"Reshape", "Transpose"}), FoldBatchNorms()
    ir.passes.Sequential(
        constants,
        rotations,
        batch_norms,
        norms,
        FoldShifts(batch),
        scales,
        shifts,
        rounding,
        common.RemoveUnusedNodesPass(),
    )(model)
    sums = tuple(merged(model))
    of_sums = {name for names, _ in sums for name in names}
    gone = before - _names_read(model) - of_sums
    folding: tuple[FoldingPass, ...] = (constants, rotations, batch_norms, norms, scales, shifts)
    declined = tuple(node for one in folding for node in one.declined)
    return Folded(sums, frozenset(rounding.folded) - of_sums, frozenset(gone), declined)


def move(model: ir.Model, batch: int | None = None) -> tuple[Rewritten, ...]:
    """Compose what only moves data, and choose in which order tokens are stored; see `prepare`.

    Returns:
        The outcome for each chain. Those that stay as they are count where they are looked at last.
    """
    first, second = ComposeMovement(batch), ComposeMovement(batch)
    ir.passes.Sequential(
        first,
        common.RemoveUnusedNodesPass(),
        AssignTokenOrders(batch),
        common.RemoveUnusedNodesPass(),
        second,
        common.RemoveUnusedNodesPass(),
    )(model)
    return (*(chain for chain in first.report if not chain.reason), *second.report)


def _names_read(model: ir.Model) -> set[str]:
    return {name for name, value in model.graph.initializers.items() if value.uses()}


def clean_up(model: ir.Model) -> None:
    """Rewrite a graph so that nothing constant is left to compute, nothing is stored twice, no build paths remain."""
    rewriter.rewrite(model)  # joins reshapes, and batch norms with the convolutions before them
    ir.passes.Sequential(
        FoldConstants(),
        common.IdentityEliminationPass(),
        LayOutConstants(),
        common.DeduplicateHashedInitializersPass(size_limit=2**40),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),  # torch leaves the source's paths and stack traces in them
    )(model)


__all__ = ["Cut", "Folded", "Merged", "Prepared", "clean_up", "fold", "prepare"]
