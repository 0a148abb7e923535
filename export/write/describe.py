"""Description of a graph in the manifest."""

from collections import Counter

import onnx_ir as ir

from artifact import Graph
from export.passes.origins import all_nodes, count_constant_only

_GATHERS = frozenset({"Gather", "GatherElements", "GatherND"})


def describe_graph(model: ir.Model) -> Graph:
    """Return the manifest's description of a graph, without the counts of ATen operators."""
    nodes = list(all_nodes(model))
    return Graph(
        opset=model.opset_imports[""],
        nodes=len(nodes),
        ops=dict(sorted(Counter(node.op_type for node in nodes).items())),
        constant_only_nodes=count_constant_only(model),
        table_gathers=sum(_reads_a_table(node) for node in nodes),
    )


def _reads_a_table(node: ir.Node) -> bool:
    data = node.inputs[0] if node.inputs else None
    return node.op_type in _GATHERS and data is not None and data.is_initializer()
