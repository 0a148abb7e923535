"""Canonical form of rotary embeddings (RoPE): x·cos + rotate(x)·sin with one Split and one Concat.

Su et al., RoFormer, equation 34. Implementations differ: they pair neighbouring channels or the two halves of a head,
rotate only the patch tokens between a Slice and a Concat, and scale q afterwards.
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from export.passes.carry import unrepeated
from export.passes.exact import NotFoldedError
from export.passes.halves import make_halves_of_neighbours
from export.passes.movement.chains import Chains, find_chains
from export.passes.sweep import FoldingPass
from export.passes.values import (
    Array,
    add_constant,
    add_node,
    array_of,
    derive_constant,
    is_constant,
    name_of,
    only_use,
    producer_of,
    shape_of,
    sizes_of,
)

_MOVES = frozenset({"Concat", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_FEWEST, _LONGEST = 5, 64
"""Fewest and most nodes of one rotation."""


class FoldRotations(FoldingPass):
    """Rewrite rotated q and k of a product q·kᵀ as x·a + swap(x)·b, where swap exchanges the halves of the channels.

    1. The nodes between x and q, or k, are linear: data movement, products with constants, and sums. Run on inputs with
       ones in one half of the channels and zeros in the other, they return a and b. x·a + partner(x)·b must equal
       their result on random inputs.
    2. Tokens that are not rotated get a = 1 and b = 0 instead of a Slice. A factor of q is included in a and b.
    3. If neighbouring channels are paired, the columns of the weights of q and k are permuted so that the halves are
       paired. q·kᵀ sums over the channels, so it does not change if both are permuted equally.
    4. Declined, with the reason logged and kept in `declined`, if another node reads a value that would change.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite the inputs of each product of two tensors."""
        self._positions = {node: position for position, node in enumerate(model.graph)}
        self._constants = _Constants(model)
        self._chains: Chains | None = None
        return super().call(model)

    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Rewrite the rotated q and k of a product."""
        if node.op_type != "MatMul" or node.domain != "" or any(map(is_constant, node.inputs)):
            return False
        keys, queries = (_written(node, side, self._positions) for side in (1, 0))
        if keys is None or queries is None or {len(keys.nodes), len(queries.nodes)} == {_FEWEST}:
            return False
        found = [_read_off(model, written) for written in (keys, queries)]
        if len({rotation.neighbours for rotation in found}) > 1:
            raise NotFoldedError("q and k pair channels differently")
        if found[0].neighbours:
            if not _multiplies_channels(node):
                raise NotFoldedError("q·k does not sum over the channels")
            self._chains = self._chains or find_chains(model, self.batch)
            for written in (keys, queries):
                if any(reader not in written.nodes for reader in written.source.consumers()):
                    raise NotFoldedError("another node reads q or k before the rotation")
            make_halves_of_neighbours(model, self._chains, (keys.source, queries.source))
        for written, rotation in zip((keys, queries), found, strict=True):
            _rewrite(model, written, rotation, self._constants)
        return True


class _Written(NamedTuple):
    """A rotation in the graph: x, the rotated x, and the nodes between them in graph order."""

    source: ir.Value
    result: ir.Value
    nodes: list[ir.Node]


class _Rotation(NamedTuple):
    """Factors of x·own + partner(x)·partner, in float64: [heads, tokens, channels], or without the first axis.

    `neighbours` is True if neighbouring channels are paired, False if the halves are.
    """

    own: Array
    partner: Array
    neighbours: bool


def _written(product: ir.Node, side: int, positions: dict[ir.Node, int]) -> _Written | None:
    """Return the rotation of the queries or keys of a product; None if they are not rotated."""
    result = product.inputs[side]
    transpose = producer_of(result)
    if side == 1 and transpose is not None and transpose.op_type == "Transpose":
        result = transpose.inputs[0]
    if result is None:
        return None
    sizes, waiting, nodes = sizes_of(result), {result}, list[ir.Node]()
    while len(nodes) < _LONGEST:
        producers = [producer for value in waiting if (producer := value.producer()) is not None]
        if len(producers) < len(waiting):
            return None
        last = max(producers, key=positions.__getitem__)
        if not _is_linear(last):
            return None
        nodes.append(last)
        waiting -= set(last.outputs)
        waiting |= {value for value in last.inputs if value is not None and not is_constant(value)}
        if len(waiting) == 1 and any(node.op_type in ("Add", "Sub") for node in nodes):
            (source,) = waiting
            if sizes_of(source) == sizes and sizes is not None and len(sizes) > 2 and sizes[-1] % 2 == 0:
                return _Written(source, result, nodes[::-1])
    return None


def _multiplies_channels(product: ir.Node) -> bool:
    """Return whether a product reads k with the last two axes transposed, so that it sums over the channels."""
    transpose = producer_of(product.inputs[1])
    if transpose is None or transpose.op_type != "Transpose":
        return False
    *others, tokens, channels = range(len(shape_of(transpose.outputs[0])))
    return list(transpose.attributes.get_ints("perm", ())) == [*others, channels, tokens]


def _is_linear(node: ir.Node) -> bool:
    data = [value for value in node.inputs if value is not None and not is_constant(value)]
    match node.op_type:
        case "Neg":
            return True
        case "Add" | "Sub" | "Concat":
            return len(data) == len(node.inputs)
        case "Mul":
            return len(data) == 1
        case "Div":
            return len(data) == 1 and data[0] is node.inputs[0]
        case _:
            return node.op_type in _MOVES and data == [node.inputs[0]]


def _read_off(model: ir.Model, written: _Written) -> _Rotation:
    inside = set(written.nodes)
    for node in written.nodes:
        for output in node.outputs:
            if output.is_graph_output() or (
                output is not written.result and any(u.node not in inside for u in output.uses())
            ):
                raise NotFoldedError("another node reads an intermediate value of the rotation")
    if only_use(written.result) is None:
        raise NotFoldedError("another node reads the rotated q or k")
    sizes = shape_of(written.source)
    channels = np.arange(sizes[-1])
    firsts = [(channels < len(channels) // 2), channels % 2 == 0]
    random = np.random.default_rng(0).normal(size=(1, *sizes[1:]))
    ones = [np.broadcast_to(half.astype(float), (1, *sizes[1:])) for first in firsts for half in (first, ~first)]
    found = _run(model, written, np.concatenate([*ones, random]))
    for number, (first, partner) in enumerate(
        zip(firsts, (np.roll(channels, len(channels) // 2), channels ^ 1), strict=True)
    ):
        of_first, of_second = found[2 * number], found[2 * number + 1]
        own, others = np.where(first, of_first, of_second), np.where(first, of_second, of_first)
        if np.allclose(own * random[0] + others * random[0][..., partner], found[-1], rtol=1e-9, atol=1e-12):
            return _Rotation(_without_heads(own), _without_heads(others), neighbours=number == 1)
    raise NotFoldedError("the result does not combine two channels of a token")


def _without_heads(array: Array) -> Array:
    """Return an array [..., tokens, channels] without leading uniform axes."""
    few = unrepeated(array)
    few = np.broadcast_to(few, (*few.shape[:-2], *array.shape[-2:]))
    while few.ndim > 2 and few.shape[0] == 1:
        few = few[0]
    return few


def _run(model: ir.Model, written: _Written, inputs: Array) -> Array:
    """Run the nodes of a rotation on inputs [n, heads, tokens, channels], in float64."""
    sizes = shape_of(written.source)
    evaluators = [ReferenceEvaluator(ir.to_proto(node), opsets=dict(model.opset_imports)) for node in written.nodes]
    made = []
    for start in range(0, len(inputs), sizes[0]):
        some = inputs[start : start + sizes[0]]
        given = np.zeros(sizes)
        given[: len(some)] = some
        values = {name_of(written.source): given}
        for node, evaluator in zip(written.nodes, evaluators, strict=True):
            read = {
                name_of(value): _in_float64(value) if is_constant(value) else values[name_of(value)]
                for value in node.inputs
                if value is not None
            }
            values |= {
                name_of(output): result for output, result in zip(node.outputs, evaluator.run(None, read), strict=True)
            }
        made.append(values[name_of(written.result)][: len(some)])
    return np.concatenate(made)


def _in_float64(constant: ir.Value) -> Array:
    array = array_of(constant)
    return array.astype(np.float64) if array.dtype == np.float32 else array


class _Constants:
    """Constants of rotations, which blocks share."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self._made: dict[tuple[tuple[int, ...], bytes], ir.Value] = {}

    def of(self, array: Array, written: _Written) -> ir.Value:
        """Return the constant for an array, rounded to float32."""
        rounded = np.ascontiguousarray(array, np.float32)
        key = (rounded.shape, rounded.tobytes())
        if key not in self._made:
            before = _made_from(array, written)
            self._made[key] = (
                add_constant(self.model, rounded, name_of(written.result))
                if before is None
                else derive_constant(self.model, rounded, before)
            )
        return self._made[key]


def _made_from(array: Array, written: _Written) -> ir.Value | None:
    """Return the constant whose last token is proportional to that of the array, except for order and signs."""
    last = np.sort(np.abs(array[..., -1, :]).ravel())
    for node in written.nodes:
        constant = next((value for value in node.inputs if is_constant(value)), None)
        if node.op_type == "Mul" and constant is not None and len(sizes_of(constant) or ()) > 1:
            theirs = np.sort(np.abs(array_of(constant)[..., -1, :]).ravel())
            if theirs.shape == last.shape and np.allclose(last * theirs[-1], theirs * last[-1], atol=1e-6):
                return constant
    return None


def _rewrite(model: ir.Model, written: _Written, rotation: _Rotation, constants: _Constants) -> None:
    source, result = written.source, written.result
    sizes, axis = shape_of(source), len(shape_of(source)) - 1
    kept, exchanged = rotation.own, rotation.partner
    if rotation.neighbours:
        kept, exchanged = (np.concatenate([part[..., ::2], part[..., 1::2]], axis=-1) for part in (kept, exchanged))
    last = written.nodes[-1]
    half = (*sizes[:-1], sizes[-1] // 2)
    split = ir.node(
        "Split", [source], {"axis": axis, "num_outputs": 2}, num_outputs=2, metadata_props=dict(last.metadata_props)
    )
    model.graph.insert_before(last, split)
    for output in split.outputs:
        output.shape, output.type = ir.Shape(half), source.type
    swapped = add_node(last, "Concat", split.outputs[::-1], sizes, {"axis": axis})
    terms = [
        add_node(last, "Mul", [value, constants.of(factor, written)], sizes)
        for value, factor in ((source, kept), (swapped, exchanged))
    ]
    result.replace_all_uses_with(add_node(last, "Add", terms, sizes))
    model.graph.remove(list(reversed(written.nodes)), safe=True)
