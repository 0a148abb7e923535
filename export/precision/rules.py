"""Nodes that stay float32 when the rest of a graph becomes half precision (float16 or bfloat16).

A value is *wide* if half precision may not hold it: a square, a sum of squares, an epsilon of 1e-12, a mask of −3.4e38.
What reads a wide value is computed in float32, until a node (a division, a softmax) brings it back into range.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from export.process.errors import ExportError

MOVES = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "Slice"}
    | {"Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators that move elements unchanged: a wide value stays wide, and no rounding is needed after them."""

_WIDENS = frozenset(
    {"Exp", "Log", "Pow", "Reciprocal", "Sqrt", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"}
    | {"ReduceProd", "ReduceSum", "ReduceSumSquare", "CumSum"}
)
"""Squares, roots and sums: |x| > 255 or < 0.008 leaves float16 when squared, and zero divides what follows."""

_CARRIES = frozenset({"Abs", "Add", "Clip", "Max", "Min", "Neg", "ReduceMax", "ReduceMean", "Sub", "Sum", "Where"})
"""Operators whose result is wide if their input is."""

_ELEMENTWISE = _CARRIES | {"Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Mul", "Pow"}

_SMALLEST_NORMAL = {ir.DataType.FLOAT16: 2.0**-14, ir.DataType.BFLOAT16: 2.0**-126}
LARGEST = {ir.DataType.FLOAT16: 65504.0, ir.DataType.BFLOAT16: 3.3895313892515355e38}


@dataclass
class Plan:
    """Nodes that stay float32.

    Attributes:
        nodes: computed in float32. MOVES among them only carry such values.
        values: float32 values that these nodes yield.
    """

    nodes: set[ir.Node] = field(default_factory=set)
    values: set[ir.Value] = field(default_factory=set)


def plan(model: ir.Model, half: ir.DataType) -> Plan:
    """Decide for every node, in topological order, by these rules. A node stays float32 if

    1. it is a square, a root or a sum (`_WIDENS`): the result is wide;
    2. it reads a constant that `half` cannot hold: the result is wide if the node works number by number;
    3. it reads a wide value: the result is wide if the node is in `_CARRIES`;
    4. it is in MOVES and its data are wide: the result is wide;
    5. ONNX does not define it for `half`, or it is a norm told to compute in half precision, or it turns integers
       above 8 bits into floats.

    Raises:
        ExportError: a weight is not a number, or too large for `half`.
    """
    made, wide = Plan(), set[ir.Value]()
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT]
        reads_wide = not wide.isdisjoint(inputs)
        ill_fitting = [value for value in inputs if value.is_initializer() and not _fits(node, value, half)]
        if node.op_type in MOVES:
            stays = widens = reads_wide
        else:
            widens = (
                node.op_type in _WIDENS
                or (bool(ill_fitting) and node.op_type in _ELEMENTWISE)
                or (reads_wide and node.op_type in _CARRIES)
            )
            stays = widens or reads_wide or bool(ill_fitting) or _must_stay(node, model, half)
        outputs = [value for value in node.outputs if value.dtype == ir.DataType.FLOAT]
        if stays and outputs:
            made.nodes.add(node)
            made.values.update(outputs)
        if widens:
            wide.update(outputs)
    return made


def takes(node: ir.Node, index: int, opset: int, half: ir.DataType) -> bool:
    """Return whether ONNX lets a node read its `index`-th input in `half`; `scales` of Resize are float32 always."""
    schema = onnx.defs.get_schema(node.op_type, opset)
    return _type_name(half) in schema.inputs[min(index, len(schema.inputs) - 1)].types


def _must_stay(node: ir.Node, model: ir.Model, half: ir.DataType) -> bool:
    if node.op_type == "Cast":
        source = node.inputs[0]
        return source is None or source.dtype not in {ir.DataType.UINT8, ir.DataType.BOOL, ir.DataType.FLOAT}
    stash = node.attributes.get("stash_type")
    if stash is not None and stash.as_int() != ir.DataType.FLOAT:
        return True
    schema = onnx.defs.get_schema(node.op_type, model.opset_imports[""])
    return not any(_type_name(half) in output.types for output in schema.outputs)


def _fits(node: ir.Node, constant: ir.Value, half: ir.DataType) -> bool:
    """Return whether `half` can hold a constant, apart from rounding: no overflow, and not all of it subnormal."""
    numbers = _finite(constant)
    largest = float(np.abs(numbers).max(initial=0))
    if largest > LARGEST[half]:
        if node.op_type in _ELEMENTWISE:
            return False
        raise ExportError(
            f"initialiser {constant.name!r} of {node.op_type} holds {largest:.3g}, {half.name} ends at "
            f"{LARGEST[half]:g}; use --precision {'bf16' if half == ir.DataType.FLOAT16 else 'fp32'}"
        )
    return largest == 0 or largest >= _SMALLEST_NORMAL[half]


def _finite(constant: ir.Value) -> NDArray[np.float32]:
    """Return the numbers of a constant that are not infinite: infinities are the same in every type."""
    assert constant.const_value is not None, "an initialiser holds its value"
    numbers = constant.const_value.numpy()
    if np.isnan(numbers).any():
        raise ExportError(f"initialiser {constant.name!r} holds what is not a number; check the weights")
    finite: NDArray[np.float32] = numbers[np.isfinite(numbers)]
    return finite


def _type_name(half: ir.DataType) -> str:
    return f"tensor({half.name.lower()})"
