"""`python -m benchmarks.serving`: the service compared with other servers, on the same network, images and cores.

wrk (from Debian's package) loads every server from another process on the same machine. Runs are interleaved, because
the machine's speed drifts, and every round restarts the servers, because processes of the same code differ in speed by
up to 10 % over their lifetime. Figures are medians over the rounds; ratios are of medians. CPU time is the server's per
response, and comparable even if other programs use the cores. The limit is the same stages in a loop without HTTP, in
one process per core. With `--resizers`, all servers and the limit resize with the same library, in a table for each;
without, each server uses its own. `small` is a ViT of DeiT-Ti's width with one block; weights are random; the images
are JPEGs of 500×375 pixels.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving_contenders import CONTENDERS, of_another_checkout
from benchmarks.serving_inputs import NETWORKS, ROOT, export, make_images
from benchmarks.serving_limit import limit, top_labels
from benchmarks.serving_load import Measured, load, wrk_is_installed
from benchmarks.serving_profile import profile, py_spy, table
from benchmarks.serving_servers import Server, check, running
from examples.digits.train import machine

OWN = "own"
"""Each server's own resizer: SIMD in posbake, Pillow in the others."""

Runs = dict[tuple[int, str], list[Measured]]
"""Measurements by number of clients and contender, one per round."""

MEDIANS = ("good_per_second", "p50", "p99", "cpu")


def main() -> int:
    """Print one row for each number of clients and contender."""
    options = _options()
    network = NETWORKS[options.network]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        present = [key for key in options.contenders if CONTENDERS[key].environment.available]
        kinds = {"uint8", *(CONTENDERS[key].kind for key in present)}
        repository = export(network, folder, sorted(kinds), options.against or ROOT)
        labels = top_labels(repository / "benchmark/uint8/1", folder)

        @contextmanager
        def servers(resizer: str = OWN) -> Iterator[dict[str, Server]]:
            with ExitStack() as stack:
                started = {
                    key: stack.enter_context(
                        running(CONTENDERS[key], options.port + place, repository, folder, _resizing(resizer))
                    )
                    for place, key in enumerate(present)
                }
                for server in started.values():
                    check(server, labels)
                yield started

        print(f"{datetime.now(UTC).date()}, {machine()}, {options.network}, ", end="")
        if options.profile is not None:
            clients = max(options.clients)
            with servers() as started:
                measured = profile(started["posbake"], clients, options.seconds, options.profile)
            print(f"{clients} clients for {options.seconds} s, {measured.good_per_second:.0f} requests/s\n")
            print("\n".join(table(options.profile.read_text(encoding="utf-8"))))
            return 0
        print(f"{options.rounds} rounds of {options.seconds} s\n")
        every: dict[str, tuple[Runs, list[float]]] = {resizer: ({}, []) for resizer in options.resizers}
        for number in range(options.rounds):
            for resizer, (runs, limits) in every.items():
                named = "auto" if resizer == OWN else resizer
                limits.append(limit(repository / "benchmark/uint8/1", folder, options.seconds, named))
                with servers(resizer) as started:
                    for clients in options.clients:
                        for key, server in list(started.items())[:: -1 if number % 2 else 1]:  # alternating order
                            runs.setdefault((clients, key), []).append(load(server, clients, options.seconds))
        for resizer, (runs, limits) in every.items():
            print(f"Resizer: {resizer}")
            report(runs, statistics.median(limits), options.clients, options.contenders)
            print()
    return 0


def _resizing(resizer: str) -> dict[str, str]:
    """Return the environment variables that give every server this resizer."""
    return {} if resizer == OWN else {"POSBAKE_RESIZER": resizer, "POSBAKE_PLAIN_RESIZER": resizer}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    default = "; of swin_tiny: ".join(" ".join(network.contenders) for network in NETWORKS.values())
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help=f"default: {default}")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="also measure another checkout of posbake")
    parser.add_argument("--clients", type=int, nargs="+", help="default: 1 8 32 128; for swin_tiny: 8 32")
    parser.add_argument("--resizers", nargs="+", choices=(OWN, "simd", "pillow"), default=(OWN,))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, help="length of each run, default: 5; for swin_tiny: 20")
    parser.add_argument("--port", type=int, default=8770, help="port of the first contender; the others follow")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="instead: write py-spy's stacks of posbake under the most clients, and print time per function",
    )
    options = parser.parse_args()
    if not wrk_is_installed():
        parser.error("wrk is missing; install it: apt-get install wrk")
    if options.profile is not None and py_spy() is None:
        parser.error("py-spy is missing; install it: pip install py-spy")
    if options.profile is not None:
        options.contenders, options.clients = ("posbake",), options.clients or (32,)
    network = NETWORKS[options.network]
    options.contenders = tuple(dict.fromkeys(options.contenders or network.contenders))
    if options.against is not None:
        options.against = options.against.resolve()
        CONTENDERS["against"] = of_another_checkout(options.against)
        options.contenders = (*options.contenders, "against")
    options.clients = options.clients or network.clients
    options.seconds = options.seconds or network.seconds
    return options


def report(runs: Runs, limit_: float, every_clients: tuple[int, ...], contenders: tuple[str, ...]) -> None:
    """Print medians, and the ratios of the first contender to each other one."""
    print(f"In-process limit: {limit_:.0f} images/s\n")
    print("| clients | server | requests/s | of the limit | p50, ms | p99, ms | CPU, ms | refused | broken |")
    print(f"| ---: | --- |{' ---: |' * 7}")
    for clients in every_clients:
        for key in contenders:
            print(f"| {clients} | {CONTENDERS[key].name} | {_row(key, runs.get((clients, key)), limit_)} |")
    measured = [key for key in contenders if (every_clients[0], key) in runs]
    if len(measured) < 2:
        return
    print(f"\n| clients | {CONTENDERS[measured[0]].name} relative to | requests/s, × | p50, × | p99, × | CPU, × |")
    print(f"| ---: | --- |{' ---: |' * 4}")
    for clients in every_clients:
        ours = _medians(runs[clients, measured[0]])
        for key in measured[1:]:
            theirs = _medians(runs[clients, key])
            ratios = " | ".join(f"{ours[what] / theirs[what]:.2f}" for what in MEDIANS)
            print(f"| {clients} | {CONTENDERS[key].name} | {ratios} |")


def _row(key: str, found: list[Measured] | None, limit_: float) -> str:
    if found is None:
        return f"missing: {CONTENDERS[key].environment.install} | | | | | |"
    rate, p50, p99, cpu = _medians(found).values()
    refused, broken = sum(run.refused for run in found), sum(run.broken for run in found)
    return f"{rate:.0f} | {rate / limit_:.2f} | {p50:.1f} | {p99:.1f} | {cpu:.1f} | {refused} | {broken}"


def _medians(found: list[Measured]) -> dict[str, float]:
    return {what: statistics.median(getattr(run, what) for run in found) for what in MEDIANS}


if __name__ == "__main__":
    sys.exit(main())
