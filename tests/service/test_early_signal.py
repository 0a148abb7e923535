"""Signals that arrive while the service's modules are imported."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.service.process import MODULE, environment

SLOW_IMPORT = """
import time


class Field:
    def __set_name__(self, owner, name):
        print("importing", flush=True)
        time.sleep(60)


class Owner:
    field = Field()
"""
"""Python 3.11 turns what is raised in __set_name__ into RuntimeError, also SystemExit."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_ends_the_start_with_status_0(tmp_path: Path, number: int) -> None:
    (tmp_path / "uvicorn.py").write_text(SLOW_IMPORT)
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    with subprocess.Popen(MODULE, stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        assert process.wait(20) == 0
