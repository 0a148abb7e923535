"""Attention of opset 23 in place of products and softmax.

ONNX Runtime computes Attention on [B, N, H·d] without storing the scores, and without Transposes that split and merge
heads. Shapes: B images, N tokens, H heads of d channels. `Attention` of ONNX 1.18, opset 23.
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from export.passes.exact import NotFoldedError
from export.passes.operators import axis_of, order_of
from export.passes.sweep import FoldingPass
from export.passes.values import (
    add_constant,
    add_node,
    input_of,
    is_constant,
    name_of,
    only_use,
    producer_of,
    remove,
    shape_of,
)

OPSET = 23
"""First opset with Attention."""

_HEADS = (0, 2, 1, 3)
"""Permutation of axes between [B, N, H, d] and [B, H, N, d], in both directions."""
_TURNED = (0, 1, 3, 2)


class FuseAttention(FoldingPass):
    """Replace softmax(q·kᵀ)·v by Attention, if its inputs and its output are in rows [B, N, H·d].

    1. Only the softmax reads q·kᵀ, and only the product with v reads the softmax.
    2. q, k and v are heads of rows: reshaped to [B, N, H, d] and transposed to [B, H, N, d]. Several of them may be
       parts of one Split, which then splits the channels of the rows.
    3. Only one Transpose and Reshape to rows read the result.
    4. Scores with a bias are declined: measured on a GPU, ONNX Runtime's Attention is slower with one; see
       `export.verify.targets`.
    """

    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Replace the attention of a Softmax."""
        use = only_use(node.outputs[0]) if node.op_type == "Softmax" else None
        if use is None or use[0].op_type != "MatMul" or use[1] != 0 or is_constant(use[0].inputs[1]):
            return False
        product, scores = use[0], producer_of(node.inputs[0])
        if scores is None or scores.op_type != "MatMul" or only_use(scores.outputs[0]) is None:
            raise NotFoldedError("the scores are not q·kᵀ alone, such as q·kᵀ plus a bias")
        sizes = shape_of(product.outputs[0])
        if len(sizes) != 4:
            raise NotFoldedError(f"the result has {len(sizes)} axes, expected [B, H, N, d]")
        if axis_of(node, 4, -1) != 3:
            raise NotFoldedError("the softmax is not over the keys")
        merged = _merged(product)
        if merged is None:
            raise NotFoldedError("the heads of the result are not merged to rows by one Transpose and one Reshape")
        operands = (input_of(scores, 0), False), (input_of(scores, 1), True), (input_of(product, 1), False)
        found = [_heads(value, turned=turned) for value, turned in operands if shape_of(value)[:-2] == sizes[:-2]]
        parts = [part for part in found if part is not None]
        if len(parts) < len(operands):
            raise NotFoldedError("q, k or v is not the heads of rows, as after a rotation of q and k")
        rows = [_channels(model, product, part) for part in parts]
        attributes = {"q_num_heads": sizes[1], "kv_num_heads": sizes[1], "scale": 1.0}  # q is already scaled
        remove(merged, add_node(product, "Attention", rows, shape_of(merged.outputs[0]), attributes))
        return True


class _Heads(NamedTuple):
    """Heads of rows [B, N, C]: one of the parts with `size` channels each."""

    rows: ir.Value
    part: int
    size: int


def _merged(product: ir.Node) -> ir.Node | None:
    """Return the Reshape to rows that follows a product."""
    turn = only_use(product.outputs[0])
    if turn is None or turn[0].op_type != "Transpose" or tuple(turn[0].attributes.get_ints("perm")) != _HEADS:
        return None
    use = only_use(turn[0].outputs[0])
    images, heads, tokens, channels = shape_of(product.outputs[0])
    if use is None or use[0].op_type != "Reshape" or use[0].outputs[0].is_graph_output():
        return None
    return use[0] if shape_of(use[0].outputs[0]) == (images, tokens, heads * channels) else None


def _heads(value: ir.Value, *, turned: bool) -> _Heads | None:
    """Return the rows of heads [B, H, N, d], or of [B, H, d, N] if `turned`."""
    sizes, first = shape_of(value), 0
    order: tuple[int, ...] = _TURNED if turned else (0, 1, 2, 3)
    size = sizes[1] * sizes[2 if turned else 3]
    while (node := value.producer()) is not None and node.op_type in ("Transpose", "Split"):
        if node.op_type == "Transpose":
            perm = order_of(node, 4)
            order = tuple(perm[axis] for axis in order)
        else:
            axis, outputs = axis_of(node, 4), list(node.outputs)
            if axis != order[1]:
                return None
            first += sum(shape_of(output)[axis] for output in outputs[: outputs.index(value)])
        value = input_of(node, 0)
    if node is None or node.op_type != "Reshape" or order != _HEADS:
        return None
    rows, (images, tokens, heads, channels) = input_of(node, 0), shape_of(value)
    start = first * channels
    fits = shape_of(rows) == (images, tokens, heads * channels) and heads * channels % size == start % size == 0
    return _Heads(rows, start // size, size) if fits else None


def _channels(model: ir.Model, before: ir.Node, heads: _Heads) -> ir.Value:
    """Return the channels of heads, by a Split of the rows if these have more."""
    images, tokens, channels = shape_of(heads.rows)
    count = channels // heads.size
    if count == 1:
        return heads.rows
    sizes = add_constant(model, np.full(count, heads.size, np.int64), f"{name_of(heads.rows)}.split")
    split = ir.node(
        "Split", [heads.rows, sizes], {"axis": 2}, num_outputs=count, metadata_props=dict(before.metadata_props)
    )
    for output in split.outputs:
        output.shape, output.type = ir.Shape((images, tokens, heads.size)), heads.rows.type
    model.graph.insert_before(before, split)
    return split.outputs[heads.part]
