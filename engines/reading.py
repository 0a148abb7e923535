"""Deserialisation of engines. An engine is executable code: read only trusted engines."""

from typing import Any

from engines.callbacks import Log, make_logger
from engines.errors import UnfitEngineError
from engines.inspecting import Layer, read_layers
from engines.library import Library


def read_engine(library: Library, plan: bytes, log: Log, *, version_compatible: bool) -> Any:  # noqa: ANN401 -- no types
    """Deserialise an engine.

    Args:
        library: library that built it.
        plan: the serialised engine.
        log: log for the library's messages, also while the engine runs.
        version_compatible: True if the plan contains host code, whose execution must be allowed.

    Raises:
        UnfitEngineError: this host cannot read the engine.
    """
    runtime = library.module.Runtime(make_logger(library, log))
    if version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise UnfitEngineError(
            f"{library} cannot read the engine: {log.reason()}; build it again with python export/to_tensorrt.py"
        )
    return engine


def inspect_engine(library: Library, plan: bytes, *, version_compatible: bool) -> tuple[Layer, ...]:
    """Return the layers of an engine from TensorRT's engine inspector. Raises UnfitEngineError if it cannot be read."""
    engine = read_engine(library, plan, Log(), version_compatible=version_compatible)
    return read_layers(
        engine.create_engine_inspector().get_engine_information(library.module.LayerInformationFormat.ONELINE)
    )
