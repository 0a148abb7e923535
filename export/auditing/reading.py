"""From a file to a graph, or one sentence on why not."""

from pathlib import Path, PurePath

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types

from artifact.text import shown
from export.auditing.errors import UnreadableModelError


def load_model(path: Path) -> ir.Model:
    """Read an ONNX file; data kept in other files is looked for, and read when it is needed.

    Raises:
        UnreadableModelError: there is no such file, it is not ONNX, it is damaged, or a data file is missing or short.
    """
    try:
        model = ir.load(path, format="protobuf")
    except OSError as error:
        raise UnreadableModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (DecodeError, ir.serde.SerdeError) as error:
        raise UnreadableModelError(f"{path} is not an ONNX model, or is damaged: {_first_line(error)}") from error
    if not model.opset_imports:  # every ONNX model names one; what holds none is something else, or empty
        raise UnreadableModelError(f"{path} is not an ONNX model: it names no opset")
    for graph in model.graphs():
        for value in graph.initializers.values():
            _check_tensor(value, path)
        for value in graph.outputs:
            if not _is_made(value):
                raise UnreadableModelError(f"{path} is damaged: nothing makes the output {value.name!r}")
    for node in (*model.graph.all_nodes(), *(node for body in model.functions.values() for node in body.all_nodes())):
        _check_node(node, path)
    try:
        model.graph.sort()  # ONNX asks for it, not every exporter does it
    except ValueError as error:
        raise UnreadableModelError(f"{path} is damaged: its nodes go round in a circle") from error
    return model


def _check_tensor(value: ir.Value, path: Path) -> None:
    match value.const_value:
        case ir.ExternalTensor() as tensor:
            _look_for_data(tensor)
        case ir.TensorProtoTensor() as tensor:
            try:
                onnx.checker.check_tensor(tensor.raw)
            except onnx.checker.ValidationError as error:
                raise UnreadableModelError(
                    f"{path} is damaged, in tensor {value.name}: {_first_line(error)}"
                ) from error


def _check_node(node: ir.Node, path: Path) -> None:
    if not isinstance(node.op_type, str) or not node.op_type:  # protobuf hands over bytes that are no text as they are
        raise UnreadableModelError(f"{path} is damaged: node {node.name!r} has the operator {node.op_type!r}")
    for value in node.inputs:
        if value is not None and not _is_made(value):
            raise UnreadableModelError(
                f"{path} is damaged: {node.op_type} {node.name!r} reads {value.name!r}, which nothing makes"
            )


def _is_made(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_initializer() or value.is_graph_input()


def _look_for_data(tensor: ir.ExternalTensor) -> None:
    location = PurePath(tensor.location)
    if location.is_absolute() or ".." in location.parts:
        raise UnreadableModelError(
            f"{shown(tensor.name)} is kept in {shown(repr(str(location)))}, which leaves the model's directory, and is "
            "not opened; put the data beside the model"
        )
    file = Path(tensor.path)
    if not file.is_file():
        raise UnreadableModelError(f"{tensor.name} is kept in {file}, which is not there: put it beside the model")
    end, size = (tensor.offset or 0) + (tensor.length or tensor.nbytes), file.stat().st_size
    if end > size:
        raise UnreadableModelError(
            f"{tensor.name} ends at byte {end} of {file}, which has {size}: the file is cut off, copy it again"
        )
    try:
        tensor.numpy()  # maps the file, reads nothing yet; refuses paths that leave the model's directory
    except (OSError, ValueError) as error:
        raise UnreadableModelError(f"cannot read {tensor.name} from {file}: {_first_line(error)}") from error
    tensor.release()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
