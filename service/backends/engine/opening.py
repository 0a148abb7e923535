"""Engine of an artifact: its own, verified by the manifest's hash, or one that this host builds from its graph."""

import io
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from artifact import Artifact, BuilderSettings, Engine, Gpu, Profile
from artifact.hashing import describe
from artifact.manifest import GRAPH_NAME
from engines import (
    Build,
    BuildOptions,
    EngineError,
    Library,
    build_engine,
    check_fits,
    current_gpu,
    find_library,
    load_cuda,
    load_library,
)
from service.backends.contract import files_beside, read_file, reason
from service.backends.engine.cache import EngineCache, cache_key
from service.problems.errors import GraphError

logger = logging.getLogger(__name__)

_OPT = 8
"""Batch size to optimise for, if the artifact allows it: the default of MAX_BATCH."""

_EVERY = 10.0
"""Seconds between progress lines in the log."""


@dataclass(frozen=True)
class Opened:
    """Trusted engine, not yet deserialised."""

    library: Library
    engine: Engine
    plan: bytes


def open_engine(artifact: Artifact, cache_directory: Path) -> Opened:
    """Return the engine of an artifact for this host; a build takes seconds to minutes, with progress in the log.

    Raises:
        GraphError: the artifact's engine is for another host, or no engine can be built from its graph.
        BackendUnavailableError: the cache cannot be used.
        LibraryMissingError, CudaError: TensorRT, the CUDA runtime or a GPU is missing.
    """
    gpu = current_gpu(load_cuda())
    own = artifact.manifest.engine
    if own is None:
        return _built_here(artifact, find_library(), gpu, EngineCache(cache_directory))
    library = load_library(own.flavour)
    check_fits(own, library, gpu)
    plan = read_file(artifact.path / own.file)
    if describe(io.BytesIO(plan)) != artifact.manifest.files[own.file]:  # may have been replaced since the verification
        raise GraphError(f"{artifact.path}: {own.file} is not the file the manifest describes; copy the artifact again")
    return Opened(library, own, plan)


def _built_here(artifact: Artifact, library: Library, gpu: Gpu, cache: EngineCache) -> Opened:
    manifest = artifact.manifest
    batch = manifest.input.batch
    profile = Profile(min=batch.min, opt=max(batch.min, min(_OPT, batch.max)), max=batch.max)
    settings = BuilderSettings()
    graph, beside = read_file(artifact.graph), files_beside(artifact)
    key = cache_key(manifest, (GRAPH_NAME, *beside), library, gpu, profile, settings)
    found = cache.find(key)
    if found is not None:
        logger.info("the engine of %s is in the engine cache", manifest.key)
        return Opened(library, *found)
    with tempfile.TemporaryDirectory(prefix="posbake-") as folder:
        # Copies, because the parser maps the files: changing them meanwhile would crash the process.
        for name, content in {**beside, GRAPH_NAME: graph}.items():
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
        del graph, beside
        build = _build(str(manifest.key), library, Path(folder, GRAPH_NAME), BuildOptions(profile, settings), gpu)
    cache.store(key, build)
    return Opened(library, build.engine, build.plan)


def _build(name: str, library: Library, graph: Path, options: BuildOptions, gpu: Gpu) -> Build:
    logger.info("building the engine of %s by %s on %s, batch %s", name, library, gpu.name, options.profile)
    try:
        build = build_engine(library, graph, options, gpu, _progress(name, time.monotonic))
    except EngineError as error:
        raise GraphError(
            f"no engine can be built from its graph: {reason(error)}; choose another --backend, or export it with "
            "--target tensorrt, which names unsupported operators"
        ) from error
    logger.info("the engine of %s was built in %.1f s, %d bytes", name, build.engine.seconds, len(build.plan))
    return build


def _progress(name: str, clock: Callable[[], float]) -> Callable[[str, int, int], None]:
    """Return a function that logs the builder's progress, at most one line every 10 s."""
    last = clock()

    def log(phase: str, done: int, of: int) -> None:
        nonlocal last
        if clock() - last >= _EVERY:
            last = clock()
            logger.info("building the engine of %s: %s, %d of %d", name, reason(phase), done, of)

    return log
