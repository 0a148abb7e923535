"""Decomposition of fused attention in a traced program.

torch.onnx would scale both queries and keys, and its views fail on the memory layout of the fused CPU kernel. Here only
the queries are scaled, before the product, a pattern that TensorRT fuses. A query whose keys are all masked results in
zeros, as in torch, where a plain softmax would return NaN.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from export.tracing.program.nodes import arguments_of, insert_call, operator_of

_ATEN = torch.ops.aten
FUSED = _ATEN.scaled_dot_product_attention.default
_MASKED = _ATEN._safe_softmax.default
"""Softmax of masked scores, which returns zeros for rows of −∞; `settle_masked_rows` replaces it by a plain softmax."""

_MAKE_FINITE = frozenset({"bmm", "conv2d", "layer_norm", "linear", "matmul", "scaled_dot_product_attention", "softmax"})
"""Operators whose results are finite in a network with finite logits."""


def unfuse_attention(graph: fx.Graph) -> None:
    """Replace each `scaled_dot_product_attention` without dropout by softmax(q·s·kᵀ + mask)·v."""
    for node in list(graph.nodes):
        if node.target is FUSED and not arguments_of(node)["dropout_p"]:
            _replace(graph, node)


def _replace(graph: fx.Graph, node: fx.Node) -> None:
    given = arguments_of(node)
    query, key, value, mask = (given[name] for name in ("query", "key", "value", "attn_mask"))
    if given["enable_gqa"]:
        key, value = repeat_heads(node, query, key, value)
    scores = score(node, query, key, given["scale"])
    if given["is_causal"]:
        sizes = [query.meta["val"].shape[-2], key.meta["val"].shape[-2]]
        mask = insert_call(node, _ATEN.tril.default, insert_call(node, _ATEN.ones.default, sizes, dtype=torch.bool))
    node.replace_all_uses_with(attend(node, scores, mask, value))
    graph.erase_node(node)


def repeat_heads(place: fx.Node, query: fx.Node, *shared: fx.Node) -> Sequence[fx.Node]:
    """Insert the repetition of keys or values [.., H, N, d] that several query heads share, before a node."""
    groups = query.meta["val"].shape[-3] // shared[0].meta["val"].shape[-3]
    return [insert_call(place, _ATEN.repeat_interleave.self_int, part, groups, -3) for part in shared]


def score(place: fx.Node, query: fx.Node, key: fx.Node, scale: float | None) -> fx.Node:
    """Insert q·s·kᵀ before a node; s is 1/√d if `scale` is None."""
    width = query.meta["val"].shape[-1]
    scaled = insert_call(place, _ATEN.mul.Tensor, query, width**-0.5 if scale is None else scale)
    return insert_call(place, _ATEN.matmul.default, scaled, insert_call(place, _ATEN.transpose.int, key, -2, -1))


def attend(place: fx.Node, scores: fx.Node, mask: fx.Node | None, value: fx.Node) -> fx.Node:
    """Insert softmax(scores + mask)·v before a node; a boolean mask is True for keys that are attended to."""
    if mask is None:
        weights = insert_call(place, _ATEN.softmax.int, scores, -1)
    elif mask.meta["val"].dtype == torch.bool:
        hidden = insert_call(place, _ATEN.logical_not.default, mask)
        masked = insert_call(place, _ATEN.masked_fill.Scalar, scores, hidden, float("-inf"))
        weights = insert_call(place, _MASKED, masked, -1)
    else:
        weights = insert_call(place, _MASKED, insert_call(place, _ATEN.add.Tensor, scores, mask), -1)
    return insert_call(place, _ATEN.matmul.default, weights, value)


def settle_masked_rows(graph: fx.Graph, known: Mapping[fx.Node, Any]) -> list[fx.Node]:
    """Replace each softmax of masked scores by a plain one; rows that may be masked completely get zeros.

    Args:
        graph: graph of a traced program.
        known: values of the nodes that do not depend on the image.

    Returns:
        New nodes that do not depend on the image, in graph order.
    """
    made: list[fx.Node] = []
    for node in list(graph.nodes):
        if node.target is not _MASKED or node in known:
            continue
        node.target = _ATEN.softmax.int
        scores = node.args[0]
        _, mask, *_ = scores.args
        is_fill = scores.target is _ATEN.masked_fill.Scalar
        if mask in known:
            hidden = known[mask] if is_fill else known[mask] == -torch.inf
            needed = bool(hidden.all(-1).any())
        else:
            needed = is_fill or _may_be_infinite(mask, known)
        if needed:
            new = _zero_masked_rows(node, scores, mask, is_fill=is_fill)
            made += new if mask in known else ()
    return made


def _zero_masked_rows(weights: fx.Node, scores: fx.Node, mask: fx.Node, *, is_fill: bool) -> list[fx.Node]:
    """Unmask rows that are masked completely, and set the result of attention to zero for them."""
    hidden = mask if is_fill else insert_call(scores, _ATEN.eq.Scalar, mask, float("-inf"))
    whole = insert_call(scores, _ATEN.all.dim, hidden, -1, True)
    if is_fill:
        keep = insert_call(scores, _ATEN.logical_not.default, whole)
        open_mask = insert_call(scores, _ATEN.logical_and.default, hidden, keep)
        new = [whole, keep, open_mask]
    else:
        open_mask = insert_call(scores, _ATEN.masked_fill.Scalar, mask, whole, 0.0)
        new = [hidden, whole, open_mask]
    scores.update_arg(1, open_mask)
    for product in list(weights.users):
        zeroed = insert_call(product.next, _ATEN.masked_fill.Scalar, product, whole, 0.0)
        product.replace_all_uses_with(zeroed)
        zeroed.update_arg(0, product)
    return new


def _may_be_infinite(mask: fx.Node, known: Mapping[fx.Node, Any]) -> bool:
    """Return whether an image-dependent mask may contain −∞: it is computed from that constant or by a logarithm."""
    waiting, seen = [mask], {mask}
    while waiting:
        node = waiting.pop()
        if node in known:
            value = known[node]
            if isinstance(value, Tensor) and value.is_floating_point() and bool((value == -torch.inf).any()):
                return True
            continue
        if operator_of(node).startswith("log") and not operator_of(node).startswith("logical"):
            return True
        if any(argument == -torch.inf for argument in (*node.args, *node.kwargs.values()) if type(argument) is float):
            return True
        if operator_of(node) not in _MAKE_FINITE:
            waiting += [source for source in node.all_input_nodes if source not in seen]
            seen.update(node.all_input_nodes)
    return False
