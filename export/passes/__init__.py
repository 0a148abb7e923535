"""Graph rewrites as onnx_ir passes, each in its own file or folder.

A pass returns whether it modified the graph. To add a pass, add a file and a line here.
"""

from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter

from export.passes.exact import RoundConstants
from export.passes.fold_batch_norms import FoldBatchNorms
from export.passes.fold_constants import FoldConstants, LayOutConstants
from export.passes.fold_norms import FoldNorms
from export.passes.fold_rotations import FoldRotations
from export.passes.fold_scales import FoldScales
from export.passes.fold_shifts import FoldShifts
from export.passes.fuse_attention import FuseAttention
from export.passes.movement import AssignTokenOrders, ComposeMovement, Rewritten
from export.passes.pad_before_max_pool import PadBeforeMaxPool
from export.passes.pad_instead_of_concat import PadInsteadOfConcat
from export.passes.propagate_slices import PropagateSlices
from export.passes.remove_no_ops import RemoveNoOps
from export.passes.sweep import Declined, FoldingPass
from export.passes.unbroadcast import Unbroadcast
from export.passes.values import made_from, name_after_sources

_SHAPES = 1024
"""Elements of the largest constant that onnxscript folds. Shapes are smaller; larger weights would be copied."""


class Prepared(NamedTuple):
    """Result of the passes on a graph.

    Attributes:
        gone: names of the constants that were folded into others.
        declined: nodes that were not folded, with the reason.
        moved: result for each chain of data movement.
    """

    gone: frozenset[str]
    declined: tuple[Declined, ...]
    moved: tuple[Rewritten, ...]


def prepare(model: ir.Model, batch: int | None = None, *, fuses_attention: bool = False) -> Prepared:
    """Rewrite a graph with static shapes, so that as few nodes as possible contain the batch size.

    Args:
        model: the graph; its shapes are static.
        batch: the distinctive batch size that it was traced with, of which no other size is a multiple; None if the
            graph keeps its batch size.
        fuses_attention: whether attention becomes Attention of opset 23.
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
    before = _sources_read(model)
    declined = fold(model, batch)
    gone = before - _sources_read(model)
    ir.passes.Sequential(
        PropagateSlices(batch),
        PadBeforeMaxPool(),
        RemoveNoOps(),
        common.RemoveUnusedNodesPass(),
    )(model)
    moved = move(model, batch)
    if fuses_attention:
        fusing = FuseAttention()
        ir.passes.Sequential(fusing, common.RemoveUnusedNodesPass())(model)
        declined += tuple(fusing.declined)
    name_after_sources(model)
    return Prepared(frozenset(gone), declined, moved)


def fold(model: ir.Model, batch: int | None = None) -> tuple[Declined, ...]:
    """Fold affine operators into weights, in float64, and return the nodes that were not folded; see `prepare`."""
    # Folding scales makes more shifts foldable, so shifts are folded before and after them.
    folding: tuple[FoldingPass, ...] = (
        FoldConstants({"Reshape", "Transpose"}),
        FoldRotations(batch),
        FoldBatchNorms(),
        FoldNorms(),
        FoldScales(),
        FoldShifts(batch),
    )
    ir.passes.Sequential(
        *folding[:4], FoldShifts(batch), *folding[4:], RoundConstants(), common.RemoveUnusedNodesPass()
    )(model)
    return tuple(node for one in folding for node in one.declined)


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


def _sources_read(model: ir.Model) -> set[str]:
    return {name for value in model.graph.initializers.values() if value.uses() for name in made_from(value)}


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


__all__ = ["Prepared", "clean_up", "fold", "prepare"]
