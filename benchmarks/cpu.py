"""`python -m benchmarks.cpu --artifacts DIR`: posbake, stock exports and torch.compile on the CPU.

The baseline is the graph of `torch.onnx.export` in ONNX Runtime in float32, whose threads spin by default. Each
contender runs in its own process; runs are interleaved, and figures are medians of wall and CPU time. The share of
the peak is the rate of all matrix products (operations over wall time) relative to that of a square product in the same
precision, measured in the same rounds. In int8, attention's products and the first and last layer run in bf16, but
are counted.

Artifacts missing from `--artifacts` are exported first; `--runs 0` exports only, so that timing can run later.
`--profile NETWORK:PRECISION:BATCH` prints OpenVINO's time per kind of node in one artifact instead.
"""

import argparse
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.cpu_artifacts import PRECISIONS, artifact_folder, operations, prepare
from benchmarks.cpu_contenders import CONTENDERS, GEMM, PEAKS, PRODUCTS
from benchmarks.cpu_profile import print_profile, profile
from benchmarks.cpu_turns import take_turns
from examples.digits.train import machine
from service.resources.cores import available_cores

NETWORKS = ("swin_tiny_patch4_window7_224", "vit_small_patch16_224", "swinv2_tiny_window8_256")
BATCHES = (1, 8)


def main() -> int:
    """Export what is missing; print a table, or a profile."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    parser.add_argument(
        "--artifacts", type=Path, required=True, metavar="DIR", help="folder of the artifacts; existing ones are reused"
    )
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help="timm names; default: all 3"
    )
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), metavar="N")
    parser.add_argument("--runs", type=int, default=15, help="runs at batch 1; half as many at others; 0: export only")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--target", default="openvino", help="target of to_onnx.py")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="WORD", help="skip contenders with WORD in their name"
    )
    parser.add_argument("--profile", nargs="+", default=[], metavar="NETWORK:PRECISION:BATCH")
    options = parser.parse_args()
    wanted = [_parsed(parser, text) for text in options.profile]
    for network in dict.fromkeys([name for name, _, _ in wanted] or options.networks):
        prepare(options.artifacts, network, options.target)
    print(f"{datetime.now(UTC).date()}, {machine()}, {_versions()}, {options.threads} threads\n")
    if wanted:
        for network, precision, batch in wanted:
            place = artifact_folder(options.artifacts, network, precision)
            title = f"`{network}` {precision}, batch {batch}"
            print_profile(title, profile(place, batch, options.runs, options.threads))
    elif options.runs:
        print("| network | batch | contender | ms | CPU ms | × | CPU × | of the peak |")
        print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
        for network in options.networks:
            print("\n".join(rows(network, options)), flush=True)
    return 0


def rows(network: str, options: argparse.Namespace) -> list[str]:
    """Return a row for each contender; ratios above 1 mean faster than the baseline."""
    names = [name for name in CONTENDERS if not any(word in name for word in options.without)]
    runs = {batch: options.runs if batch == 1 else -(-options.runs // 2) for batch in options.batches}
    found = take_turns([*names, *PEAKS], network, options.artifacts, options.threads, runs)
    first, lines = found[names[0]], []
    for batch in options.batches:
        rates = {name: 2 * GEMM**3 * PRODUCTS / found[name].wall(batch) for name in PEAKS}
        work = batch * operations(options.artifacts, network)
        for name in names:
            wall, cpu = found[name].wall(batch), found[name].cpu(batch)
            ratios = f"{first.wall(batch) / wall:.2f} | {first.cpu(batch) / cpu:.2f}"
            share = work / wall / rates[CONTENDERS[name].precision]
            lines.append(
                f"| `{network}` | {batch} | {name} | {1e3 * wall:.1f} | {1e3 * cpu:.1f} | {ratios} | {share:.0%} |"
            )
        shown = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
        lines.append(f"| `{network}` | {batch} | *products, Gop/s: {shown}* | | | | | |")
    return lines


def _parsed(parser: argparse.ArgumentParser, text: str) -> tuple[str, str, int]:
    network, _, rest = text.partition(":")
    precision, _, batch = rest.partition(":")
    if precision not in PRECISIONS or not batch.isdigit():
        parser.error(f"--profile {text}: expected NETWORK:PRECISION:BATCH with a precision of {', '.join(PRECISIONS)}")
    return network, precision, int(batch)


def _versions() -> str:
    names = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "torch"}
    return ", ".join(f"{name} {version(package)}" for package, name in names.items())


if __name__ == "__main__":
    sys.exit(main())
