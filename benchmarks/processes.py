"""`python -m benchmarks.processes`: throughput of the service with one and with several processes.

The network is the digits variant `none` and the images have 32×32 pixels, so that Python is the bottleneck, as in the
use of `--processes`. Each round restarts every service; wrk runs on the same machine.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.service_process import Service, served
from benchmarks.serving_inputs import ROOT
from benchmarks.serving_load import wrk_is_installed
from benchmarks.serving_processes import cpu_seconds, family, resident_bytes
from examples.digits.train import machine

MIB = 2**20


def main() -> int:
    """Print a table of throughput and memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "artifacts", help="default: artifacts")
    parser.add_argument("--processes", type=int, nargs="+", default=(1, 2), help="default: 1 2")
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 32), help="default: 1 32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="length of each measurement")
    options = parser.parse_args()
    if not wrk_is_installed():
        parser.error("wrk is missing; install it: apt-get install wrk")
    rates: dict[tuple[int, int], list[float]] = defaultdict(list)
    costs: dict[tuple[int, int], list[float]] = defaultdict(list)
    memory: dict[int, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(options.repository / "digits" / "none", folder / "repository" / "digits" / "none")
        images = sorted((ROOT / "examples" / "digits" / "samples").glob("*.png"))
        for place, image in enumerate(images):
            shutil.copy(image, folder / str(place))
        for turn in range(options.rounds):
            for count in sorted(options.processes, reverse=bool(turn % 2)):
                flags = ("--processes", str(count))
                with served(folder / "repository", folder / "log", *flags) as service:
                    for clients in options.clients:
                        _load(service, folder, len(images), clients, 1)
                        rate, cost = _load(service, folder, len(images), clients, options.seconds)
                        rates[count, clients].append(rate)
                        costs[count, clients].append(cost)
                    memory[count].append(sum(map(resident_bytes, family([service.process.pid]))) / MIB)
                    service.stop(signal.SIGTERM)
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.rounds} rounds of {options.seconds} s, medians\n")
    print("| processes | clients | requests/s | relative to one process | CPU ms/request | resident MiB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for (count, clients), found in sorted(rates.items()):
        ratio = median(found) / median(rates[min(options.processes), clients])
        cost, resident = median(costs[count, clients]), median(memory[count])
        print(f"| {count} | {clients} | {median(found):.0f} | {ratio:.2f} | {cost:.2f} | {resident:.0f} |")
    return 0


def _load(service: Service, folder: Path, images: int, clients: int, seconds: int) -> tuple[float, float]:
    """Return requests/s and the CPU time per request in ms."""
    wrk = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(ROOT / "benchmarks" / "load.lua")]
    url = f"http://127.0.0.1:{service.port}/v1/classify"
    before = cpu_seconds(service.process.pid)
    done = subprocess.run(  # noqa: S603
        [*wrk, url, "--", str(folder), str(images), "image/png"], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    if found["refused"] or found["broken"]:
        raise RuntimeError(f"requests failed: {found}")
    used = cpu_seconds(service.process.pid) - before
    return found["requests"] / found["seconds"], 1000 * used / found["requests"]


if __name__ == "__main__":
    sys.exit(main())
