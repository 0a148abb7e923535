"""The service in its own process."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BACKEND = "POSBAKE_BACKEND"
MODULE = (sys.executable, "-m", "service")
SECONDS_TO_START = 180


@dataclass(frozen=True)
class Running:
    url: str
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def serving(directory: Path, *flags: str, command: Sequence[str] = MODULE) -> Iterator[Running]:
    """Run the service until the block ends, with its log in a file in `directory`."""
    log = directory / "service.log"
    with log.open("wb") as out:
        process = subprocess.Popen([*command, *flags], stdout=out, stderr=out, env=environment())
    try:
        yield Running(_wait_for_address(process, log), log, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def run_to_end(*flags: str, command: Sequence[str] = MODULE, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the service, which is expected to exit by itself."""
    return subprocess.run(
        [*command, *flags],
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_START,
        check=False,
        env=environment(**variables),
    )


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without posbake's settings, except the backend (see tests/conftest.py)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSBAKE_") or name == BACKEND}
    return {**kept, **variables}


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        found = re.search(r"(?:ready|running) on (http://\S+)", log.read_text())
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the service did not start:\n{log.read_text()}")
