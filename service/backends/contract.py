"""Checks common to all backends: the graph's tensors, and the files beside it."""

import os
from collections.abc import Sequence
from pathlib import Path

from artifact import Artifact, Manifest
from artifact.opening import UnreadableFileError, open_regular
from artifact.text import shown
from service.problems.errors import GraphError

Declared = tuple[str, str, Sequence[int | str | None]]
"""Name, NumPy dtype and shape of a graph's input or output; a dimension that is not a number is dynamic."""

_REASON = 500
"""Maximum number of characters of a runtime's message."""


def check_tensors(manifest: Manifest, inputs: Sequence[Declared], outputs: Sequence[Declared]) -> None:
    """Raise GraphError unless the graph's input and output match the manifest; the batch must be dynamic or 1."""
    tensor, output = manifest.input, manifest.output
    image = [tensor.height, tensor.width, 3] if tensor.layout == "NHWC" else [3, tensor.height, tensor.width]
    for role, found, expected in (
        ("input", inputs, (tensor.name, tensor.dtype, image)),
        ("output", outputs, (output.name, output.dtype, [output.classes])),
    ):
        names = [(name, dtype, list(shape[1:])) for name, dtype, shape in found]
        if names != [expected]:
            raise GraphError(
                f"the graph's {role} is {shown(names)}, the manifest specifies {[expected]} (name, type, shape without "
                "batch); export the artifact again"
            )
        batch = next(iter(found[0][2]), 1)
        if isinstance(batch, int) and batch != 1:
            raise GraphError(f"the graph's {role} has a fixed batch of {batch}; export it with a dynamic batch")


def files_beside(artifact: Artifact) -> dict[str, bytes]:
    """Return the contents of the files that the graph may refer to, by name.

    A runtime would keep such files mapped into memory: writing to one would change the results, and truncating one
    would end the process with SIGBUS. Bytes are copied instead.

    Raises:
        GraphError: a file is missing, or is not a regular file.
    """
    manifest = artifact.manifest
    others = {manifest.labels, artifact.graph.name}
    others |= {part.file for part in (manifest.golden, manifest.engine) if part is not None}
    return {name: read_file(artifact.path / name) for name in manifest.files if name not in others}


def read_file(path: Path) -> bytes:
    """Return the contents of an artifact's file. Raises GraphError if it is missing or not a regular file."""
    try:
        with open_regular(path) as file:  # may have been replaced since the verification
            return file.read()
    except UnreadableFileError as error:
        raise GraphError(f"{path}: {shown(path.name)} {error}; export the artifact again") from error


def utf8_path(path: Path) -> str:
    """Return a path for ONNX Runtime, which encodes it as UTF-8 in any locale. Raises GraphError if it is not UTF-8."""
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError as error:
        raise GraphError(
            f"the path {os.fsencode(path.parent)!r} is not UTF-8, which ONNX Runtime needs; rename the directory, or "
            "choose --backend openvino"
        ) from error


def reason(error: Exception | str) -> str:
    """Return a runtime's message, escaped and truncated, because it quotes names of the graph."""
    return shown(error, _REASON)
