"""Load on a server, by wrk from another process, and what its processes take: CPU seconds and resident bytes."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving_inputs import IMAGES, ROOT
from benchmarks.serving_servers import Server


@dataclass(frozen=True)
class Measured:
    """One run of wrk: times in ms; refused is what had a status of 400 or above, broken what had no answer."""

    good: int
    good_per_second: float
    p50: float
    p99: float
    cpu: float
    """The server's, in ms, for each good answer."""
    refused: int
    broken: int


def wrk_is_installed() -> bool:
    """Whether `load` can run."""
    return shutil.which("wrk") is not None


def load(server: Server, clients: int, seconds: int, images: Path) -> Measured:
    """Return what wrk measures with so many connections, each of which waits for an answer before it asks again."""
    script = str(ROOT / "benchmarks" / "load.lua")
    wrk = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", script, server.url]
    before = cpu_seconds(server.process)
    done = subprocess.run(  # noqa: S603
        [*wrk, "--", str(images), str(IMAGES)], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    good = found["requests"] - found["refused"]
    cpu = 1000 * (cpu_seconds(server.process) - before) / max(good, 1)
    rate = good / found["seconds"]
    return Measured(good, rate, found["p50"], found["p99"], cpu, found["refused"], found["broken"])


def cpu_seconds(process: int) -> float:
    """Return what a process and those it started have used of the CPU (proc_pid_stat(5), fields 4, 14 and 15)."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
        found[int(stat.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    family = {process}
    while more := {child for child, (parent, _) in found.items() if parent in family} - family:
        family |= more
    return sum(found[one][1] for one in family) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process: int) -> int:
    """Return how much of a process is in memory (proc_pid_statm(5), field 2), pages of mapped files included."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
