"""Parts of a GPU check with every kind of outcome."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.part import Emit, FailedError, Row, Settings, SkippedError


def done(settings: Settings, emit: Emit) -> None:
    emit(Row("first", {"images/s": 1.5, "device": settings.device}))
    emit(Row("second", {"images/s": 2.5}))


def path(_: Settings, emit: Emit) -> None:
    script = "import export, sys; print(*export.__path__)"
    found = subprocess.run([sys.executable, "-P", "-c", script], cwd="/", capture_output=True, text=True, check=True)
    emit(Row("path", {"found": found.stdout.strip()}))


def skipped(_: Settings, __: Emit) -> None:
    raise SkippedError("there is no such | package")


def missing_package(_: Settings, __: Emit) -> None:
    import no_package_of_that_name  # type: ignore[import-not-found]  # noqa: F401


def missing_module(_: Settings, __: Emit) -> None:
    import benchmarks.no_module_of_that_name  # type: ignore[import-not-found]  # noqa: F401


def failed(_: Settings, emit: Emit) -> None:
    emit(Row("kept", {"images/s": 3.5}))
    raise FailedError("the logits differ")


def raising(_: Settings, __: Emit) -> None:
    raise ZeroDivisionError("by zero")


def failing_row(_: Settings, emit: Emit) -> None:
    emit(Row("drain", {"failed": 2}, ok=False))


def crashing(_: Settings, emit: Emit) -> None:
    emit(Row("before the crash", {"images/s": 4.5}))
    os.abort()


def hanging(settings: Settings, emit: Emit) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(settings.output, "child").write_text(str(child.pid))
    emit(Row("before the hang", {"images/s": 5.5}))
    time.sleep(600)
