"""Callbacks for TensorRT's log and progress."""

import re
import threading
from collections.abc import Callable
from typing import Any

from engines.inspecting import Layer, read_layers
from engines.library import Library

Progress = Callable[[str, int, int], None]
"""Callback for a phase of the builder, its finished steps and its total steps, called on the builder's thread."""

_KEPT = 20
"""Maximum number of errors and warnings that are kept."""

_PLACES = re.compile(r"^\[\S+::\d+\]\s*|\s*\(?In \S+ at /\S+:\d+\)?")
"""References to functions and files in TensorRT's source."""


class Log:
    """Messages of TensorRT: errors, warnings, and the layers of the engine, listed at the end of a build."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.layers: tuple[Layer, ...] = ()

    def add(self, severity: str, text: str) -> None:
        """Store a message if it is an error, a warning or a list of layers."""
        with self._lock:
            if severity in {"ERROR", "INTERNAL_ERROR"}:
                self.errors = [*self.errors, _PLACES.sub("", text).strip()][-_KEPT:]
            elif severity == "WARNING":
                self.warnings = [*self.warnings, text.strip()][-_KEPT:]
            elif "LayerType: " in text:
                self.layers = read_layers(text)

    def reason(self) -> str:
        """Return the distinct errors in one line."""
        return "; ".join(dict.fromkeys(self.errors)) or "no reason was reported"


def make_logger(library: Library, log: Log) -> Any:  # noqa: ANN401 -- TensorRT ships no types
    """Return a TensorRT logger that writes into `log`."""
    trt = library.module

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined]  # it ships no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings require this call instead of `super`

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            log.add(severity.name, message)

    return Logger()


def make_monitor(library: Library, progress: Progress, cancelled: Callable[[], bool]) -> Any:  # noqa: ANN401
    """Return a TensorRT progress monitor; an exception in `progress` would terminate the process."""
    trt = library.module

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]  # it ships no types
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            self._steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self._steps.get(phase_name, step + 1))
            return not cancelled()

    return Monitor()
