"""Inlining of regions of a traced program: autocast, and gradients enabled or disabled.

torch.export traces a region to a higher-order operator with a subgraph, which would not be evaluated or rewritten.
Inference needs no gradients, and an autocast region that is disabled or computes in float32 has no effect.
"""

from typing import Any

import torch
from torch import Tensor, fx

from export.tracing.program.refusals import half_precision_error

_OPERATORS: Any = torch.ops.higher_order  # Any: mypy does not know its attributes
_AUTOCAST = _OPERATORS.wrap_with_autocast  # (device type, dtype, enabled, cache enabled, region, *arguments)
_GRADIENTS = _OPERATORS.wrap_with_set_grad_enabled  # (enabled, region, *arguments)
_REGIONS = {_AUTOCAST, _GRADIENTS}


def inline_regions(root: fx.GraphModule) -> None:
    """Replace the higher-order operator of each region, nested ones included, by its operators.

    Raises:
        ExportError: an enabled autocast region computes in half precision; the message names the module.
    """
    if not any(node.target in _REGIONS for node in root.graph.nodes):
        return
    _note_users(root.graph)
    for node in list(root.graph.nodes):
        if node.target in _REGIONS:
            at = 4 if node.target is _AUTOCAST else 1
            region = getattr(root, node.args[at].target)
            if node.target is _AUTOCAST:
                _check_off(region, *node.args[:3])
            inline_regions(region)
            _inline(root, node, region, node.args[at + 1 :])
    for node in list(root.graph.nodes):
        if node.op == "get_attr" and not node.users:
            root.graph.erase_node(node)


def _note_users(graph: fx.Graph) -> None:
    """Complete the users of all nodes; torch omits some when it creates a region."""
    for node in graph.nodes:
        for source in node.all_input_nodes:
            source.users.setdefault(node)


def _check_off(region: fx.GraphModule, device: str, dtype: torch.dtype, enabled: bool) -> None:
    """Raise ExportError for an enabled autocast region with operators in its dtype.

    Networks are traced on the CPU, so autocast of other devices has no effect.
    """
    if device != "cpu" or not enabled:
        return
    for node in region.graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, Tensor) and value.dtype == dtype:
            raise half_precision_error(node)


def _inline(root: fx.GraphModule, node: fx.Node, region: fx.GraphModule, arguments: Any) -> None:  # noqa: ANN401
    inputs = [inner for inner in region.graph.nodes if inner.op == "placeholder"]
    copies: dict[fx.Node, fx.Node] = dict(zip(inputs, arguments, strict=True))
    with root.graph.inserting_before(node):
        for inner in region.graph.nodes:
            if inner.op == "get_attr":  # the function of another higher-order operator
                name = f"{node.name}_{inner.target}"
                setattr(root, name, getattr(region, inner.target))
                copies[inner] = root.graph.get_attr(name)
            elif inner.op == "call_function":
                copies[inner] = root.graph.node_copy(inner, copies.__getitem__)
    results: Any = region.graph.output_node().args[0]
    for user in list(node.users):  # a region returns a tuple, read by `getitem`
        result = results[user.args[1]]
        user.replace_all_uses_with(copies[result])
        root.graph.erase_node(user)
    root.graph.erase_node(node)
