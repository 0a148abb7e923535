"""Runtimes that execute artifacts. A new runtime is a file in this folder and a line in BACKENDS."""

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifact import Artifact, Manifest
from service.backends.base import CPU_PRECISIONS, Backend
from service.backends.child import check_in_child
from service.backends.child_program import Request
from service.problems.errors import BackendUnavailableError
from service.settings import ENGINE_CACHE

logger = logging.getLogger(__name__)

BACKENDS = {
    "openvino": ("service.backends.openvino", "OpenVinoBackend"),
    "onnxruntime": ("service.backends.onnx_runtime", "OnnxRuntimeBackend"),
    "tensorrt": ("service.backends.tensorrt", "TensorRtBackend"),
}
"""Module and class by name, imported only if selected."""

_ACCELERATED = ("onnxruntime",)
"""Backends that `auto` tries for a device other than the CPU."""

_ON_CPU = ("openvino", "onnxruntime")
"""Backends for the CPU; `auto` uses the first that supports an artifact."""

_NO_DEVICE = ("openvino",)
"""Backends without a device other than the CPU."""

_MAY_CRASH = ("openvino",)
"""Backends that run each artifact in a child process first."""

BUILD_ENGINES = ("tensorrt",)
"""Backends that build engines, which may take minutes, and store them in ENGINE_CACHE."""

_LOWER_PRECISION = ("openvino",)
"""Backends that can compute an fp32 artifact in bfloat16 on the CPU."""


@dataclass(frozen=True)
class Way:
    """Way to run an artifact: backend, device and precision.

    Attributes:
        name: name of the backend.
        backend: class of the backend.
        device: resolved device.
        cpu_precision: see Backend.
        engine_cache: directory of the engines built on this host.
    """

    name: str
    backend: type[Backend]
    device: str
    cpu_precision: str
    engine_cache: Path

    def __str__(self) -> str:
        """Return the backend and the precision of an fp32 artifact."""
        return f"{self.name} in {self.cpu_precision}"

    @property
    def may_crash(self) -> bool:
        """True if a damaged artifact may crash the process; artifacts are then run in a child process first."""
        return self.name in _MAY_CRASH

    def open(self, artifact: Artifact, threads: int) -> Backend:
        """Open the backend of an artifact. Raises the errors of Backend."""
        options = {"engine_cache": self.engine_cache} if self.name in BUILD_ENGINES else {}
        return self.backend(artifact, self.device, threads, self.cpu_precision, **options)

    def check_in_child(
        self,
        artifact: Artifact,
        largest_batch: int,
        memory: int,
        seconds: float,
        arm: Callable[[Callable[[], object]], object],
    ) -> None:
        """Open, warm and check the artifact in a child process, unless it already passed.

        Args:
            artifact: verified artifact.
            largest_batch: see `warm`.
            memory: memory limit of the child in bytes.
            seconds: time limit.
            arm: receives a function that ends the child, to be called if another time limit is exceeded earlier.

        Raises:
            GraphError: the child crashed or refused the artifact.
            BackendUnavailableError: as Backend.
        """
        request = Request(
            module=self.backend.__module__,
            backend=self.backend.__name__,
            path=str(artifact.path.absolute()),
            manifest=artifact.manifest.model_dump_json(),
            device=self.device,
            cpu_precision=self.cpu_precision,
            largest_batch=largest_batch,
            memory=memory,
        )
        check_in_child(artifact, request, seconds, arm)


class Ways:
    """Ways to run artifacts according to the settings, in order of preference.

    Args:
        choices: name, class and device of backends.
        cpu_precision: one of CPU_PRECISIONS, or `auto`: bf16 for fp32 artifacts with a golden file.
        engine_cache: see Way.
    """

    def __init__(
        self, choices: Sequence[tuple[str, type[Backend], str]], cpu_precision: str, engine_cache: Path = ENGINE_CACHE
    ) -> None:
        self.choices = choices
        self._cpu_precision = cpu_precision
        self._engine_cache = engine_cache

    def of(self, manifest: Manifest) -> list[Way]:
        """Return the ways for an artifact; at least one."""
        return [
            Way(name, backend, device, precision, self._engine_cache)
            for name, backend, device in self.choices
            for precision in self._precisions(manifest, name, device)
        ]

    def _precisions(self, manifest: Manifest, name: str, device: str) -> tuple[str, ...]:
        if self._cpu_precision != "auto":
            return (self._cpu_precision,)
        can_be_lower = manifest.precision == "fp32" and manifest.golden is not None
        return ("bf16", "fp32") if can_be_lower and device == "cpu" and name in _LOWER_PRECISION else ("fp32",)


def choose_ways(name: str, device: str, cpu_precision: str, engine_cache: Path = ENGINE_CACHE) -> Ways:
    """Return the ways to run artifacts with the named backend and device.

    `auto` selects a backend with a device other than the CPU, unless the CPU is requested; otherwise all backends that
    work on the CPU.

    Args:
        name: name of a backend, or `auto`.
        device: device of a backend, or `auto`.
        cpu_precision: one of CPU_PRECISIONS, or `auto`.
        engine_cache: see Way.

    Raises:
        BackendUnavailableError: the backend, device or precision is unknown or not available.
    """
    if cpu_precision not in ("auto", *CPU_PRECISIONS):
        raise BackendUnavailableError(
            f"CPU precision {cpu_precision!r} is unknown; known: auto, {', '.join(CPU_PRECISIONS)}"
        )
    if name != "auto" and name not in BACKENDS:
        raise BackendUnavailableError(f"backend {name!r} is unknown; known: auto, {', '.join(BACKENDS)}")
    if name != "auto":
        found = _import(name)
        return Ways([(name, found, found.resolve_device(device))], cpu_precision, engine_cache)
    if device != "cpu" and (accelerated := _accelerated(device)) is not None:
        return Ways([accelerated], cpu_precision, engine_cache)
    return Ways(_on_cpu(), cpu_precision, engine_cache)


def on_cores(name: str, device: str) -> bool:
    """Return whether artifacts run on the CPU's cores, before one is opened.

    Args:
        name: name of a backend, or `auto`; an unknown one is an error of `choose_ways`.
        device: device of a backend, or `auto`.

    Raises:
        BackendUnavailableError: the device is unknown or is not available.
    """
    if device == "cpu" or name in _NO_DEVICE or name not in {"auto", *BACKENDS}:
        return True
    if name == "auto":
        return _accelerated(device) is None
    return _import(name).resolve_device(device) == "cpu"


def _accelerated(device: str) -> tuple[str, type[Backend], str] | None:
    """Return a backend with a device other than the CPU; None if there is none and `auto` permits the CPU."""
    for name in _ACCELERATED:
        try:
            found = _import(name)
            resolved = found.resolve_device(device)
        except BackendUnavailableError:
            if device != "auto":
                raise
        else:
            if resolved != "cpu":
                return name, found, resolved
    return None


def _on_cpu() -> list[tuple[str, type[Backend], str]]:
    choices, reasons = [], []
    for name in _ON_CPU:
        try:
            found = _import(name)
            choices.append((name, found, found.resolve_device("cpu")))
        except BackendUnavailableError as error:
            reasons.append(str(error))
    if not choices:
        raise BackendUnavailableError("; ".join(reasons))
    for reason in reasons:
        logger.warning("%s; artifacts run on %s", reason, choices[0][0])
    return choices


def _import(name: str) -> type[Backend]:
    module, attribute = BACKENDS[name]
    try:
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise BackendUnavailableError(
            f"backend {name} is not available: {error}; install one of posbake's extras service, gpu and openvino"
        ) from error
    return found
