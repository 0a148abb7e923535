"""Pipeline of an engine build: read, lower, check, build, write."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path

import onnx_ir as ir

from artifact import Artifact, Batch, Draft, Gpu, Precision, Staging, next_version, read_artifact, stage
from artifact.manifest import ENGINE_NAME
from artifact.opening import UnreadableFileError, open_regular
from artifact.text import shown
from engines import (
    Build,
    BuildOptions,
    CudaError,
    Library,
    LibraryMissingError,
    ParserRefusalError,
    build_engine,
    current_gpu,
    inspect_engine,
    load_cuda,
    load_library,
)
from engines.callbacks import Progress
from export.engine.request import EngineExported, EngineRequest, choose_precision, choose_profile, choose_variant
from export.passes.values import scope_of
from export.process.errors import ExportError
from export.verify.targets import check_target

Step = Callable[[str], AbstractContextManager[object]]
"""Called with the name of each step; returns a context manager for its duration."""

LAYERS_NAME = "engine.json"
_NOT_COPIED = ("report.html", LAYERS_NAME, ENGINE_NAME)


def build_artifact(
    request: EngineRequest,
    step: Step = lambda _: nullcontext(),
    progress: Progress = lambda _phase, _done, _of: None,
) -> EngineExported:
    """Build the engine of an artifact's graph, and write both as a new artifact.

    After an error the repository is unchanged.

    Args:
        request: the request.
        step: callback for the name of each step.
        progress: callback for the builder's phases, called on another thread.

    Raises:
        EngineError, ExportError, ArtifactError: each names the cause and the remedy.
        OSError: the repository cannot be written.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        with step(name):
            yield
        seconds[name] = round(time.perf_counter() - start, 3)

    with timed("load"):
        library = load_library(request.flavour)
        gpu = _gpu(library)
        artifact = read_artifact(request.artifact)
    precision = choose_precision(request, artifact)
    options = BuildOptions(choose_profile(request, artifact), request.settings, request.timing_cache)
    model, variant = artifact.manifest.model, choose_variant(request, artifact, precision)
    version = request.version or next_version(request.output, model, variant)
    with stage(request.output, model, variant, version) as staging:
        _copy_files(artifact, staging)
        draft = _draft_of(artifact)
        if precision != artifact.manifest.precision:
            with timed(precision):
                draft = _lower(artifact, precision, request.min_cosine, staging, draft)
        with timed("check"):
            check_target(staging.graph, "tensorrt")
        with timed("build"):
            build = _build(library, staging.graph, options, gpu, progress)
            compatible = build.engine.settings.version_compatible
            layers = build.layers
            if gpu is not None:
                layers = inspect_engine(library, build.plan, version_compatible=compatible)
        with timed("write"):
            (staging.directory / ENGINE_NAME).write_bytes(build.plan)
            if request.report:
                every = [layer.model_dump() for layer in layers]
                (staging.directory / LAYERS_NAME).write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")
            manifest = staging.commit(_finish(draft, library, build), artifact.labels)
    return EngineExported(staging.target, manifest, layers, build.warnings, seconds)


def _gpu(library: Library) -> Gpu | None:
    """Return the GPU to build on; None if there is none and the library does not need one."""
    try:
        return current_gpu(load_cuda())
    except (CudaError, LibraryMissingError) as error:
        if library.flavour == "rtx":
            return None
        raise ExportError(
            f"TensorRT must build an engine on the GPU that runs it, and no GPU was found: {error}; build on that "
            "host, or choose --flavour rtx, which builds without a GPU"
        ) from error


def _copy_files(artifact: Artifact, staging: Staging) -> None:
    manifest = artifact.manifest
    for name in manifest.files:
        if name not in _NOT_COPIED and name != manifest.labels:
            target = staging.directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open_regular(artifact.path / name) as source, target.open("wb") as copy:
                    while chunk := source.read(2**20):
                        copy.write(chunk)
            except UnreadableFileError as error:
                raise ExportError(f"{artifact.path}: {shown(name)} {error}; copy the artifact again") from error


def _draft_of(artifact: Artifact) -> Draft:
    """Return the artifact's manifest as a draft for the target tensorrt, without an engine."""
    kept = {name: getattr(artifact.manifest, name) for name in Draft.model_fields if name != "engine"}
    return Draft.model_validate({**kept, "target": "tensorrt"})


def _lower(artifact: Artifact, precision: Precision, min_cosine: float | None, staging: Staging, draft: Draft) -> Draft:
    from export.engine.lowering import lower  # imports torch

    lowered = lower(artifact, precision, min_cosine, staging)
    changed = {"graph": lowered.graph, "parity": lowered.parity, "golden": lowered.golden}
    # The accuracy was measured with the float32 graph.
    return draft.model_copy(update={**changed, "precision": precision, "accuracy": None})


def _build(library: Library, graph: Path, options: BuildOptions, gpu: Gpu | None, progress: Progress) -> Build:
    """Build the engine on another thread, so that a signal can cancel the build."""
    interrupted = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(build_engine, library, graph, options, gpu, progress, interrupted.is_set)
        try:
            return building.result()
        except ParserRefusalError as error:
            raise ExportError(_with_modules(error, graph)) from error
        except BaseException:
            interrupted.set()
            raise


def _with_modules(error: ParserRefusalError, graph: Path) -> str:
    """Return the message for the nodes that the parser rejects, with their modules."""
    modules = {node.name: scope_of(node) for node in ir.load(graph).graph}
    listed = []
    for refusal in error.refusals:
        module = modules.get(refusal.node, "")
        where = " ".join(part for part in (refusal.operator, refusal.node) if part) or "the graph"
        listed.append(f"{where}{f' of module {module}' if module else ''}: {refusal.reason}")
    return f"TensorRT's parser rejects the graph: {'; '.join(listed)}; change these modules of the network"


def _finish(draft: Draft, library: Library, build: Build) -> Draft:
    profile = build.engine.profile
    tools = {**draft.tools, "posbake": version_of("posbake"), library.name.lower(): library.version}
    return draft.model_copy(
        update={
            "engine": build.engine,
            "input": draft.input.model_copy(update={"batch": Batch(min=profile.min, max=profile.max)}),
            "tools": tools,
            "created": datetime.now(UTC).replace(microsecond=0),
        }
    )
