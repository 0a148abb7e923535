"""Removal of inactive dropout from a traced program."""

from torch import fx

from export.tracing.program.nodes import operator_of
from export.tracing.program.refusals import is_random


def remove_dropout(graph: fx.Graph) -> None:
    """Remove dropout of every kind that is disabled or has probability 0."""
    for node in list(graph.nodes):
        if operator_of(node).rstrip("_").endswith("dropout") and not is_random(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
