"""posbake's graphs in ONNX Runtime: plain, with fixed buffers, and as CUDA graphs; times include copies."""

from dataclasses import replace

import numpy as np

from benchmarks.gpu.golden import artifact_of, open_runtime
from benchmarks.gpu.part import Emit, Settings, SkippedError, each_network
from service.backends.running import check_batch

MEASURED = "measured"
"""Name under which a device is registered with the measured settings."""


def plain(settings: Settings, emit: Emit) -> None:
    """Time runs in which ONNX Runtime allocates and copies."""
    _time(settings, emit, memory=None, graphs=False)


def buffers(settings: Settings, emit: Emit) -> None:
    """Time runs in fixed buffers, without CUDA graphs."""
    _time(settings, emit, memory=settings.device, graphs=False)


def graphs(settings: Settings, emit: Emit) -> None:
    """Time fixed buffers with CUDA graphs, as in the service."""
    if settings.device == "cpu":
        raise SkippedError("CUDA graphs need --device cuda")
    _time(settings, emit, memory=settings.device, graphs=True)


def _time(settings: Settings, emit: Emit, *, memory: str | None, graphs: bool) -> None:
    backend = open_runtime(settings)
    from service.backends.onnx_runtime import DEVICES

    DEVICES[MEASURED] = replace(DEVICES[settings.device], memory=memory, graphs=graphs)
    opened = {}
    for source, batch, measure in each_network(settings, emit):
        artifact = artifact_of(settings, source)
        if source not in opened:
            opened[source] = backend(artifact, MEASURED, 1)
            opened[source].prepare(max(settings.batches))
        shape = check_batch(artifact.manifest, batch)
        dtype = artifact.manifest.input.dtype
        images = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
        measure(lambda run=opened[source].run, images=images: run(images))  # type: ignore[misc]
