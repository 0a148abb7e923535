"""Parts of an artifact that every backend checks and reads: the graph's tensors, and the files beside it."""

from collections.abc import Sequence
from pathlib import Path

from artifact import Artifact, Manifest
from artifact.opening import UnreadableFileError, open_regular
from artifact.text import shown
from service.problems.errors import GraphError

Declared = tuple[str, str, Sequence[int | str | None]]
"""Name, dtype as NumPy names it, and shape of a graph's input or output; what is no number is a dynamic dimension."""

_REASON = 500
"""Characters of what a runtime says."""


def check_tensors(manifest: Manifest, inputs: Sequence[Declared], outputs: Sequence[Declared]) -> None:
    """Raise GraphError unless the graph's input and output are the manifest's; the batch must be dynamic or 1."""
    tensor, output = manifest.input, manifest.output
    image = [tensor.height, tensor.width, 3] if tensor.layout == "NHWC" else [3, tensor.height, tensor.width]
    for role, found, expected in (
        ("input", inputs, (tensor.name, tensor.dtype, image)),
        ("output", outputs, (output.name, output.dtype, [output.classes])),
    ):
        names = [(name, dtype, list(shape[1:])) for name, dtype, shape in found]
        if names != [expected]:
            raise GraphError(
                f"the graph's {role} is {shown(names)}, the manifest says {[expected]} (name, type, shape without "
                "batch); export the artifact again"
            )
        batch = next(iter(found[0][2]), 1)
        if isinstance(batch, int) and batch != 1:
            raise GraphError(f"the graph's {role} has a fixed batch of {batch}; export it with a dynamic batch")


def files_beside(artifact: Artifact) -> dict[str, bytes]:
    """Return what the graph may refer to, by name.

    A runtime would map such files into memory for as long as it runs: writing to one would change the answers, and
    truncating one would end the process with SIGBUS. It copies what it is given as bytes.

    Raises:
        GraphError: a file is not there any more, or no regular one.
    """
    manifest = artifact.manifest
    others = {manifest.labels, artifact.graph.name}
    others |= {part.file for part in (manifest.golden, manifest.engine) if part is not None}
    return {name: read_file(artifact.path / name) for name in manifest.files if name not in others}


def read_file(path: Path) -> bytes:
    """Return what a file of an artifact holds. Raises GraphError: it is not there any more, or no regular one."""
    try:
        with open_regular(path) as file:  # it may have been replaced since it was verified
            return file.read()
    except UnreadableFileError as error:
        raise GraphError(f"{path}: {shown(path.name)} {error}; export the artifact again") from error


def reason(error: Exception | str) -> str:
    """Return what a runtime says, which quotes the graph's names."""
    return shown(error, _REASON)
