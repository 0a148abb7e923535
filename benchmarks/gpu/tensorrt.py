"""posbake's graphs in TensorRT: engines by export/to_tensorrt.py, run by the service's backend."""

import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from artifact import Location, scan
from benchmarks.gpu.golden import artifact_of
from benchmarks.gpu.part import ROOT, Emit, FailedError, Row, Settings, SkippedError, milliseconds, name_of, speed
from service.backends import BACKENDS
from service.backends.running import check_batch
from service.catalogue.loading import Loader
from service.settings import Settings as ServiceSettings

COMMAND = ROOT / "export/to_tensorrt.py"
FLAVOURS = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}
"""Values of `--flavour` by module; the first installed one is used."""


def run(settings: Settings, emit: Emit) -> None:
    """Build an engine for each network, load it with the golden check as in the service, and time it."""
    if settings.device == "cpu":
        raise SkippedError("TensorRT needs --device cuda")
    if not COMMAND.exists() or "tensorrt" not in BACKENDS:
        raise SkippedError(f"{COMMAND.relative_to(ROOT)} is missing in this checkout")
    flavour = next((name for module, name in FLAVOURS.items() if find_spec(module) is not None), None)
    if flavour is None:
        raise SkippedError("neither TensorRT nor TensorRT-RTX is installed; install one by NVIDIA's instructions")
    for source in settings.networks:
        location = _build(settings, source, flavour, emit)
        repository = location.path.parents[2]
        loader = Loader(ServiceSettings(repository=repository, backend="tensorrt", max_batch=max(settings.batches)))
        servable = loader.open(location)
        if (first := servable.golden) is not None:
            emit(Row(name_of(source), {"found": "golden check", "error": f"{first.error:.1e}", "limit": first.limit}))
        opened = servable.backend.current()
        for batch in settings.batches:
            images = np.zeros(check_batch(servable.manifest, batch), servable.manifest.input.dtype)
            emit(Row(name_of(source), speed(batch, milliseconds(partial(opened.run, images), settings.seconds))))
        servable.backend.close()


def _build(settings: Settings, source: str, flavour: str, emit: Emit) -> Location:
    """Build a network's engine and return its artifact. Raises FailedError if the build fails."""
    engines = Path(settings.output, "engines", name_of(source))
    ranked = sorted(settings.batches)
    batches = f"{ranked[0]}:{ranked[len(ranked) // 2]}:{ranked[-1]}"
    artifact = artifact_of(settings, source)
    command = [sys.executable, str(COMMAND), str(artifact.path), "--output", str(engines), "--batch", batches]
    start = time.monotonic()
    done = subprocess.run([*command, "--flavour", flavour], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise FailedError(f"{' '.join(command[1:])}: {done.stderr.strip()[-500:]}")
    seconds = round(time.monotonic() - start, 1)
    emit(Row(name_of(source), {"found": f"engine built, flavour {flavour}", "seconds": seconds}))
    return scan(engines)[-1]
