"""Reader of an artifact's graph for OpenVINO: from memory, or from private copies of files.

OpenVINO maps external weights; it searches them beside the graph's file, or for a graph in memory in the working
directory. Therefore a graph that may refer to files is read from a temporary directory with copies of the files in the
manifest, which is removed after reading.

The batch is set to one image. Graphs whose time or memory is still unbounded are refused: operators with subgraphs,
which cannot be interrupted, and tensors with shapes that depend on the image.
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
"""Key in every ONNX reference to an external file."""

_CONTROL_FLOW = {"If", "Loop", "TensorIterator"}
"""OpenVINO's names of operators with subgraphs; ONNX's Scan is a TensorIterator."""


def read_graph(core: openvino.Core, artifact: Artifact) -> openvino.Model:
    """Read the graph for one image, with a copy of all weights.

    Raises:
        GraphError: a file is missing or not a regular file, or OpenVINO cannot read the graph, or its input or output
            does not match the manifest, or it has control flow or shapes that depend on the image.
        OSError: there is no disk space for the copies.
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
