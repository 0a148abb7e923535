"""Load on a server, by wrk from another process, and the CPU time of its answers."""

import json
import shutil
import subprocess
from dataclasses import dataclass

from benchmarks.serving_inputs import IMAGES, ROOT
from benchmarks.serving_processes import cpu_seconds
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
    """Return whether `load` can run."""
    return shutil.which("wrk") is not None


def load(server: Server, clients: int, seconds: int) -> Measured:
    """Return the measurement of wrk with `clients` connections, one request at a time on each.

    Most servers go on with requests that wrk leaves unanswered at its end: a further request waits for them.
    """
    script = str(ROOT / "benchmarks" / "load.lua")
    wrk = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", script, server.url]
    before = cpu_seconds(server.process)
    done = subprocess.run(  # noqa: S603
        [*wrk, "--", str(server.bodies), str(IMAGES), server.contender.content_type],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    good = found["requests"] - found["refused"]
    used = cpu_seconds(server.process) - before
    for place in range(IMAGES):
        server.ask(place)
    cpu = 1000 * used / max(good, 1)
    rate = good / found["seconds"]
    return Measured(good, rate, found["p50"], found["p99"], cpu, found["refused"], found["broken"])
