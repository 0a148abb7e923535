"""GPUs, driver and packages of the host, and their compatibility."""

import platform
from importlib.metadata import PackageNotFoundError, version

from benchmarks.gpu.part import Emit, FailedError, Row, Settings, nvml
from service.backends.cuda_host import driver_problem

PACKAGES = ("torch", "timm", "transformers", "onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-rtx")


def run(settings: Settings, emit: Emit) -> None:
    """Emit versions; fail if `--device` requires a GPU and the driver finds none."""
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
        emit(Row("GPU", {"found": "present; install nvidia-ml-py for its name and utilisation"}))
        return
    emit(Row("driver", {"found": str(library.nvmlSystemGetDriverVersion())}))
    for number in range(library.nvmlDeviceGetCount()):
        device = library.nvmlDeviceGetHandleByIndex(number)
        gibibytes = library.nvmlDeviceGetMemoryInfo(device).total / 2**30
        emit(Row(f"GPU {number}", {"found": f"{library.nvmlDeviceGetName(device)}, {gibibytes:.0f} GiB"}))
