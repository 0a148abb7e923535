"""The host: its GPUs, driver and packages, and whether they can be used together."""

import platform
from importlib.metadata import PackageNotFoundError, version

from benchmarks.gpu.part import Emit, FailedError, Row, Settings, nvml
from service.backends.cuda_host import driver_problem

PACKAGES = ("torch", "timm", "transformers", "onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-rtx")


def run(settings: Settings, emit: Emit) -> None:
    """Emit versions, and fail where a GPU was asked for and the driver has none."""
    emit(Row("Python", {"found": f"{platform.python_version()}, {platform.machine()}"}))
    for name in PACKAGES:
        try:
            emit(Row(name, {"found": version(name)}))
        except PackageNotFoundError:
            emit(Row(name, {"found": "not installed"}))
    if settings.device == "cpu":
        return
    if (problem := driver_problem()) is not None:
        raise FailedError(problem)
    library = nvml()
    if library is None:
        emit(Row("GPU", {"found": "found; nvidia-ml-py is not installed, so neither its name nor its load is known"}))
        return
    emit(Row("driver", {"found": str(library.nvmlSystemGetDriverVersion())}))
    for number in range(library.nvmlDeviceGetCount()):
        device = library.nvmlDeviceGetHandleByIndex(number)
        gibibytes = library.nvmlDeviceGetMemoryInfo(device).total / 2**30
        emit(Row(f"GPU {number}", {"found": f"{library.nvmlDeviceGetName(device)}, {gibibytes:.0f} GiB"}))
