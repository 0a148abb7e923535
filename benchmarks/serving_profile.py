"""Profile of the service under load by py-spy: a file of stacks, and a table of functions.

Samples are of runnable threads. A thread that waits for a core is counted in the function that it wakes up in, so on a
busy machine `Condition.wait` is large. C code counts as the Python function that called it.
"""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.serving_load import Measured, load
from benchmarks.serving_servers import Server

RATE = 200  # samples a second
ROWS = 15


def py_spy() -> str | None:
    """Return the path of py-spy, beside this Python or on PATH, or None."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


def profile(server: Server, clients: int, seconds: int, output: Path) -> Measured:
    """Write the stacks of all running threads while wrk loads the server, one line with a count for each.

    Raises:
        RuntimeError: py-spy failed; it may need permission to trace processes.
    """
    command = [str(py_spy()), "record", "--pid", str(server.process), "--duration", str(seconds), "--rate", str(RATE)]
    with subprocess.Popen(  # noqa: S603
        [*command, "--function", "--format", "raw", "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as recording:
        measured = load(server, clients, seconds)
        said, _ = recording.communicate()
    if recording.returncode or not output.is_file():
        raise RuntimeError(f"py-spy wrote no {output} (it needs CAP_SYS_PTRACE or root); its output:\n{said}")
    return measured


def table(stacks: str) -> list[str]:
    """Return rows of a Markdown table: functions by samples of their own, also with callees."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        within.update(dict.fromkeys(frames, int(count)))
    everything = max(sum(own.values()), 1)
    rows = [
        f"| `{name}` | {100 * count / everything:.1f} | {100 * within[name] / everything:.1f} |"
        for name, count in own.most_common(ROWS)
    ]
    return ["| function | self, % | with callees, % |", "| --- | ---: | ---: |", *rows]
