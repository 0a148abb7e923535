"""GPU metrics from NVML, if the service runs on a GPU and nvidia-ml-py is installed."""

import importlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Self

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

logger = logging.getLogger(__name__)


class GpuReader:
    """Reader of all visible GPUs at each scrape.

    Args:
        nvml: the module `pynvml`, initialised.
    """

    def __init__(self, nvml: Any) -> None:  # noqa: ANN401 -- it ships no types
        self._nvml = nvml

    @classmethod
    def of(cls, backends: Iterable[str]) -> Self | None:
        """Return a reader if one of these backends runs on a GPU and NVML is available; else log the reason."""
        if not any(name.endswith(("-cuda", "-tensorrt")) for name in backends):
            return None
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            logger.warning("no GPU metrics: nvidia-ml-py is not installed; pip install nvidia-ml-py")
            return None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            logger.warning("no GPU metrics: NVML does not start: %s", error)
            return None
        return cls(nvml)

    def _count(self) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:  # the driver failed; other metrics are still needed
            logger.debug("no GPU metrics: %s", error)
            return 0

    def families(self) -> Iterator[Metric]:
        """Yield utilisation and memory of each GPU by UUID, as in Triton; missing values are left out."""
        nvml = self._nvml
        busy = GaugeMetricFamily("posbake_gpu_utilization", "Share of time a GPU was busy, 0 to 1.", labels=("gpu",))
        used = GaugeMetricFamily(
            "posbake_gpu_memory_used_bytes", "Memory in use on a GPU, by any process.", labels=("gpu",)
        )
        total = GaugeMetricFamily("posbake_gpu_memory_total_bytes", "Memory of a GPU.", labels=("gpu",))
        for index in range(self._count()):
            try:
                device = nvml.nvmlDeviceGetHandleByIndex(index)
                labels = (str(nvml.nvmlDeviceGetUUID(device)),)
                memory = nvml.nvmlDeviceGetMemoryInfo(device)
                used.add_metric(labels, memory.used)
                total.add_metric(labels, memory.total)
                busy.add_metric(labels, nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
            except nvml.NVMLError as error:  # a slice of a GPU (MIG) has no utilisation
                logger.debug("GPU %d: %s", index, error)
        yield from (busy, used, total)
