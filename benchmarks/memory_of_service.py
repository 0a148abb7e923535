"""`python -m benchmarks.memory_of_service`: resident memory of the service after 2,000 and after 20,000 requests.

Network, images and load are those of `benchmarks.serving`. Pools and arenas fill during the first thousands of
requests; growth after that indicates a leak.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving_contenders import CONTENDERS
from benchmarks.serving_inputs import NETWORKS, export, make_images
from benchmarks.serving_load import load, wrk_is_installed
from benchmarks.serving_processes import resident_bytes
from benchmarks.serving_servers import running
from examples.digits.train import machine

LIMIT = 1.05
MIB = 2**20
SLICE = 1  # seconds of load between two counts: wrk runs for a time, not for a number of requests


def main() -> int:
    """Print a row for each number of requests; return 1 if the last exceeds the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_of_service", description=__doc__)
    parser.add_argument("--requests", type=int, nargs="+", default=(2_000, 20_000), help="default: 2000 20000")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--port", type=int, default=8770)
    options = parser.parse_args()
    if not wrk_is_installed():
        parser.error("wrk is missing; install it: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        repository = export(NETWORKS["small"], folder, ("uint8",))
        print(f"{datetime.now(UTC).date()}, {machine()}, {options.clients} clients\n")
        print("| requests | resident, MiB | relative to the first |\n| ---: | ---: | ---: |")
        with running(CONTENDERS["posbake"], options.port, repository, folder) as server:
            answered, first, last = 0, 0, 0
            for wanted in sorted(options.requests):
                while answered < wanted:
                    answered += load(server, options.clients, SLICE).good
                last = resident_bytes(server.process)
                first = first or last
                print(f"| {answered} | {last / MIB:.1f} | {last / first:.3f} |", flush=True)
    over = last > LIMIT * first
    print(f"\n{'over' if over else 'within'} the limit of {LIMIT} times the first")
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
