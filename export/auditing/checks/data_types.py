"""Types that TensorRT does not take for an operator; float64, which it narrows, has a check of its own.

uint8 is for inputs and outputs of the graph alone, and only a Cast from or to a float may touch it.
"""

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from export.auditing.checks.base import of_node
from export.auditing.findings import Remark
from export.auditing.names import dtype_of, type_name
from export.auditing.origins import STANDARD
from export.auditing.subject import Subject

_CASTS = frozenset({"Cast", "CastLike"})
_QUANTIZERS = frozenset({"DequantizeLinear", "QuantizeLinear"})
# Where the data is, if it is not the first input.
_DATA_INPUT = {"OneHot": 2, "Where": 1}
_DATA_IS_OUTPUT = frozenset(
    {
        *("BlackmanWindow", "Constant", "ConstantOfShape", "EyeLike", "HammingWindow", "HannWindow", "If", "Loop"),
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Scan"),
    }
)


def check_types(subject: Subject) -> Iterator[Remark]:
    """Yield an error for each node that works on a type which the table does not give for it.

    What has no type in the model, and none that ONNX can infer, is counted and said.
    """
    untyped = 0
    for node in subject.nodes:
        row = subject.support.operators.get(node.op_type)
        if node.domain not in STANDARD or subject.calls_function(node) or row is None or not row.supported:
            continue
        if node.op_type == "Constant" and _feeds_quantizers(node):
            continue  # zero points: the table speaks of them at QuantizeLinear and DequantizeLinear
        dtypes = [dtype_of(value) for value in _data(node)]
        untyped += None in dtypes
        known = [dtype for dtype in dtypes if dtype is not None and dtype is not ir.DataType.DOUBLE]
        for name in dict.fromkeys(map(type_name, known)):
            if name not in row.types:
                yield of_node(
                    node, "error", f"works on {name}, TensorRT's table gives {', '.join(row.types)}", _remedy(name)
                )
        if node.op_type in _CASTS and len(_data(node)) == 2:
            yield from _of_uint8(subject, node)
    if untyped:
        yield Remark(
            severity="info",
            found=f"{untyped} nodes work on tensors of unknown type, which were not compared with the table",
            remedy="inline functions and run ONNX's shape inference over the file, then audit it again",
        )


def _data(node: ir.Node) -> Sequence[ir.Value]:
    """Return what a node's row of types speaks of."""
    if node.op_type in _DATA_IS_OUTPUT or not node.inputs:
        return [output for output in node.outputs if output.name]
    place = _DATA_INPUT.get(node.op_type, 0)
    data = [value for value in node.inputs[place : place + 1] if value is not None]
    return [*data, *node.outputs[:1]] if node.op_type in _CASTS else data


def _of_uint8(subject: Subject, cast: ir.Node) -> Iterator[Remark]:
    """Hold a Cast against the rules for uint8, which are stricter than its row."""
    source, target = _data(cast)
    given = dtype_of(source), dtype_of(target)
    if ir.DataType.UINT8 not in given:
        return
    other = given[1] if given[0] is ir.DataType.UINT8 else given[0]
    if other is not None and type_name(other) not in subject.support.uint8_casts_to:
        yield of_node(
            cast,
            "warning",
            f"casts between UINT8 and {type_name(other)}; TensorRT's documentation promises "
            f"{' and '.join(subject.support.uint8_casts_to)}",
            "cast to FP32 first, from there to any type",
        )
    if given[1] is ir.DataType.UINT8 and not (target.is_graph_output() and not target.uses()):
        yield of_node(cast, "error", "makes UINT8 inside the graph", _remedy("UINT8"))


def _feeds_quantizers(node: ir.Node) -> bool:
    readers = [use.node for output in node.outputs for use in output.uses()]
    return bool(readers) and all(reader.op_type in _QUANTIZERS for reader in readers)


def _remedy(name: str) -> str:
    if name == "UINT8":
        return "cast it to FP32 or FP16 first: UINT8 is for inputs and outputs of the graph only"
    if name in {"INT8", "INT4", "FP8", "FP4"}:
        return "put it between QuantizeLinear and DequantizeLinear: TensorRT takes the type as quantised floats only"
    return "cast to a type that the table gives"
