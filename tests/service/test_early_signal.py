"""Signals that arrive while the service's modules are imported."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.service.process import MODULE, environment

pytestmark = pytest.mark.slow

SLOW_IMPORT = """
import time


class Field:
    def __set_name__(self, owner, name):
        print("importing", flush=True)
        time.sleep(60)


class Owner:
    field = Field()
"""
"""Module whose import waits. Python 3.11 replaces any exception in __set_name__, SystemExit too, by RuntimeError."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_imports_ends_the_start_with_status_0(tmp_path: Path, number: int) -> None:
    (tmp_path / "uvicorn.py").write_text(SLOW_IMPORT)
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    with subprocess.Popen(MODULE, stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        assert process.wait(20) == 0


STOPPED_IMPORT = """
import os, signal
from service.resources.exit import end_process, until_stopped


def start():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        pass
    {end}


end_process(until_stopped(start))
"""
"""Start-up code that swallows the signal's exception, as an import may do."""


ENDS = ["raise AttributeError('half a module')", "return 1"]


@pytest.mark.parametrize("end", ENDS)
def test_a_start_that_fails_after_a_signal_ends_with_status_0(end: str) -> None:
    command = [MODULE[0], "-c", STOPPED_IMPORT.format(end=end)]
    assert subprocess.run(command, check=False, env=environment(), capture_output=True).returncode == 0


@pytest.mark.parametrize("end", ENDS)
def test_a_start_that_fails_without_a_signal_ends_with_status_1(end: str) -> None:
    script = STOPPED_IMPORT.replace("os.kill(os.getpid(), signal.SIGTERM)", "pass")
    command = [MODULE[0], "-c", script.format(end=end)]
    assert subprocess.run(command, check=False, env=environment(), capture_output=True).returncode == 1
