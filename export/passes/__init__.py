"""Graph rewrites as onnx_ir passes, each in its own file or folder.

A pass returns whether it modified the graph. To add a pass, add a file and a line here.
"""

from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter

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
from export.passes.propagate_slices import PropagateSlices
from export.passes.remove_no_ops import RemoveNoOps
from export.passes.sweep import Declined, FoldingPass
from export.passes.unbroadcast import Unbroadcast

_SHAPES = 1024
"""Elements of the largest constant that onnxscript folds. Shapes are smaller; larger weights would be copied."""


class Folded(NamedTuple):
    """Folded constants, by name.

    Attributes:
        merged: constants that are the sum of several.
        changed: other constants into which scales or shifts were folded.
        gone: other constants that were folded into another one.
        declined: nodes that were not folded, with the reason.
    """

    merged: tuple[Merged, ...]
    changed: frozenset[str]
    gone: frozenset[str]
    declined: tuple[Declined, ...]


class Prepared(NamedTuple):
    """Result of the passes on a graph.

    Attributes:
        folded: folded constants.
        cuts: constants that are cut to the part that is read.
        moved: result for each chain of data movement.
    """

    folded: Folded
    cuts: tuple[Cut, ...]
    moved: tuple[Rewritten, ...]


def prepare(model: ir.Model, batch: int | None = None) -> Prepared:
    """Rewrite a graph with static shapes, so that as few nodes as possible contain the batch size.

    Args:
        model: the graph; its shapes are static.
        batch: the distinctive batch size that it was traced with, of which no other size is a multiple; None if the
            graph keeps its batch size.
    """
    FoldConstants({"Transpose"})(model)  # transposed weights keep their names
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
        PropagateSlices(batch),
        RemoveNoOps(),
        common.RemoveUnusedNodesPass(),
    )(model)
    left = tuple(cuts(model))  # before composed indices replace these constants and their names
    return Prepared(folded, left, move(model, batch))


def fold(model: ir.Model, batch: int | None = None) -> Folded:
    """Fold affine operators into weights, in float64; see `prepare`."""
    before, rounding = _names_read(model), RoundConstants()
    # Folding scales makes more shifts foldable, so shifts are folded before and after them.
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
    """Compose chains of data movement and choose the order in which tokens are stored; see `prepare`.

    Returns:
        The result for each chain; unchanged chains are reported by the second pass only.
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
    """Fold the remaining constant subgraphs, deduplicate constants and remove build paths from a graph."""
    rewriter.rewrite(model)  # fuses consecutive reshapes, and batch norms with preceding convolutions
    ir.passes.Sequential(
        FoldConstants(),
        common.IdentityEliminationPass(),
        LayOutConstants(),
        common.DeduplicateHashedInitializersPass(size_limit=2**40),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),  # torch stores source paths and stack traces in them
    )(model)


__all__ = ["Cut", "Folded", "Merged", "Prepared", "clean_up", "fold", "prepare"]
