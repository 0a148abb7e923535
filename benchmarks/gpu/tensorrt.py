"""Our graphs in TensorRT: engines by export/to_tensorrt.py, run by the service's backend, where both are there."""

import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from artifact import Artifact, read_artifact, scan
from benchmarks.gpu.golden import artifact_of
from benchmarks.gpu.part import (
    ROOT,
    Emit,
    FailedError,
    Row,
    Settings,
    SkippedError,
    milliseconds,
    name_of,
    needed,
    speed,
)
from service.backends import BACKENDS
from service.backends.running import check_batch
from service.backends.warming import warm

COMMAND = ROOT / "export/to_tensorrt.py"


def run(settings: Settings, emit: Emit) -> None:
    """Build an engine of each network, check it by the golden file, and time it."""
    if settings.device == "cpu":
        raise SkippedError("TensorRT needs --device cuda")
    if not COMMAND.exists() or "tensorrt" not in BACKENDS:
        raise SkippedError(f"this posbake has no {COMMAND.relative_to(ROOT)}")
    needed("tensorrt", "install TensorRT as NVIDIA's instructions say")
    module, name = BACKENDS["tensorrt"]
    backend = getattr(import_module(module), name)
    for source in settings.networks:
        artifact = _build(settings, source, emit)
        opened = backend(artifact, backend.resolve_device("auto"), 1, "fp32")
        first = warm(artifact, opened, max(settings.batches)).golden
        if first is not None:
            emit(Row(name_of(source), {"found": "golden check", "error": f"{first.error:.1e}", "limit": first.limit}))
        for batch in settings.batches:
            images = np.zeros(check_batch(artifact.manifest, batch), artifact.manifest.input.dtype)
            emit(Row(name_of(source), speed(batch, milliseconds(partial(opened.run, images), settings.seconds))))
        opened.close()


def _build(settings: Settings, source: str, emit: Emit) -> Artifact:
    """Return the artifact with the engine of a network. Raises FailedError where it is not built."""
    engines = Path(settings.output, "engines", name_of(source))
    ranked = sorted(settings.batches)
    batches = f"{ranked[0]}:{ranked[len(ranked) // 2]}:{ranked[-1]}"
    command = [sys.executable, str(COMMAND), str(artifact_of(settings, source).path), "--output", str(engines)]
    start = time.monotonic()
    done = subprocess.run([*command, "--batch", batches], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise FailedError(f"{' '.join(command[1:])}: {done.stderr.strip()[-500:]}")
    emit(Row(name_of(source), {"found": "engine built", "seconds": round(time.monotonic() - start, 1)}))
    return read_artifact(next(iter(scan(engines))).path)
