"""Folding of added constants: the pixel mean, position embeddings, attention biases and shift masks."""

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, aligned, carry_back, carry_forward, known_sizes, moves, of_rank
from export.passes.exact import NotFoldedError, exact, own, replace
from export.passes.products import Step, add_to_results, product_of
from export.passes.sweep import FoldingPass
from export.passes.values import Array, constant_operand, input_of, note_sources, only_use, remove
from export.passes.walks import fold_below

LARGEST = 2**25
"""Size in bytes of the largest constant that may replace two smaller ones: one Add is faster than two, but the file
grows. The merged bias and shift mask of the first stage of Swin-L at 384 pixels take 30 MiB."""


class FoldShifts(FoldingPass):
    """Remove Add and Sub of a constant.

    1. If every reader of x + c is a product with a weight and a bias, c is folded into the biases.
    2. Otherwise, if the only reader also adds a constant, possibly after data movement, the two constants are merged in
       broadcast form: a window bias and a shift mask become [1, W, H, N, N], without the batch.
    3. Otherwise, if a Conv or Gemm produces x, possibly before data movement, and x has no other reader, c is added to
       the bias of the Conv or Gemm.
    4. Declined, with the reason logged and kept in `declined`, if the constant of rule 2 would be larger than both
       constants and `LARGEST`, if it would depend on the batch size, or if shapes are not static.
    """

    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Fold a shift by the first rule that applies."""
        position = _constant_of(node)
        if position is None:
            return False
        reasons = []
        for rule in (self._into_products, self._into_the_next, self._into_the_product_above):
            try:
                steps = rule(model, node, position)
            except NotFoldedError as reason:
                reasons.append(str(reason))
                continue
            for step in steps:
                step()
            remove(node, input_of(node, 1 - position))
            return True
        raise NotFoldedError("; ".join(dict.fromkeys(reasons)))

    def _into_products(self, model: ir.Model, node: ir.Node, position: int) -> list[Step]:
        shift = _shift(node, position)
        return fold_below(model, node.outputs[0], Affine(np.ones((1,) * shift.ndim), shift))

    def _into_the_next(self, model: ir.Model, node: ir.Node, position: int) -> list[Step]:
        value, constant, between = node.outputs[0], input_of(node, position), []
        while (reader := _only_reader(value)) is not None and moves(reader) and len(reader.outputs) == 1:
            between.append(reader)
            value = reader.outputs[0]
        place = None if reader is None else _constant_of(reader)
        if reader is None or place is None:
            raise NotFoldedError("the only reader does not add a constant")
        before = shift = _shift(node, position)
        for move in between:
            ((_, shift),) = carry_forward(move, Affine(np.ones((1,) * shift.ndim), shift))
        _shift(reader, place)  # raises if the constant broadcasts the other input
        there = exact(input_of(reader, place))
        total = there + shift if reader.op_type == "Add" else there - shift
        _check_range(total)
        if total.size > max(there.size, before.size) and total.size * 4 > LARGEST:
            raise NotFoldedError(f"the merged constant would take {total.size * 4 / 2**20:.0f} MiB")
        if self.batch is not None and any(size % self.batch == 0 for size in total.shape):
            raise NotFoldedError("the merged constant would depend on the batch size")
        follower = reader

        def merge() -> None:
            kept = own(model, follower, place)
            replace(kept, of_rank(total, kept))
            note_sources(kept, *((constant, kept) if _says_more(before, there) else (kept, constant)))

        return [merge]

    def _into_the_product_above(self, model: ir.Model, node: ir.Node, position: int) -> list[Step]:
        value, reader, between = node.inputs[1 - position], node, []
        while value is not None and _only_reader(value) is reader:
            producer = value.producer()
            if producer is None or producer.op_type == "Pad":
                break
            if moves(producer) and producer.op_type not in ("Gather", "Slice", "Split"):
                between.append(producer)
                value, reader = producer.inputs[0], producer
                continue
            product = product_of(model, producer)
            if product is None:
                break
            shift = _shift(node, position)
            for move in between:
                shift = carry_back(move, 0, shift)
            return add_to_results(product, shift)
        raise NotFoldedError("no Conv or Gemm without other readers produces it")


def _constant_of(node: ir.Node) -> int | None:
    return None if node.outputs[0].is_graph_output() else constant_operand(node, ("Add", "Sub"))


def _shift(node: ir.Node, position: int) -> Array:
    """Return the shift added to x, with the rank of x."""
    known_sizes(node.outputs[0])
    shift = aligned(exact(input_of(node, position)), node.inputs[1 - position])
    return -shift if node.op_type == "Sub" else shift


def _check_range(array: Array) -> None:
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float32)
    if (np.isinf(rounded) & np.isfinite(array)).any():
        raise NotFoldedError("the merged constant would overflow float32")


def _only_reader(value: ir.Value) -> ir.Node | None:
    use = only_use(value)
    return None if use is None else use[0]


def _says_more(first: Array, second: Array) -> bool:
    """Return whether the first array has a smaller share of zeros: a table is more informative than a mask."""
    shares = [(np.count_nonzero(array) / array.size, array.size) for array in (first, second)]
    return shares[0] > shares[1]
