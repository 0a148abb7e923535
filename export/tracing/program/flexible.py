"""Decomposition of `flex_attention` in a traced program.

Its score and mask functions are traced for scalars (score, batch, head, query, key). They are element-wise, so on index
tensors that broadcast against each other they return [B, H, Nq, Nk].
"""

from typing import Any

import torch
from torch import fx

from export.tracing.program.attention import attend, repeat_heads, score
from export.tracing.program.nodes import insert_call

_ATEN = torch.ops.aten
_FLEXIBLE: Any = torch.ops.higher_order.flex_attention
"""Arguments: q, k, v, score function, block mask, scale, options, tensors of the score function and of the mask."""


def unfuse_flexible_attention(root: fx.GraphModule) -> None:
    """Replace each `flex_attention` whose functions consist of ATen operators and whose log-sum-exp is not read."""
    for node in list(root.graph.nodes):
        if node.target is not _FLEXIBLE or any(user.args[1] != 0 and user.users for user in node.users):
            continue
        query, key, value, change, block_mask, scale, _, read_by_change, read_by_mask = node.args
        functions = [getattr(root, change.target), getattr(root, block_mask[-1].target)]
        if not all(map(_is_plain, functions)):
            continue
        if query.meta["val"].shape[1] > key.meta["val"].shape[1]:
            key, value = repeat_heads(node, query, key, value)
        sizes = (*query.meta["val"].shape[:3], key.meta["val"].shape[2])
        places = [_positions(node, size, 3 - axis) for axis, size in enumerate(sizes)]
        scores = score(node, query, key, scale)
        scores = _called(node, functions[0], [scores, *places, *read_by_change])
        mask = _called(node, functions[1], [*places, *read_by_mask])
        attended = attend(node, scores, mask, value)
        for user in list(node.users):
            user.replace_all_uses_with(attended)
            root.graph.erase_node(user)
        root.graph.erase_node(node)


def _positions(node: fx.Node, size: int, axes_behind: int) -> fx.Node:
    numbers = insert_call(node, _ATEN.arange.default, size)
    return insert_call(node, _ATEN.reshape.default, numbers, [size, *[1] * axes_behind])


def _is_plain(function: fx.GraphModule) -> bool:
    """Return whether a function consists of ATen operators; torch uses its own operator for some tensor reads."""
    called = [node for node in function.graph.nodes if node.op not in {"placeholder", "output"}]
    return all(isinstance(node.target, torch._ops.OpOverload) for node in called)


def _called(node: fx.Node, function: fx.GraphModule, arguments: list[fx.Node]) -> fx.Node:
    """Insert the operators of a function, applied to `arguments`, and return their result."""
    inputs = [inner for inner in function.graph.nodes if inner.op == "placeholder"]
    made: dict[fx.Node, fx.Node] = dict(zip(inputs, arguments, strict=True))
    for inner in function.graph.nodes:
        if inner.op == "call_function":
            given, named = fx.node.map_arg((inner.args, inner.kwargs), made.__getitem__)
            made[inner] = insert_call(node, inner.target, *given, **named)
    result: Any = function.graph.output_node().args[0]
    first: fx.Node = result[0] if isinstance(result, list | tuple) else result
    return made[first]
