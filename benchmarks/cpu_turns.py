"""Interleaved runs of the contenders of `benchmarks.cpu`, each in its own process.

In a shared process, spinning thread pools would take cores from the measured contender.
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
"""Seconds between two runs, until the previous contender's threads sleep."""


class Turns:
    """A contender's process, see cpu_contenders.

    Args:
        name: name of the contender.
        network: timm name.
        folder: folder of `prepare`.
        threads: number of threads of a run.

    Attributes:
        times: wall and CPU time of each run in seconds, by batch size.
        process: the running process.
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
        """Return the median wall time of a run in seconds."""
        return statistics.median(wall for wall, _ in self.times[batch])

    def cpu(self, batch: int) -> float:
        """Return the median CPU time of a run over all threads, in seconds."""
        return statistics.median(cpu for _, cpu in self.times[batch])

    def run(self, batch: int, *, keep: bool) -> None:
        """Run one batch. Raises RuntimeError if the process has ended."""
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
                f"{self._name} ended with status {self.process.wait()}; see its output above; --without skips it"
            )
        return line


def take_turns(
    names: Sequence[str], network: str, folder: Path, threads: int, runs: Mapping[int, int]
) -> dict[str, Turns]:
    """Run the contenders, interleaved, and return them with their times.

    Args:
        names: names of the contenders.
        network: timm name.
        folder: folder of `prepare`.
        threads: number of threads of a run.
        runs: number of runs by batch size.

    Raises:
        RuntimeError: a contender failed.
    """
    opened: dict[str, Turns] = {}
    try:
        for name in names:
            opened[name] = Turns(name, network, folder, threads)
            for batch in runs:
                opened[name].run(batch, keep=False)  # not interleaved: compilation uses all cores
        for batch, count in runs.items():
            for _ in range(count):
                for turns in opened.values():
                    time.sleep(_PAUSE)
                    turns.run(batch, keep=True)
    finally:
        for turns in opened.values():
            turns.close()
    return opened
