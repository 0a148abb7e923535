"""GPU metrics, from a fake NVML, and from the real one on a GPU host."""

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.telemetry.gpu import GpuReader


class NvmlError(Exception):
    pass


@dataclass
class Memory:
    used: int
    total: int


@dataclass
class Utilization:
    gpu: int


class Nvml:
    """Fake NVML with two GPUs, the second of which reports no utilisation, as MIG instances do."""

    NVMLError = NvmlError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 -- NVML's names
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, device: int) -> str:  # noqa: N802
        return f"GPU-{device}"

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Memory:  # noqa: N802
        return Memory(100 + device, 1000)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Utilization:  # noqa: N802
        if device == 1:
            raise NvmlError("not supported")
        return Utilization(25)


def test_every_gpu_is_read_and_unsupported_values_are_omitted() -> None:
    samples = {(s.name, s.labels["gpu"]): s.value for family in GpuReader(Nvml()).families() for s in family.samples}
    assert samples == {
        ("posbake_gpu_utilization", "GPU-0"): 0.25,
        ("posbake_gpu_memory_used_bytes", "GPU-0"): 100,
        ("posbake_gpu_memory_used_bytes", "GPU-1"): 101,
        ("posbake_gpu_memory_total_bytes", "GPU-0"): 1000,
        ("posbake_gpu_memory_total_bytes", "GPU-1"): 1000,
    }


def test_a_service_on_the_cpu_does_not_load_nvml() -> None:
    script = (
        "import sys; from service.telemetry.gpu import GpuReader; "
        "assert GpuReader.of(['onnxruntime-cpu']) is None; assert 'pynvml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.skipif(importlib.util.find_spec("pynvml") is not None, reason="nvidia-ml-py is installed")
def test_without_nvml_there_are_no_gpu_metrics_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert GpuReader.of(["onnxruntime-cuda"]) is None
    assert "nvidia-ml-py is not installed" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="there is no NVIDIA GPU")
def test_a_real_gpu_is_read() -> None:
    pytest.importorskip("pynvml")
    reader = GpuReader.of(["onnxruntime-cuda"])
    assert reader is not None
    samples = {sample.name: sample for family in reader.families() for sample in family.samples}
    used, total = samples["posbake_gpu_memory_used_bytes"], samples["posbake_gpu_memory_total_bytes"]
    assert used.labels["gpu"].startswith(("GPU-", "MIG-"))
    assert 0 <= used.value <= total.value


def test_a_lost_gpu_does_not_affect_other_metrics() -> None:
    class LostGpu(Nvml):
        def nvmlDeviceGetCount(self) -> int:  # noqa: N802
            raise NvmlError("GPU is lost")

    assert [family.samples for family in GpuReader(LostGpu()).families()] == [[], [], []]
