"""Compatibility of an engine with a host: flavour and version of the library, and the GPU."""

from artifact import Engine, Gpu
from engines.cuda import Cuda
from engines.errors import UnfitEngineError
from engines.library import Library

_REMEDY = "build it here with python export/to_tensorrt.py, or serve the portable artifact, which is built at load"


def current_gpu(cuda: Cuda) -> Gpu:
    """Return the GPU that this process uses.

    Raises:
        CudaError: there is no GPU, or the driver is not compatible.
    """
    name, major, minor = cuda.device()
    return Gpu(name=name, compute_capability=f"{major}.{minor}")


def check_fits(engine: Engine, library: Library, gpu: Gpu) -> None:
    """Raise UnfitEngineError unless this library on this GPU can run the engine.

    The version must be equal; for a version-compatible engine, the major version must be equal and the library not
    older. The GPU must be the same model, or have a compute capability that the engine was built for ahead of time.
    """
    if engine.flavour != library.flavour:
        raise UnfitEngineError(
            f"its engine was built by {engine.library} {engine.version}, {library} cannot read it; {_REMEDY}"
        )
    if not _version_fits(engine, library):
        raise UnfitEngineError(f"its engine is for {engine.library} {engine.version}, this is {library}; {_REMEDY}")
    if engine.gpu is not None and engine.gpu != gpu:
        built, found = (f"{one.name} (compute capability {one.compute_capability})" for one in (engine.gpu, gpu))
        raise UnfitEngineError(f"its engine was built on {built}, this is {found}; {_REMEDY}")
    if engine.gpu is None and gpu.compute_capability not in engine.targets:
        raise UnfitEngineError(
            f"its engine is for compute capability {', '.join(engine.targets)}, {gpu.name} has "
            f"{gpu.compute_capability}; {_REMEDY}"
        )


def _version_fits(engine: Engine, library: Library) -> bool:
    if not engine.settings.version_compatible:
        return engine.version == library.version
    built, here = _numbers(engine.version), _numbers(library.version)
    return built[:1] == here[:1] and built <= here


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version."""
    found = []
    for part in version.split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
