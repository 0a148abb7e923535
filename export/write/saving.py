"""Graph files: one file, or a file and its weights beside it.

A protobuf message ends at 2 GiB. ONNX can keep the numbers in a data file, which the graph names by a path relative to
its own (ONNX, "External Data"); they are then written tensor by tensor.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from export.errors import ExportError, first_line

ONE_FILE_LIMIT = 2**29
"""Bytes of initialisers that still go into the graph's own file: to write it, protobuf holds them twice more."""

_STAYS = 1024
"""Bytes. ONNX Runtime wants shapes and other small constants in the graph itself, where it reads them to plan."""


def save_graph(model: ir.Model, path: Path, limit: int = ONE_FILE_LIMIT) -> None:
    """Write the graph. `check_graph` is apart, for it reads all of it again: let go of `model` in between.

    Args:
        model: stays as it is.
        path: of the graph; its weights, if they take a file of their own, go to `<path>.data`.
        limit: bytes of initialisers above which they do.

    Raises:
        OSError: it cannot be written.
    """
    external = f"{path.name}.data" if initialiser_bytes(model) > limit else None
    try:
        with _without_value_info(model):
            ir.save(model, path, external_data=external, size_threshold_bytes=_STAYS)
    except OSError as error:
        if error.errno is not None:
            raise
        # NumPy's tofile says how much it wrote, not why it wrote no more: there was no room for it.
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def check_graph(path: Path) -> None:
    """Check a written graph as ONNX does.

    Raises:
        ExportError: it is not valid ONNX.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {first_line(error)}") from error


def initialiser_bytes(model: ir.Model) -> int:
    """Return what the constants of a graph and its subgraphs take."""
    values = (value for graph in model.graphs() for value in graph.initializers.values())
    return sum(int(value.const_value.nbytes) for value in values if value.const_value is not None)


@contextmanager
def _without_value_info(model: ir.Model) -> Iterator[None]:
    """Let the graph list the types and shapes of initialisers with their numbers only, not once more as `value_info`.

    A tool that replaces a weight by another of the same name (ONNX Runtime's quantisers transpose a Gemm's) leaves that
    list as it is, and then finds that the two differ.
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
            value.metadata_props.clear()  # onnxscript's notes would make entries without a type
        yield
    finally:
        for value, kind, shape, noted in values:
            value.type, value.shape = kind, shape
            value.metadata_props.update(noted)
