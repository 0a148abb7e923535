"""Processes of `benchmarks.cpu`, run in turns.

In one process, thread pools that spin would take the cores from the contender whose turn it is.
"""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

_PAUSE = 0.02
"""Seconds between two turns, until the threads of the one before sleep."""


class Turns:
    """The process of a contender: see cpu_contenders.

    Args:
        name: name of the contender.
        network: timm's name.
        folder: of `prepare`.
        threads: number of threads of a run.

    Attributes:
        times: seconds of wall and of CPU time of each run, by the number of images.
        process: that of the contender.
    """

    def __init__(self, name: str, network: str, folder: Path, threads: int) -> None:
        self._name = name
        self.times: dict[int, list[tuple[float, float]]] = defaultdict(list)
        command = [sys.executable, "-m", "benchmarks.cpu_contenders", name, network, str(folder.absolute())]
        self.process = subprocess.Popen(  # noqa: S603 -- a script of this project
            [*command, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )

    def wall(self, batch: int) -> float:
        """Return the median wall time of a run, seconds."""
        return statistics.median(wall for wall, _ in self.times[batch])

    def cpu(self, batch: int) -> float:
        """Return the median CPU time of a run, of all threads, seconds."""
        return statistics.median(cpu for _, cpu in self.times[batch])

    def run(self, batch: int, *, keep: bool) -> None:
        """Run one batch. Raises RuntimeError if the process ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()
        wall, cpu = self._answer().split()
        if keep:
            self.times[batch].append((float(wall), float(cpu)))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{self._name} ended with status {self.process.wait()}; it printed why; --without leaves it out"
            )
        return line


def take_turns(
    names: Sequence[str], network: str, folder: Path, threads: int, runs: Mapping[int, int]
) -> dict[str, Turns]:
    """Return the contenders with the times of their runs.

    Args:
        names: of contenders.
        network: timm's name.
        folder: of `prepare`.
        threads: number of threads of a run.
        runs: how many, by the number of images.

    Raises:
        RuntimeError: a contender failed.
    """
    opened: dict[str, Turns] = {}
    try:
        for name in names:
            opened[name] = Turns(name, network, folder, threads)
            for batch in runs:
                opened[name].run(batch, keep=False)  # one after the other: a compilation takes all cores
        for batch, count in runs.items():
            for _ in range(count):
                for turns in opened.values():
                    time.sleep(_PAUSE)
                    turns.run(batch, keep=True)
    finally:
        for turns in opened.values():
            turns.close()
    return opened
