"""`python -m service` as a child process, for the robustness benchmarks."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving_inputs import ROOT
from benchmarks.serving_processes import resident_bytes

SECONDS_TO_START = 120
SECONDS_TO_STOP = 60


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        port: port on 127.0.0.1.
        process: the server's process, in this process's session.
        log: file of its output.
        started_in: seconds from the start of the process to the log line with its address.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    started_in: float

    @property
    def resident(self) -> int:
        """Resident memory of the process in bytes."""
        return resident_bytes(self.process.pid)

    @property
    def descriptors(self) -> int:
        """Number of open file descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    @property
    def threads(self) -> int:
        """Number of threads."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/task").iterdir())

    def tracebacks(self) -> int:
        """Number of tracebacks in the log."""
        return self.log.read_text(errors="replace").count("Traceback (most recent call last)")

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status, or the negative number of the signal that ended the process.

        Raises:
            subprocess.TimeoutExpired: the process did not end within SECONDS_TO_STOP.
        """
        self.process.send_signal(number)
        return self.process.wait(SECONDS_TO_STOP)


@contextmanager
def served(repository: Path, log: Path, *flags: str) -> Iterator[Service]:
    """Run the service on a free port until the block ends, then kill it if it still runs.

    Raises:
        RuntimeError: the service does not start; the message has the end of its log.
    """
    command = [sys.executable, "-m", "service", "--repository", str(repository), "--port", "0", *flags]
    begun = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)  # noqa: S603
    try:
        port = _port(process, log)
        yield Service(port, process, log, time.monotonic() - begun)
    finally:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    last = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < last and process.poll() is None:
        if found := re.search(r"ready on http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"the service does not start; its log ends:\n{log.read_text(errors='replace')[-2000:]}")
