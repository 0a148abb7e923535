"""The first block of README works when it is pasted into a shell."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.engines import free_port
from tests.service.process import environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SECONDS = 120


def test_the_first_block_exports_serves_and_classifies(tmp_path: Path) -> None:
    block = re.search(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    setup, *lines = block[1].splitlines()
    assert setup == "make setup && . .venv/bin/activate"  # already done for these tests
    port = free_port()
    commands = "\n".join(lines).replace("swin_tiny_patch4_window7_224", "test_vit").replace(":8000/", f":{port}/")
    for folder in ("export", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    printed = tmp_path / "printed"
    with printed.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-euc", commands],
            cwd=tmp_path,
            env={**environment(), "PATH": path, "POSBAKE_PORT": str(port)},
            stdout=output,
            process_group=0,
        )
        try:
            assert shell.wait(SECONDS) == 0
        finally:
            os.killpg(shell.pid, signal.SIGTERM)  # the server that it started
    response = json.loads(printed.read_text().splitlines()[-1])
    assert response["model"] == "test_vit"
    assert len(response["predictions"]) == 1
    assert {"decode", "inference", "total"} <= response["latency_ms"].keys()
