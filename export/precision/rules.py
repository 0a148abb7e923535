"""Nodes that stay float32 when a graph is converted to half precision (float16 or bfloat16).

A value is *wide* if it may exceed the range of half precision: a square, a sum of squares, an epsilon of 1e-12, a mask
of −3.4e38. Nodes that read a wide value are computed in float32, up to a node whose result is in range again, such as a
division or a softmax.
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
"""Data movement: the result is wide if the data are, and needs no rounding."""

_WIDENS = frozenset(
    {"Exp", "Log", "Pow", "Reciprocal", "Sqrt", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"}
    | {"ReduceProd", "ReduceSum", "ReduceSumSquare", "CumSum"}
)
"""Operators with a wide result: powers, roots and sums. In float16, x² overflows above 255, is subnormal below 0.008,
and may become a divisor that is rounded to 0."""

_CARRIES = frozenset({"Abs", "Add", "Clip", "Max", "Min", "Neg", "ReduceMax", "ReduceMean", "Sub", "Sum", "Where"})
"""Operators whose result is wide if an input is."""

_ELEMENTWISE = _CARRIES | {"Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Mul", "Pow"}

_SMALLEST_NORMAL = {ir.DataType.FLOAT16: 2.0**-14, ir.DataType.BFLOAT16: 2.0**-126}
LARGEST = {ir.DataType.FLOAT16: 65504.0, ir.DataType.BFLOAT16: 3.3895313892515355e38}


@dataclass
class Plan:
    """Nodes that stay float32.

    Attributes:
        nodes: nodes that are computed in float32, and data movement of float32 values.
        values: float32 outputs of these nodes.
    """

    nodes: set[ir.Node] = field(default_factory=set)
    values: set[ir.Value] = field(default_factory=set)


def plan(model: ir.Model, half: ir.DataType) -> Plan:
    """Return the nodes that stay float32, by the following rules.

    1. Operators in `_WIDENS`, and scatters with a reduction, stay; their result is wide.
    2. A node that reads a constant outside the range of `half` stays; its result is wide if it is element-wise.
    3. A node that reads a wide value stays; its result is wide if it is in `_CARRIES`.
    4. Data movement of wide values stays; its result is wide.
    5. A node stays if ONNX does not define it for `half`, if it is a norm with `stash_type` half, or if it casts from
       integers of more than 8 bits.

    Raises:
        ExportError: a weight is NaN, or too large for `half`.
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
                or node.attributes.get_string("reduction", "none") != "none"
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
    """Return whether ONNX allows `half` for an input of a node; `scales` of Resize are always float32."""
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
    """Return whether a constant is in the range of `half`: no element overflows, and not all are subnormal."""
    numbers = _finite(constant)
    largest = float(np.abs(numbers).max(initial=0))
    if largest > LARGEST[half]:
        if node.op_type in _ELEMENTWISE:
            return False
        raise ExportError(
            f"initialiser {constant.name!r} of {node.op_type} contains {largest:.3g}; the maximum of {half.name} is "
            f"{LARGEST[half]:g}; use --precision {'bf16' if half == ir.DataType.FLOAT16 else 'fp32'}"
        )
    return largest == 0 or largest >= _SMALLEST_NORMAL[half]


def _finite(constant: ir.Value) -> NDArray[np.float32]:
    """Return the finite elements of a constant; infinities exist in every dtype."""
    assert constant.const_value is not None, "an initialiser has a value"
    numbers = constant.const_value.numpy()
    if np.isnan(numbers).any():
        raise ExportError(f"initialiser {constant.name!r} contains NaN; check the weights")
    finite: NDArray[np.float32] = numbers[np.isfinite(numbers)]
    return finite


def _type_name(half: ir.DataType) -> str:
    return f"tensor({half.name.lower()})"
