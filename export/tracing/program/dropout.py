"""Dropouts of a network in eval mode, in a traced program."""

from torch import fx

from export.tracing.program.nodes import operator_of
from export.tracing.program.refusals import draws


def remove_dropout(graph: fx.Graph) -> None:
    """Remove dropouts of every kind that are off, or drop nothing."""
    for node in list(graph.nodes):
        if operator_of(node).rstrip("_").endswith("dropout") and not draws(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
