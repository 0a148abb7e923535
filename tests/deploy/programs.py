"""Programs of the development environment and of Debian, run in this repository's root."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""Search path with this environment's programs before those of the system."""


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the repository's root."""
    environment = {**os.environ, "PATH": PATH, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
