"""Writing of a graph to one file, or to a graph file and a data file above protobuf's limit.

A protobuf message is limited to 2 GiB. Above that, ONNX stores the weights in a data file, with a path relative to the
graph (ONNX, "External Data"). Both forms are written tensor by tensor, because protobuf's serialisation would need
three more copies of all weights in memory.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from export.process.errors import ExportError, first_line

ONE_FILE_LIMIT = 2**31 - 2**26
"""Maximum size in bytes of the initialisers in the graph file; the rest of 2 GiB is for nodes and names."""

_STAYS = 1024
"""Maximum size in bytes of constants that stay in the graph file: ONNX Runtime requires shapes there."""

# Tags of length-delimited fields (onnx.proto): field number << 3 | 2.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = b"\x3a", b"\x2a", b"\x4a"


def save_graph(model: ir.Model, path: Path, limit: int = ONE_FILE_LIMIT) -> None:
    """Write a graph. Release `model` before `check_graph`, which reads the whole file again.

    Args:
        model: the model; it is not modified.
        path: path of the graph file; external weights are written to `<path>.data`.
        limit: size of the initialisers in bytes above which the weights are external.

    Raises:
        OSError: the file cannot be written.
    """
    with _without_value_info(model):
        if initialiser_bytes(model) <= limit:
            _save_in_one(model, path)
        else:
            _save_in_two(model, path)


def _save_in_two(model: ir.Model, path: Path) -> None:
    try:
        ir.save(model, path, external_data=f"{path.name}.data", size_threshold_bytes=_STAYS)
    except OSError as error:
        if error.errno is not None:
            raise
        # NumPy's tofile raises an OSError without errno if the disk is full.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def check_graph(path: Path) -> None:
    """Check a written graph with ONNX's checker.

    Raises:
        ExportError: the graph is not valid ONNX.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {first_line(error)}") from error


def initialiser_bytes(model: ir.Model) -> int:
    """Return the size of the constants of a graph and its subgraphs in bytes."""
    values = (value for graph in model.graphs() for value in graph.initializers.values())
    return sum(int(value.const_value.nbytes) for value in values if value.const_value is not None)


def _save_in_one(model: ir.Model, path: Path) -> None:
    """Write the model as protobuf does, except for the order of the graph's fields, which is irrelevant."""
    large = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes > _STAYS
    }
    with _without_data(model, large):
        proto = ir.to_proto(model)
    heads = {
        tensor.name: _head(tensor, large[tensor.name]) for tensor in proto.graph.initializer if tensor.name in large
    }
    stays = [tensor for tensor in proto.graph.initializer if tensor.name not in large]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(stays)
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    length = len(graph) + sum(len(head) + large[name].nbytes for name, head in heads.items())
    with path.open("wb") as file:
        file.write(proto.SerializeToString())
        file.write(_MODEL_GRAPH + _varint(length) + graph)
        for name, head in heads.items():
            file.write(head)
            file.write(large[name].tobytes())


def _head(tensor: onnx.TensorProto, data: ir.TensorProtocol) -> bytes:
    """Return the serialised initialiser up to its raw data: tag, length, name, dtype, shape, and length of the data."""
    named: bytes = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims).SerializeToString()
    inner = named + _TENSOR_RAW_DATA + _varint(data.nbytes)
    return _GRAPH_INITIALIZER + _varint(len(inner) + data.nbytes) + inner


@contextmanager
def _without_value_info(model: ir.Model) -> Iterator[None]:
    """Remove initialisers from `value_info` inside the context.

    ONNX Runtime's quantisers replace weights by transposed ones of the same name without updating `value_info`, and
    then fail because the shapes differ.
    """
    values = [
        (value, value.type, value.shape, dict(value.metadata_props))
        for graph in model.graphs()
        for value in graph.initializers.values()
        if not value.is_graph_input()
    ]
    try:
        for value, *_ in values:
            value.type = value.shape = None
            value.metadata_props.clear()  # metadata of onnxscript would create entries without a type
        yield
    finally:
        for value, kind, shape, noted in values:
            value.type, value.shape = kind, shape
            value.metadata_props.update(noted)


@contextmanager
def _without_data(model: ir.Model, large: dict[str, ir.TensorProtocol]) -> Iterator[None]:
    """Replace the data of initialisers by references to a file, which is not read, inside the context."""
    values = {name: model.graph.initializers[name] for name in large}
    try:
        for name, value in values.items():
            data = large[name]
            shape = ir.Shape(data.shape.numpy())
            value.const_value = ir.ExternalTensor("", 0, data.nbytes, data.dtype, shape=shape, name=name)
        yield
    finally:
        for name, value in values.items():
            value.const_value = large[name]


def _varint(number: int) -> bytes:
    """Return a protobuf varint: seven bits per byte, lowest first; the highest bit is set in all bytes but the last."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
