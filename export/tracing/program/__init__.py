"""Rewrites of traced programs before evaluation and conversion, one in each file.

A new rewrite is a file and a line here.
"""

import torch
from torch import fx
from torch.export import ExportedProgram

from export.tracing.program.assignment import assigns, join_assignments
from export.tracing.program.attention import unfuse_attention
from export.tracing.program.flexible import unfuse_flexible_attention
from export.tracing.program.indexing import index_without_batch
from export.tracing.program.nodes import note_outputs, operator_of
from export.tracing.program.pooling import plain_pools
from export.tracing.program.refusals import draws
from export.tracing.program.regions import inline_regions

_ATEN = torch.ops.aten


def in_plain_operators(program: ExportedProgram) -> ExportedProgram:
    """Return a program without regions, fused attention, and in-place writes to shared tensors.

    Args:
        program: result of torch.export; it is modified.

    Raises:
        ExportError: an autocast region is on and changes numbers.
    """
    inline_regions(program.graph_module)
    _remove_dropout(program.graph)
    index_without_batch(program.graph)
    plain_pools(program.graph)
    unfuse_attention(program.graph)
    unfuse_flexible_attention(program.graph_module)
    _reshape_instead_of_view(program.graph)
    note_outputs(program)
    if assigns(program):
        program = program.run_decompositions({})
        join_assignments(program.graph)
        _reshape_instead_of_view(program.graph)
        note_outputs(program)
    return program


def _remove_dropout(graph: fx.Graph) -> None:
    """Remove dropouts of every kind that are off, or drop nothing."""
    for node in list(graph.nodes):
        if operator_of(node).rstrip("_").endswith("dropout") and not draws(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _reshape_instead_of_view(graph: fx.Graph) -> None:
    """Replace views by reshapes, because the output of unfused attention may have another memory layout."""
    for node in graph.nodes:
        if node.target is _ATEN.view.default:
            node.target = _ATEN.reshape.default
