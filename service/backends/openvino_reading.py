"""Reading an artifact's graph into OpenVINO: from memory, and from files that are private to this process.

OpenVINO looks for weights outside the graph beside the file it reads, for a graph in memory in the working directory,
and maps them. So a graph that may refer to files is read from a directory that holds copies of those the manifest
lists, and nothing else; it is removed once they are read.

The graph is given a batch of one image. What could then still need any amount of time or memory is refused: operators
that run a graph of their own, which cannot be interrupted, and tensors whose shape depends on the image.
"""

import secrets
import tempfile
from pathlib import Path
from typing import Any

import openvino

from artifact import Artifact, Manifest
from artifact.text import shown
from service.backends.contract import Declared, check_tensors, files_beside, read_file
from service.backends.openvino_errors import FAILED, said
from service.problems.errors import GraphError

_REFERENCE = b"location"
"""The key that every reference of ONNX to a file outside the graph contains."""

_CONTROL_FLOW = {"If", "Loop", "TensorIterator"}
"""OpenVINO's names of operators that run a graph of their own; ONNX's Scan is a TensorIterator."""


def read_graph(core: openvino.Core, artifact: Artifact) -> openvino.Model:
    """Return the graph for one image, with its own copy of all weights.

    Raises:
        GraphError: a file is not there any more, or no regular one, or OpenVINO cannot read the graph; or its input or
            output is not what the manifest says, or it has control flow, or shapes that depend on the image.
        OSError: there is no room for the copies.
    """
    model = _read_all(core, artifact)
    check_tensors(artifact.manifest, _declared(model.inputs), _declared(model.outputs))
    _check_control_flow(model)
    try:
        model.reshape(_one_image(artifact.manifest))
    except FAILED as error:
        raise GraphError(
            f"OpenVINO cannot run the graph on one image: {said(error)}; export the artifact again, or choose "
            "--backend onnxruntime"
        ) from error
    _check_shapes(model)
    return model


def _read_all(core: openvino.Core, artifact: Artifact) -> openvino.Model:
    graph = read_file(artifact.graph)
    if _REFERENCE not in graph:
        return _read(core, artifact, graph, None)
    with tempfile.TemporaryDirectory(prefix="posbake-") as folder:
        for name, content in files_beside(artifact).items():
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        copy = Path(folder, f"{secrets.token_hex(16)}.onnx")  # a name that the graph cannot refer to
        copy.write_bytes(graph)
        return _read(core, artifact, str(copy), folder)


def _read(core: openvino.Core, artifact: Artifact, source: bytes | str, folder: str | None) -> openvino.Model:
    try:
        return core.read_model(source, config={"ENABLE_MMAP": False})
    except FAILED as error:
        text = said(error)
        if folder is not None:
            text = text.replace(folder, str(artifact.path))
        raise GraphError(
            f"OpenVINO cannot read {artifact.graph}: {text}; export the artifact again, or choose --backend onnxruntime"
        ) from error


def _declared(ports: Any) -> list[Declared]:  # noqa: ANN401 -- it ships no types
    return [
        (
            next(iter(port.get_names()), ""),
            port.get_element_type().to_dtype().name,
            [None if side.is_dynamic else side.get_length() for side in port.get_partial_shape()],
        )
        for port in ports
    ]


def _check_control_flow(model: openvino.Model) -> None:
    for node in model.get_ops():
        if node.get_type_name() in _CONTROL_FLOW:
            raise GraphError(
                f"OpenVINO does not run {shown(node.get_friendly_name())} here: a {node.get_type_name()} cannot be "
                "interrupted; export the network without control flow, or choose --backend onnxruntime"
            )


def _one_image(manifest: Manifest) -> list[int]:
    tensor = manifest.input
    image = [tensor.height, tensor.width, 3] if tensor.layout == "NHWC" else [3, tensor.height, tensor.width]
    return [1, *image]


def _check_shapes(model: openvino.Model) -> None:
    for node in model.get_ops():
        if any(port.get_partial_shape().is_dynamic for port in node.outputs()):
            raise GraphError(
                f"OpenVINO does not run {shown(node.get_friendly_name())} here: its shape, and so the memory of a run, "
                "depends on the image; choose --backend onnxruntime"
            )
