"""Golden check of every artifact on the device, in each precision, at batches 1 and 8."""

from pathlib import Path

from artifact import Artifact, ArtifactError, read_artifact, scan
from benchmarks.gpu.part import Emit, FailedError, Row, Settings, SkippedError, needed
from service.problems.errors import BackendUnavailableError, ServiceError

BATCH = 8


def run(settings: Settings, emit: Emit) -> None:
    """Emit the error and the limit of each artifact."""
    backend = open_runtime(settings)
    from service.backends.warming import warm

    found_at = [path for path in (settings.digits, Path(settings.artifacts, "networks")) if path.is_dir()]
    locations = [location for path in found_at for location in scan(path)]
    if not locations:
        raise FailedError(f"no artifacts in {settings.artifacts}; see the result of the part export")
    for location in locations:
        try:
            artifact = read_artifact(location.path)
            opened = backend(artifact, settings.device, 1)
            found = warm(artifact, opened, BATCH).golden
            opened.close()
            if found is None:
                raise FailedError("the artifact has no golden file")
        except (ArtifactError, ServiceError, FailedError) as error:
            emit(Row(str(location), {"found": str(error)}, ok=False))
        else:
            figures = {"found": f"{opened.name} in {found.precision}", "error": f"{found.error:.1e}"}
            emit(Row(str(location), {**figures, "limit": f"{found.limit:.1e}"}))


def open_runtime(settings: Settings):  # type: ignore[no-untyped-def]  # noqa: ANN201 -- the class's module is imported below
    """Return the ONNX Runtime backend's class. Raises SkippedError if the device is not available."""
    remedy = "install posbake's extra gpu in place of service" if settings.device == "cuda" else "install it"
    needed("onnxruntime", remedy)
    from service.backends.onnx_runtime import OnnxRuntimeBackend

    try:
        OnnxRuntimeBackend.resolve_device(settings.device)
    except BackendUnavailableError as error:
        raise SkippedError(str(error)) from error
    return OnnxRuntimeBackend


def artifact_of(settings: Settings, source: str) -> Artifact:
    """Return a network's artifact in the timed precision. Raises FailedError if it was not exported."""
    path = settings.network(source, settings.precisions[-1])
    try:
        return read_artifact(path)
    except ArtifactError as error:
        raise FailedError(f"{error}; see the result of the part export") from error
