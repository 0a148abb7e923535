"""Checks for work, dynamic sizes and bytes that deployment does not need, for any runtime."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import onnx_ir as ir

from export.auditing.findings import Finding, of_node, of_tensor
from export.auditing.reading import Subject
from export.auditing.rules import dtype_of, type_name
from export.passes.origins import SIZES, STANDARD, Origin, is_constant_only, origin_of
from export.process.errors import UnreadableModelError

SMALLEST = 256
"""Minimum size in bytes of listed duplicates; smaller tensors are shapes, axes and scalars."""

_SIZED_BY_VALUES = frozenset({"ConstantOfShape", "NonZero", "Range"})
_IN_FLOAT32 = "make it float32 in the network; TensorRT narrows it, and values beyond float32 are cut off"


def check_constant_only(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each node with constant inputs, or inputs computed from constants only."""
    remedy = "fold it: export with posbake, or run a constant folder over the file"
    for node in subject.nodes:
        if is_constant_only(node, subject.origins):
            yield of_node(node, "warning", "computes the same for every image", remedy)


def check_shape_arithmetic(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each node that only computes sizes, or has an output size that depends on values."""
    for node in subject.nodes:
        standard = node.domain in STANDARD
        match origin_of(node, subject.origins):
            case Origin.SIZE if standard and node.op_type in SIZES:
                remedy = (
                    "write sizes into the graph: Reshape takes 0 and −1 in place of the batch, and the rest is static"
                )
                yield of_node(node, "warning", "reads a size while the graph runs", remedy)
            case Origin.SIZE:
                remedy = "it goes with the Shape or Size that it is computed from"
                yield of_node(node, "warning", "computed from sizes only", remedy)
            case Origin.DATA if standard and node.op_type in _SIZED_BY_VALUES:
                remedy = "make the size static: such a tensor cannot be planned for"
                yield of_node(node, "warning", "its output's size depends on values", remedy)


def check_dimensions(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each dynamic dimension other than the batch, and information about fixed batches."""
    inputs = subject.inputs()
    open_batch = any(value.shape is not None and _is_open(value.shape, 0) for value in inputs)
    for kind, values in (("input", inputs), ("output", subject.model.graph.outputs)):
        for value in values:
            yield from _dimensions_of(kind, value, open_batch=open_batch)


def _dimensions_of(kind: str, value: ir.Value, *, open_batch: bool) -> Iterator[Finding]:
    if value.shape is None:
        remedy = "export it with static sizes, only the batch left open"
        yield of_tensor(value, "warning", f"{kind} without a shape", remedy)
        return
    sizes = ", ".join(str(size) if isinstance(size, int) else str(size.value or "?") for size in value.shape)
    for axis in range(1, len(value.shape)):
        if _is_open(value.shape, axis):
            remedy = "fix it at export: position tables are made for one size"
            yield of_tensor(value, "warning", f"{kind} [{sizes}]: axis {axis} is open", remedy)
    if len(value.shape) and not _is_open(value.shape, 0):
        if kind == "output" and open_batch:
            found = f"output [{sizes}]: the batch is fixed, that of the input is open"
            yield of_tensor(value, "warning", found, "look for len(x) or int(x.shape[0]) in the network")
        else:
            remedy = "export with a dynamic batch if requests shall share a run"
            yield of_tensor(value, "info", f"{kind} [{sizes}]: the batch is fixed", remedy)


def _is_open(shape: ir.Shape, axis: int) -> bool:
    return axis < len(shape) and not isinstance(shape[axis], int)


def check_domains(subject: Subject) -> Iterator[Finding]:
    """Yield an error for each operator outside the standard domain, a warning for each function."""
    calls = Counter(node.op_identifier() for node in subject.nodes)
    for identifier, function in subject.model.functions.items():
        yield Finding(
            severity="warning",
            found=f"function of domain {function.domain or 'ai.onnx'}, called {calls[identifier]} times",
            remedy="inline it with onnx.inliner.inline_local_functions: not every runtime takes functions",
            name=function.name,
        )
    for node in subject.nodes:
        if node.domain not in STANDARD and not subject.calls_function(node):
            remedy = "export without it, or give TensorRT a plugin of that name"
            yield of_node(node, "error", f"of domain {node.domain}, which only some runtimes know", remedy)


def check_duplicates(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each set of stored tensors of one type, one shape and the same bytes.

    Only tensors that share type and shape with another one are read, one at a time. Strings are ignored.

    Raises:
        UnreadableModelError: a tensor's data cannot be read.
    """
    alike: dict[tuple[ir.DataType, tuple[int, ...]], list[tuple[ir.Value, ir.TensorProtocol]]] = defaultdict(list)
    for value, tensor in subject.stored():
        if tensor.dtype is not ir.DataType.STRING and tensor.nbytes >= SMALLEST:
            alike[tensor.dtype, tuple(tensor.shape.numpy())].append((value, tensor))
    for (dtype, shape), stored in alike.items():
        for same in _same_bytes(stored) if len(stored) > 1 else ():
            wasted = (len(same) - 1) * stored[0][1].nbytes
            others = ", ".join(str(value.name) for value in same[1:4]) + (", …" if len(same) > 4 else "")
            found = f"{type_name(dtype)} {list(shape)} stored {len(same)} times, {wasted} bytes wasted; also {others}"
            yield of_tensor(same[0], "warning", found, "let them share one initialiser")


def _same_bytes(stored: Iterable[tuple[ir.Value, ir.TensorProtocol]]) -> Iterator[list[ir.Value]]:
    by_hash: dict[bytes, list[ir.Value]] = defaultdict(list)
    for value, tensor in stored:
        try:
            by_hash[hashlib.sha256(tensor.tobytes()).digest()].append(value)
        except (OSError, ValueError) as error:
            raise UnreadableModelError(f"cannot read the data of {value.name}: {error}") from error
    return (same for same in by_hash.values() if len(same) > 1)


def check_float64(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each input, stored tensor and node in float64, which TensorRT narrows to float32."""
    for kind, values in (("input", subject.inputs()), ("stored tensor", subject.initializers())):
        for value in values:
            if dtype_of(value) is ir.DataType.DOUBLE:
                yield of_tensor(value, "warning", f"{kind} in float64", _IN_FLOAT32)
    for node in subject.nodes:
        if any(dtype_of(output) is ir.DataType.DOUBLE for output in node.outputs):
            yield of_node(node, "warning", "computes in float64", _IN_FLOAT32)


def check_unused(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each stored tensor that no node reads and that is no output."""
    for value, tensor in subject.stored():
        if not value.uses() and not value.is_graph_output():
            yield of_tensor(
                value, "warning", f"stored and never read, {tensor.nbytes} bytes", "remove it from the file"
            )
