"""Checks of a graph against TensorRT's support table: opset, operators, types and restrictions."""

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from export.auditing.findings import Finding, of_node
from export.auditing.reading import Subject
from export.auditing.rules import dtype_of, type_name
from export.auditing.support import version_order
from export.passes.origins import STANDARD

_CASTS = frozenset({"Cast", "CastLike"})
_QUANTIZERS = frozenset({"DequantizeLinear", "QuantizeLinear"})
# Position of the data, if it is not the first input.
_DATA_INPUT = {"OneHot": 2, "Where": 1}
_DATA_IS_OUTPUT = frozenset(
    {
        *("BlackmanWindow", "Constant", "ConstantOfShape", "EyeLike", "HammingWindow", "HannWindow", "If", "Loop"),
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Scan"),
    }
)
_SEE_TABLE = "change the node to meet the restrictions in the operator's row of the support table"


def check_opsets(subject: Subject) -> Iterator[Finding]:
    """Yield an error for an unsupported opset, a warning for one that the table does not cover."""
    model = subject.model
    users = [("the model", model.opset_imports)]
    users += [(f"function {body.name}", body.opset_imports) for body in model.functions.values()]
    for user, imports in users:
        for opset in sorted({version for domain, version in imports.items() if domain in STANDARD}):
            yield from _opset_of(subject, user, opset)


def _opset_of(subject: Subject, user: str, opset: int) -> Iterator[Finding]:
    support = subject.support
    newest = support.opset_max[support.tensorrt]
    known, last = support.last_opset(subject.tensorrt)
    if opset < support.opset_min:
        yield Finding(
            severity="error",
            found=f"{user} has opset {opset}, TensorRT supports {support.opset_min} and later",
            remedy="export again, or convert with onnx.version_converter",
        )
    elif opset > newest or (opset > last and known == subject.tensorrt):
        version, limit = (support.tensorrt, newest) if opset > newest else (known, last)
        yield Finding(
            severity="error",
            found=f"{user} has opset {opset}, TensorRT {version} supports up to {limit}",
            remedy=f"export with opset {last} or earlier, or use a newer TensorRT",
        )
    elif opset > last:
        yield Finding(
            severity="warning",
            found=f"{user} has opset {opset}; TensorRT {known} supports up to {last}, and {support.tensorrt} up to "
            f"{newest}; the table does not contain {subject.tensorrt}",
            remedy=f"export with opset {last} or earlier, or test it",
        )


def check_operators(subject: Subject) -> Iterator[Finding]:
    """Yield an error for each node of the standard domain that the table excludes or does not list."""
    remedy = "express it by other operators, or provide a TensorRT plugin"
    for node in subject.nodes:
        if node.domain not in STANDARD or subject.calls_function(node):
            continue
        row = subject.support.operators.get(node.op_type)
        if row is None:
            yield of_node(node, "error", f"TensorRT's table does not list {node.op_type}", remedy)
        elif not row.supported:
            yield of_node(node, "error", f"TensorRT does not support {node.op_type}", remedy)
        elif row.since is not None and version_order(row.since) > version_order(subject.tensorrt):
            found = f"TensorRT supports {node.op_type} since {row.since}, not in {subject.tensorrt}"
            newer = f"use TensorRT {row.since} or later, or an opset that expresses it by other operators"
            yield of_node(node, "error", found, newer)


def check_types(subject: Subject) -> Iterator[Finding]:
    """Yield an error for each node with a type that the table does not list for its operator.

    float64 has a separate check. uint8 is allowed only for inputs and outputs of the graph, cast to or from floats.
    Nodes whose types are neither in the model nor inferred by ONNX are counted and reported.
    """
    untyped = 0
    for node, row in subject.listed_nodes():
        if not row.supported or (node.op_type == "Constant" and _feeds_quantizers(node)):
            continue  # zero points, which the rows of QuantizeLinear and DequantizeLinear cover
        data = _data(node)
        dtypes = [dtype_of(value) for value in data]
        untyped += None in dtypes
        known = [dtype for dtype in dtypes if dtype is not None and dtype is not ir.DataType.DOUBLE]
        for name in dict.fromkeys(map(type_name, known)):
            if name not in row.types:
                found = f"type {name} is not supported, TensorRT's table lists {', '.join(row.types)}"
                yield of_node(node, "error", found, _other_type(name))
        if node.op_type in _CASTS and len(data) == 2:
            yield from _uint8_cast(subject, node, *data)
    if untyped:
        yield Finding(
            severity="info",
            found=f"{untyped} nodes have tensors of unknown type, which were not compared with the table",
            remedy="inline functions and apply ONNX's shape inference to the file, then audit it again",
        )


def _data(node: ir.Node) -> Sequence[ir.Value]:
    """Return the values to which the types of a node's row apply."""
    if node.op_type in _DATA_IS_OUTPUT or not node.inputs:
        return [output for output in node.outputs if output.name]
    place = _DATA_INPUT.get(node.op_type, 0)
    data = [value for value in node.inputs[place : place + 1] if value is not None]
    return [*data, *node.outputs[:1]] if node.op_type in _CASTS else data


def _uint8_cast(subject: Subject, cast: ir.Node, source: ir.Value, target: ir.Value) -> Iterator[Finding]:
    """Check a Cast against the rules for uint8, which are stricter than its row."""
    given = dtype_of(source), dtype_of(target)
    if ir.DataType.UINT8 not in given:
        return
    other = given[1] if given[0] is ir.DataType.UINT8 else given[0]
    if other is not None and type_name(other) not in subject.support.uint8_casts_to:
        documented = " and ".join(subject.support.uint8_casts_to)
        found = f"casts between UINT8 and {type_name(other)}; TensorRT documents {documented}"
        yield of_node(cast, "warning", found, "cast to FP32 first, and then to the other type")
    if given[1] is ir.DataType.UINT8 and not (target.is_graph_output() and not target.uses()):
        yield of_node(cast, "error", "casts to UINT8 inside the graph", _other_type("UINT8"))


def _feeds_quantizers(node: ir.Node) -> bool:
    readers = [use.node for output in node.outputs for use in output.uses()]
    return bool(readers) and all(reader.op_type in _QUANTIZERS for reader in readers)


def _other_type(name: str) -> str:
    """Return the remedy for a type that the table does not list."""
    if name == "UINT8":
        return "cast it to FP32 or FP16 first: UINT8 is allowed only for inputs and outputs of the graph"
    if name in {"INT8", "INT4", "FP8", "FP4"}:
        return "use it between QuantizeLinear and DequantizeLinear: TensorRT supports it for quantised floats only"
    return "cast to a type that the table lists"


def check_restrictions(subject: Subject) -> Iterator[Finding]:
    """Yield an error for each violated restriction, and information about those that cannot be checked."""
    for node, row in subject.listed_nodes():
        for rule in row.rules:
            for broken in rule.check(node, subject.origins):
                yield of_node(node, "error" if broken.certain else "info", broken.found, _SEE_TABLE)
        if row.unchecked is not None:
            yield of_node(node, "info", f"not checked: {row.unchecked}", _SEE_TABLE)
