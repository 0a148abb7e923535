"""Checks that do not depend on the runtime: unnecessary work, dynamic sizes, and unnecessary bytes."""

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
"""Minimum size in bytes of reported duplicates; smaller tensors are shapes, axes and scalars."""

_DATA_DEPENDENT_SHAPE = frozenset({"ConstantOfShape", "NonZero", "Range"})
_IN_FLOAT32 = "use float32 in the network; TensorRT converts to float32, and larger values are clamped"


def check_constant_only(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each node that depends on constants only."""
    remedy = "fold it: export with posbake, or apply constant folding to the file"
    for node in subject.nodes:
        if is_constant_only(node, subject.origins):
            yield of_node(node, "warning", "result does not depend on the image", remedy)


def check_shape_arithmetic(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each node that only computes sizes, or has a data-dependent output shape."""
    for node in subject.nodes:
        standard = node.domain in STANDARD
        match origin_of(node, subject.origins):
            case Origin.SIZE if standard and node.op_type in SIZES:
                remedy = "use constant sizes: Reshape accepts 0 and −1 for the batch, and other sizes are static"
                yield of_node(node, "warning", "reads a shape at run time", remedy)
            case Origin.SIZE:
                remedy = "remove the Shape or Size that it depends on"
                yield of_node(node, "warning", "computed from shapes only", remedy)
            case Origin.DATA if standard and node.op_type in _DATA_DEPENDENT_SHAPE:
                remedy = "make the shape static: runtimes cannot plan memory for a data-dependent shape"
                yield of_node(node, "warning", "data-dependent output shape", remedy)


def check_dimensions(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each dynamic dimension other than the batch, and information about fixed batch sizes."""
    inputs = subject.inputs()
    dynamic_batch = any(value.shape is not None and _is_dynamic(value.shape, 0) for value in inputs)
    for kind, values in (("input", inputs), ("output", subject.model.graph.outputs)):
        for value in values:
            yield from _dimensions_of(kind, value, dynamic_batch=dynamic_batch)


def _dimensions_of(kind: str, value: ir.Value, *, dynamic_batch: bool) -> Iterator[Finding]:
    if value.shape is None:
        remedy = "export it with static sizes and a dynamic batch"
        yield of_tensor(value, "warning", f"{kind} without a shape", remedy)
        return
    sizes = ", ".join(str(size) if isinstance(size, int) else str(size.value or "?") for size in value.shape)
    for axis in range(1, len(value.shape)):
        if _is_dynamic(value.shape, axis):
            remedy = "export with a fixed size: position tables have one size"
            yield of_tensor(value, "warning", f"{kind} [{sizes}]: axis {axis} is dynamic", remedy)
    if len(value.shape) and not _is_dynamic(value.shape, 0):
        if kind == "output" and dynamic_batch:
            found = f"output [{sizes}]: the batch is fixed, that of the input is dynamic"
            yield of_tensor(value, "warning", found, "look for len(x) or int(x.shape[0]) in the network")
        else:
            remedy = "export with a dynamic batch to serve several requests in one run"
            yield of_tensor(value, "info", f"{kind} [{sizes}]: the batch is fixed", remedy)


def _is_dynamic(shape: ir.Shape, axis: int) -> bool:
    return axis < len(shape) and not isinstance(shape[axis], int)


def check_domains(subject: Subject) -> Iterator[Finding]:
    """Yield an error for each operator outside the standard domain, a warning for each function."""
    calls = Counter(node.op_identifier() for node in subject.nodes)
    for identifier, function in subject.model.functions.items():
        yield Finding(
            severity="warning",
            found=f"function of domain {function.domain or 'ai.onnx'}, called {calls[identifier]} times",
            remedy="inline it with onnx.inliner.inline_local_functions: not every runtime supports functions",
            name=function.name,
        )
    for node in subject.nodes:
        if node.domain not in STANDARD and not subject.calls_function(node):
            remedy = "export without it, or provide a TensorRT plugin of that name"
            yield of_node(node, "error", f"domain {node.domain} is supported by some runtimes only", remedy)


def check_duplicates(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each set of initialisers with the same dtype, shape and bytes.

    Only tensors that share dtype and shape with another one are read, one at a time. Strings are ignored.

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
            yield of_tensor(same[0], "warning", found, "use one initialiser for all")


def _same_bytes(stored: Iterable[tuple[ir.Value, ir.TensorProtocol]]) -> Iterator[list[ir.Value]]:
    by_hash: dict[bytes, list[ir.Value]] = defaultdict(list)
    for value, tensor in stored:
        try:
            by_hash[hashlib.sha256(tensor.tobytes()).digest()].append(value)
        except (OSError, ValueError) as error:
            raise UnreadableModelError(f"cannot read the data of {value.name}: {error}") from error
    return (same for same in by_hash.values() if len(same) > 1)


def check_float64(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each input, initialiser and node in float64, which TensorRT converts to float32."""
    for kind, values in (("input", subject.inputs()), ("initialiser", subject.initializers())):
        for value in values:
            if dtype_of(value) is ir.DataType.DOUBLE:
                yield of_tensor(value, "warning", f"{kind} in float64", _IN_FLOAT32)
    for node in subject.nodes:
        if any(dtype_of(output) is ir.DataType.DOUBLE for output in node.outputs):
            yield of_node(node, "warning", "computes in float64", _IN_FLOAT32)


def check_unused(subject: Subject) -> Iterator[Finding]:
    """Yield a warning for each initialiser that no node reads and that is not an output."""
    for value, tensor in subject.stored():
        if not value.uses() and not value.is_graph_output():
            yield of_tensor(
                value, "warning", f"stored and never read, {tensor.nbytes} bytes", "remove it from the file"
            )
