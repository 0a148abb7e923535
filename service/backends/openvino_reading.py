"""How OpenVINO gets an artifact's graph: from memory, and from files that are private to this process.

OpenVINO looks for weights outside the graph beside the file it reads, for a graph in memory in the working directory,
and maps them. So a graph that may refer to files is read from a directory that holds copies of those the manifest
lists, and nothing else; it is removed once they are read.
"""

import secrets
import tempfile
from pathlib import Path

import openvino

from artifact import Artifact
from service.backends.contract import files_beside, read_file
from service.backends.openvino_errors import FAILED, said
from service.problems.errors import GraphError

_REFERENCE = b"location"
"""The key that every reference of ONNX to a file outside the graph contains."""


def read_graph(core: openvino.Core, artifact: Artifact) -> openvino.Model:
    """Return the graph, with its own copy of all weights.

    Raises:
        GraphError: a file is not there any more, or no regular one, or OpenVINO cannot read the graph.
        OSError: there is no room for the copies.
    """
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
