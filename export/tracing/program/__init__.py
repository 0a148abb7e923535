"""Rewrites of traced programs before partial evaluation, one in each file.

To add a rewrite, add a file and a line here.
"""

import torch
from torch import fx
from torch.export import ExportedProgram

from export.tracing.program.assignment import assigns, join_assignments
from export.tracing.program.attention import unfuse_attention
from export.tracing.program.equivalents import use_equivalents
from export.tracing.program.flexible import unfuse_flexible_attention
from export.tracing.program.indexing import rewrite_indexing
from export.tracing.program.nodes import operator_of, update_outputs
from export.tracing.program.pooling import decompose_pools
from export.tracing.program.refusals import is_random
from export.tracing.program.regions import inline_regions

_ATEN = torch.ops.aten


def rewrite_program(program: ExportedProgram) -> ExportedProgram:
    """Return a program without regions, fused attention, and in-place writes to shared tensors.

    Args:
        program: result of torch.export; it is modified.

    Raises:
        ExportError: an enabled autocast region computes in half precision.
    """
    inline_regions(program.graph_module)
    _remove_dropout(program.graph)
    use_equivalents(program.graph)
    rewrite_indexing(program.graph)
    decompose_pools(program.graph)
    unfuse_attention(program.graph)
    unfuse_flexible_attention(program.graph_module)
    _reshape_instead_of_view(program.graph)
    update_outputs(program)
    if assigns(program):
        program = program.run_decompositions({})
        join_assignments(program.graph)
        _reshape_instead_of_view(program.graph)
        update_outputs(program)
    return program


def _remove_dropout(graph: fx.Graph) -> None:
    """Remove dropout of every kind that is disabled or has probability 0."""
    for node in list(graph.nodes):
        if operator_of(node).rstrip("_").endswith("dropout") and not is_random(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _reshape_instead_of_view(graph: fx.Graph) -> None:
    """Replace views by reshapes, because the output of unfused attention may have another memory layout."""
    for node in graph.nodes:
        if node.target is _ATEN.view.default:
            node.target = _ATEN.reshape.default
