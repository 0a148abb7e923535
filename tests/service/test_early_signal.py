"""Signals that arrive while the service's modules are imported."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.service.process import MODULE, environment


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_ends_the_start_with_status_0(tmp_path: Path, number: int) -> None:
    (tmp_path / "uvicorn.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    with subprocess.Popen(MODULE, stdout=subprocess.PIPE, text=True, env=environment(PYTHONPATH=path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        assert process.wait(20) == 0
