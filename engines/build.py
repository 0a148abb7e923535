"""Parsing and building: from an ONNX file to a serialised engine.

Networks are strongly typed: every tensor keeps its dtype in the graph, and the builder does not lower the precision.
TF32 is disabled, so the inputs of float32 products are not rounded.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifact import BuilderSettings, Engine, Gpu, Profile
from artifact.manifest import ENGINE_NAME
from engines.callbacks import Log, Progress, make_logger, make_monitor
from engines.errors import BuildError, ParserRefusalError, Refusal
from engines.inspecting import Layer
from engines.library import Library

_TARGETS = ("8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities for which TensorRT-RTX can build without a GPU, except 7.5, which lacks float32 products."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build.

    Attributes:
        profile: batch sizes.
        settings: settings of the builder.
        timing_cache: file of kernel timings, read if it exists and written afterwards; None for no cache.
    """

    profile: Profile
    settings: BuilderSettings
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Build:
    """Result of a build.

    Attributes:
        plan: the serialised engine.
        engine: facts for the manifest.
        layers: layers that the builder lists; may be empty.
        warnings: warnings of the library.
    """

    plan: bytes
    engine: Engine
    layers: tuple[Layer, ...]
    warnings: tuple[str, ...]


def build_engine(
    library: Library,
    graph: Path,
    options: BuildOptions,
    gpu: Gpu | None,
    progress: Progress = lambda _phase, _done, _of: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Build:
    """Build the engine of a graph.

    Args:
        library: the TensorRT library.
        graph: ONNX file with one input, with its data files in the same directory.
        options: options of the build.
        gpu: GPU to build on; None builds ahead of time, which TensorRT-RTX supports.
        progress: callback for the builder's phases; it must not raise.
        cancelled: callback at each step; the build stops soon after it returns True.

    Raises:
        ParserRefusalError: the parser rejects the graph.
        BuildError: the options do not fit the library or the graph, or the build failed or was cancelled.
        OSError: the timing cache cannot be read or written.
    """
    _check(library, options, gpu)
    start = time.perf_counter()
    trt, log = library.module, Log()
    builder = trt.Builder(make_logger(library, log))
    network = _parse(library, builder, graph, log)
    config = builder.create_builder_config()
    config.add_optimization_profile(_profile(builder, network, options.profile))
    settings = options.settings
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    if settings.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_bytes)
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    targets = () if gpu is not None else _TARGETS
    if library.flavour == "rtx":
        _set_targets(library, config, targets)
    config.progress_monitor = make_monitor(library, progress, cancelled)
    _read_timing_cache(config, options.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(
            f"{library} built no engine: "
            + ("the build was cancelled" if cancelled() else f"{log.reason()}; {_remedy(log)}")
        )
    _write_timing_cache(config, options.timing_cache)
    engine = Engine(
        file=ENGINE_NAME,
        library=library.name,
        version=library.version,
        flavour=library.flavour,
        gpu=gpu,
        targets=targets,
        profile=options.profile,
        settings=settings,
        seconds=round(time.perf_counter() - start, 3),
    )
    return Build(bytes(plan), engine, log.layers, tuple(dict.fromkeys(log.warnings)))


def parse_graph(library: Library, graph: Path) -> int:
    """Return the number of layers of a parsed graph. Raises ParserRefusalError."""
    log = Log()
    builder = library.module.Builder(make_logger(library, log))
    return int(_parse(library, builder, graph, log).num_layers)


def _check(library: Library, options: BuildOptions, gpu: Gpu | None) -> None:
    if gpu is None and library.flavour == "tensorrt":
        raise BuildError(
            "TensorRT builds on the GPU that runs the engine, and this host has no GPU; build on that host, or use "
            "--flavour rtx, which builds without a GPU"
        )
    if options.settings.version_compatible and library.flavour == "rtx":
        raise BuildError("TensorRT-RTX has no version-compatible engines; omit --version-compatible")
    if options.timing_cache is not None and library.flavour == "rtx":
        raise BuildError("TensorRT-RTX does not time kernels and has no timing cache; omit --timing-cache")


def _parse(library: Library, builder: Any, graph: Path, log: Log) -> Any:  # noqa: ANN401 -- it ships no types
    trt = library.module
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        refusals = [Refusal(error.node_name(), error.node_operator(), error.desc().strip()) for error in errors]
        raise ParserRefusalError(str(library), tuple(refusals) or (Refusal("", "", log.reason()),))
    return network


def _profile(builder: Any, network: Any, profile: Profile) -> Any:  # noqa: ANN401 -- it ships no types
    """Return an optimisation profile; the batch is the first dimension of each input, and all others are fixed."""
    made = builder.create_optimization_profile()
    sizes = profile.min, profile.opt, profile.max
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        batch, *image = tuple(tensor.shape) or (None,)
        if batch is None:
            raise BuildError(f"input {tensor.name} is a scalar, without a batch; export the network with posbake")
        if batch != -1 and {batch} != set(sizes):
            raise BuildError(
                f"the graph has a fixed batch size {batch}; use --batch {batch}, or export it with another"
            )
        if -1 in image:
            raise BuildError(f"input {tensor.name} has dynamic dimensions other than the batch: {[batch, *image]}")
        made.set_shape(tensor.name, *((size, *image) for size in sizes))
    return made


def _set_targets(library: Library, config: Any, targets: tuple[str, ...]) -> None:  # noqa: ANN401 -- no types
    """Set the targets of TensorRT-RTX: `targets`, or the current GPU if empty."""
    kinds = library.module.ComputeCapability
    chosen = [getattr(kinds, "SM" + target.replace(".", "")) for target in targets] or [kinds.CURRENT]
    config.num_compute_capabilities = len(chosen)
    for index, kind in enumerate(chosen):
        if not config.set_compute_capability(kind, index):
            raise BuildError(f"{library} does not build for {kind.name}")


def _read_timing_cache(config: Any, file: Path | None) -> None:  # noqa: ANN401 -- it ships no types
    if file is None:
        return
    content = file.read_bytes() if file.exists() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        raise BuildError(f"{file} is not a timing cache of this library on this GPU; remove it, or give another file")


def _write_timing_cache(config: Any, file: Path | None) -> None:  # noqa: ANN401 -- it ships no types
    if file is not None:
        fresh = file.with_name(f".{file.name}.new")
        fresh.write_bytes(bytes(config.get_timing_cache().serialize()))
        fresh.replace(file)


def _remedy(log: Log) -> str:
    """Return the remedy for a failed build."""
    reason = log.reason().lower()
    if "out of memory" in reason or "outofmemory" in reason or "insufficient memory" in reason:
        return "free GPU memory, or lower --workspace or the largest --batch"
    return "examine the named node, or try another --precision, --batch or --flavour"
