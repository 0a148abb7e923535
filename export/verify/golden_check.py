"""Golden check of an artifact in a CPU runtime, without the service, and the errors as a table."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from artifact import Artifact, GoldenInputs, Manifest, limit_for, read_artifact, read_golden
from engines.saturation import exact_int8_in_openvino
from export.process.errors import ExportError, first_line
from export.tracing.pixels import Normalisation
from export.verify.reference import Array, normalise
from export.verify.sessions import cpu_session

Runner = Callable[[Array], Array]
"""Function from the graph's input to logits [B, C]."""

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""Names of precisions in OpenVINO."""


class Run(BaseModel):
    """Result of the golden images at one batch size.

    Attributes:
        backend: runtime and its version.
        precision: running precision, see `artifact.manifest.RunPrecision`.
        batch: batch size.
        error: largest error of a logit, relative to the largest logit; None if a logit is NaN, infinite or missing.
        limit: limit on the error.
        passed: True if the error is within the limit.
    """

    model_config = ConfigDict(frozen=True)

    backend: str
    precision: str
    batch: int
    error: float | None
    limit: float
    passed: bool


def check_artifact(directory: Path, backend: str, precision: str | None = None) -> list[Run]:
    """Run an artifact's golden images at its smallest batch size, and in one batch.

    Args:
        directory: directory of the artifact.
        backend: `onnxruntime` or `openvino`.
        precision: OpenVINO's precision for float32 nodes, by default fp32; ONNX Runtime computes in the graph's.

    Raises:
        ArtifactError: the artifact or its golden file is damaged.
        ExportError: the artifact has no golden file, or the runtime is missing, or cannot run the graph in this
            precision.
    """
    artifact = read_artifact(directory)
    golden = read_golden(artifact)
    if golden is None:
        raise ExportError(f"{directory} has no golden file; export it again with this version")
    if precision is not None and backend != "openvino":
        raise ExportError(
            f"{backend} computes in the precision of the graph; omit --precision, or choose --backend openvino"
        )
    try:
        name, computed_in, run = RUNTIMES[backend](artifact, precision or "fp32")
    except ExportError:
        raise
    except ImportError as error:
        raise ExportError(f"backend {backend} is not installed: {error}; install it with pip") from error
    except Exception as error:  # runtimes' errors have no common base
        raise ExportError(f"{backend} cannot load the graph: {first_line(error)}; choose another --backend") from error
    limit = limit_for(artifact.manifest, computed_in)
    batch = artifact.manifest.input.batch
    runs = []
    for size in sorted({batch.min, min(max(len(golden), batch.min), batch.max)}):
        found = _largest_error(artifact.manifest, golden, run, size)
        stated = found if math.isfinite(found) else None  # JSON has no infinity
        within = found <= limit
        runs.append(Run(backend=name, precision=computed_in, batch=size, error=stated, limit=limit, passed=within))
    return runs


def _largest_error(manifest: Manifest, golden: GoldenInputs, run: Runner, size: int) -> float:
    pixels = torch.frombuffer(bytearray(golden.pixels), dtype=torch.uint8).reshape(golden.shape)
    steps = Normalisation(manifest.preprocess.mean, manifest.preprocess.std)
    errors = []
    for chosen in golden.batches(size):
        images = pixels[chosen]
        given = images if manifest.input.dtype == "uint8" else normalise(images, steps).float()
        try:
            logits = run(np.ascontiguousarray(given.numpy()))
        except Exception as error:  # runtimes' errors have no common base
            raise ExportError(f"the graph cannot be run at batch {size}: {first_line(error)}") from error
        errors.append(golden.error(chosen, logits.tolist()))
    return max(errors)


def _onnxruntime(artifact: Artifact, precision: str) -> tuple[str, str, Runner]:  # noqa: ARG001 -- signature of RUNTIMES
    session = cpu_session(artifact.graph)
    return (
        f"onnxruntime {ort.__version__}",
        artifact.manifest.precision,
        lambda images: session.run(["logits"], {"image": images})[0],
    )


def _openvino(artifact: Artifact, precision: str) -> tuple[str, str, Runner]:
    import openvino  # optional dependency

    properties = {"INFERENCE_PRECISION_HINT": _HINTS[precision], **exact_int8_in_openvino()}
    compiled = openvino.compile_model(artifact.graph, "CPU", properties)
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    found = next(name for name, of_openvino in _HINTS.items() if of_openvino == hint)
    if found != precision:
        raise ExportError(f"OpenVINO does not compute in {precision} on this CPU, but in {found}; omit --precision")
    computed_in = artifact.manifest.precision if found == "fp32" else found
    version = openvino.__version__.partition("-")[0]
    return f"openvino {version}", computed_in, lambda images: compiled({"image": images})[0]


RUNTIMES: dict[str, Callable[[Artifact, str], tuple[str, str, Runner]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
"""Runtimes by name: functions that load an artifact and return the version, the running precision, and a runner."""


def print_runs(runs: list[Run], name: str, console: Console) -> None:
    """Print the errors and limits as a table, and a summary line."""
    table = Table(box=None, pad_edge=False)
    for column in ("backend", "precision", "batch", "error", "limit", ""):
        table.add_column(column, overflow="fold")
    for run in runs:
        error = "not finite" if run.error is None else f"{run.error:.1e}"
        verdict = "[green]passed[/]" if run.passed else "[red]failed[/]"
        table.add_row(escape(run.backend), run.precision, str(run.batch), error, f"{run.limit:.1e}", verdict)
    console.print(table)
    passed = all(run.passed for run in runs)
    said = "reproduces the network's logits" if passed else "does not reproduce the network's logits"
    console.print(f"[bold]{escape(name)}[/] {said}", soft_wrap=True, highlight=False)
