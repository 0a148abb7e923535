"""Reading of ONNX files with errors of one sentence, and the facts of a model for the checks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from onnx_ir.passes.common import ShapeInferencePass

from artifact.text import shown
from export.auditing.support import Operator, Support
from export.passes.origins import STANDARD, Origin, all_nodes, trace_origins
from export.process.errors import UnreadableModelError, first_line


def load_model(path: Path) -> ir.Model:
    """Read an ONNX file; external data are checked, and read when needed.

    Raises:
        UnreadableModelError: the file is missing, damaged or not ONNX, or a data file is missing or truncated.
    """
    try:
        model = ir.load(path, format="protobuf")
    except OSError as error:
        raise UnreadableModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (DecodeError, ir.serde.SerdeError) as error:
        raise UnreadableModelError(
            f"{path} is not an ONNX model, or is damaged: {first_line(error) or type(error).__name__}"
        ) from error
    if not model.opset_imports:  # required in ONNX; empty and foreign files may parse without one
        raise UnreadableModelError(f"{path} is not an ONNX model: it has no opset")
    for graph in model.graphs():
        for value in graph.initializers.values():
            _check_tensor(value, path)
        for value in graph.outputs:
            if not _is_defined(value):
                raise UnreadableModelError(f"{path} is damaged: no node produces the output {value.name!r}")
    for node in all_nodes(model):
        _check_node(node, path)
    try:
        model.graph.sort()  # required by ONNX, but not done by every exporter
    except ValueError as error:
        raise UnreadableModelError(f"{path} is damaged: the graph has a cycle") from error
    return model


def _check_tensor(value: ir.Value, path: Path) -> None:
    match value.const_value:
        case ir.ExternalTensor() as tensor:
            _look_for_data(tensor)
        case ir.TensorProtoTensor() as tensor:
            try:
                onnx.checker.check_tensor(tensor.raw)
            except onnx.checker.ValidationError as error:
                raise UnreadableModelError(f"{path} is damaged, in tensor {value.name}: {first_line(error)}") from error


def _check_node(node: ir.Node, path: Path) -> None:
    if not isinstance(node.op_type, str) or not node.op_type:  # protobuf returns invalid UTF-8 as bytes
        raise UnreadableModelError(f"{path} is damaged: node {node.name!r} has the operator {node.op_type!r}")
    for value in node.inputs:
        if value is not None and not _is_defined(value):
            raise UnreadableModelError(
                f"{path} is damaged: {node.op_type} {node.name!r} reads {value.name!r}, which no node produces"
            )


def _is_defined(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_initializer() or value.is_graph_input()


def _look_for_data(tensor: ir.ExternalTensor) -> None:
    location = PurePath(tensor.location)
    if location.is_absolute() or ".." in location.parts:
        raise UnreadableModelError(
            f"the data of {shown(tensor.name)} are in {shown(repr(str(location)))}, outside the model's directory, and "
            "are not read; move the data file to the model's directory"
        )
    file = Path(tensor.path)
    if not file.is_file():
        raise UnreadableModelError(
            f"the data file {file} of {tensor.name} is missing; copy it to the model's directory"
        )
    end, size = (tensor.offset or 0) + (tensor.length or tensor.nbytes), file.stat().st_size
    if end > size:
        raise UnreadableModelError(
            f"{file} is truncated: {tensor.name} ends at byte {end}, the file has {size} bytes; copy it again"
        )
    try:
        tensor.numpy()  # maps the file without reading it; raises for paths outside the model's directory
    except (OSError, ValueError) as error:
        raise UnreadableModelError(f"cannot read {tensor.name} from {file}: {first_line(error)}") from error
    tensor.release()


@dataclass(frozen=True)
class Subject:
    """Model under audit.

    Attributes:
        model: the model, with inferred types and shapes.
        nodes: nodes of the graph, its subgraphs and its functions.
        origins: origin of every value.
        tensorrt: TensorRT version as `major.minor`.
        support: support table.
    """

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    origins: dict[ir.Value, Origin]
    tensorrt: str
    support: Support

    def inputs(self) -> list[ir.Value]:
        """Return the inputs of the graph without initialisers, which old models list as inputs."""
        return [value for value in self.model.graph.inputs if not value.is_initializer()]

    def initializers(self) -> Iterator[ir.Value]:
        """Yield the initialisers of the graph and its subgraphs."""
        for graph in self.model.graphs():
            yield from graph.initializers.values()

    def stored(self) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
        """Yield the initialisers that have data, and their tensors."""
        for value in self.initializers():
            if value.const_value is not None:
                yield value, value.const_value

    def calls_function(self, node: ir.Node) -> bool:
        """Return whether a node calls a function of the model."""
        return node.op_identifier() in self.model.functions

    def listed_nodes(self) -> Iterator[tuple[ir.Node, Operator]]:
        """Yield the nodes that the support table lists, with their rows."""
        for node in self.nodes:
            row = self.support.operators.get(node.op_type)
            if node.domain in STANDARD and not self.calls_function(node) and row is not None:
                yield node, row


def make_subject(model: ir.Model, tensorrt: str, support: Support, *, in_place: bool = False) -> Subject:
    """Return the facts of a model for the checks; `in_place` writes inferred types into the model."""
    typed = _with_types(model, in_place=in_place)
    return Subject(typed, tuple(all_nodes(typed)), trace_origins(typed), tensorrt, support)


def _with_types(model: ir.Model, *, in_place: bool) -> ir.Model:
    """Return the model if all types are known, otherwise a copy with types inferred by ONNX."""
    if all(output.dtype is not None for node in model.graph.all_nodes() for output in node.outputs):
        return model
    copy = model if in_place else model.clone()
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(copy)
    return copy
