"""Load on a server by wrk in another process, and the server's CPU time per response."""

import json
import shutil
import subprocess
from dataclasses import dataclass

from benchmarks.serving_inputs import IMAGES, ROOT
from benchmarks.serving_processes import cpu_seconds
from benchmarks.serving_servers import Server


@dataclass(frozen=True)
class Measured:
    """One run of wrk, times in ms; refused: status of 400 or above; broken: no response."""

    good: int
    good_per_second: float
    p50: float
    p99: float
    cpu: float
    """CPU time of the server in ms per successful response."""
    refused: int
    broken: int


def wrk_is_installed() -> bool:
    """Return whether wrk is on PATH."""
    return shutil.which("wrk") is not None


def load(server: Server, clients: int, seconds: int) -> Measured:
    """Run wrk with `clients` connections, one request at a time on each.

    Most servers continue with requests that are unanswered when wrk ends; a further request waits for them.
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
