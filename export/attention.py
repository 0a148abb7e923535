"""Fused attention in plain operators, in a traced program.

torch.onnx would scale queries and keys both, and the layout that the fused CPU kernel returns breaks its views. Here
the queries alone are scaled, before the product, as TensorRT fuses it.
"""

from typing import Any

import torch
from torch import fx

_ATEN = torch.ops.aten
FUSED = _ATEN.scaled_dot_product_attention.default


def unfuse_attention(graph: fx.Graph) -> None:
    """Replace every `scaled_dot_product_attention` of a graph by softmax(q·s·kᵀ + mask)·v."""
    for node in list(graph.nodes):
        if node.target is FUSED:
            with graph.inserting_before(node):
                _replace(graph, node)


def _replace(graph: fx.Graph, node: fx.Node) -> None:
    given = _arguments(node)
    query, key, value = (given[name] for name in ("query", "key", "value"))
    mask = given.get("attn_mask")
    width, scale = query.meta["val"].shape[-1], given.get("scale")

    def call(operator: Any, *arguments: Any, **options: Any) -> fx.Node:  # noqa: ANN401 -- as FX takes them
        made = graph.call_function(operator, arguments, options)
        with query.meta["val"].fake_mode:
            shown = operator(*fx.node.map_arg(arguments, lambda argument: argument.meta["val"]), **options)
        made.meta = node.meta | {"val": shown}
        return made

    if given.get("enable_gqa"):
        groups = query.meta["val"].shape[-3] // key.meta["val"].shape[-3]
        key, value = (call(_ATEN.repeat_interleave.self_int, part, groups, -3) for part in (key, value))
    scaled = call(_ATEN.mul.Tensor, query, width**-0.5 if scale is None else scale)
    scores = call(_ATEN.matmul.default, scaled, call(_ATEN.transpose.int, key, -2, -1))
    if given.get("is_causal"):
        sizes = [query.meta["val"].shape[-2], given["key"].meta["val"].shape[-2]]
        allowed = call(_ATEN.tril.default, call(_ATEN.ones.default, sizes, dtype=torch.bool))
        scores = call(_ATEN.masked_fill.Scalar, scores, call(_ATEN.logical_not.default, allowed), float("-inf"))
    elif mask is not None and mask.meta["val"].dtype == torch.bool:
        scores = call(_ATEN.masked_fill.Scalar, scores, call(_ATEN.logical_not.default, mask), float("-inf"))
    elif mask is not None:
        scores = call(_ATEN.add.Tensor, scores, mask)
    result = call(_ATEN.matmul.default, call(_ATEN.softmax.int, scores, -1), value)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _arguments(node: fx.Node) -> dict[str, Any]:
    names = [argument.name for argument in FUSED._schema.arguments]
    return dict(zip(names, node.args, strict=False)) | node.kwargs
