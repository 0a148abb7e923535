"""`python -m benchmarks.gpu_check`: check the documentation's statements about GPUs on a GPU host, in 10 minutes.

Each part runs in its own process with a time limit, so a crash ends one part. Parts whose packages or hardware are
missing are skipped, with the reason. Results are printed, and written to the output folder after each part.
The exit status is 1 if a check failed. `--device cpu` tests the check itself, not a GPU.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gpu.part import Settings
from benchmarks.gpu.running import Planned, Result, run_parts
from benchmarks.gpu.tables import markdown, write

NETWORKS = (
    "timm:swin_tiny_patch4_window7_224",
    "timm:vit_small_patch16_224",
    "timm:swinv2_tiny_window8_256",
)

PARTS = (
    Planned("host", "benchmarks.gpu.host:run", 60),
    Planned("export", "benchmarks.gpu.exports:run", 300),
    Planned("golden", "benchmarks.gpu.golden:run", 90),
    Planned("service", "benchmarks.gpu.serving:check", 120),
    Planned("ours-plain", "benchmarks.gpu.ours:plain", 60),
    Planned("ours-buffers", "benchmarks.gpu.ours:buffers", 60),
    Planned("ours-graphs", "benchmarks.gpu.ours:graphs", 60),
    Planned("stock", "benchmarks.gpu.stock_export:run", 120),
    Planned("torch-eager", "benchmarks.gpu.torch_networks:eager", 60),
    Planned("clients", "benchmarks.gpu.serving:clients", 120),
    Planned("tensorrt", "benchmarks.gpu.tensorrt:run", 120),
    Planned("torch-compile", "benchmarks.gpu.torch_networks:compiled", 150),
    Planned("torch-aoti", "benchmarks.gpu.torch_networks:ahead_of_time", 150),
)
"""Parts in order of execution; the slowest are last."""


def main(arguments: Sequence[str] | None = None, parts: Sequence[Planned] = PARTS) -> int:
    """Run the parts, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=Path("gpu-check"), help="folder of the results")
    parser.add_argument("--artifacts", type=Path, help="folder of the exports; default: inside the output folder")
    parser.add_argument(
        "--parts", help=f"parts to run, each with the full time limit; any of {', '.join(part.name for part in parts)}"
    )
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="sources, as for to_onnx.py")
    parser.add_argument("--precisions", nargs="+", default=Settings.precisions, help="the last one is timed")
    parser.add_argument("--batches", nargs="+", type=int, default=Settings.batches)
    parser.add_argument("--clients", nargs="+", type=int, default=Settings.clients)
    parser.add_argument("--images", type=int, default=Settings.images, help="number of held-out digits")
    parser.add_argument("--seconds", type=float, default=Settings.seconds, help="length of one measurement")
    parser.add_argument("--limit", type=float, default=570, help="time limit of all parts in seconds")
    options = parser.parse_args(arguments)
    names = [part.name for part in parts] if options.parts is None else options.parts.split(",")
    if unknown := set(names) - {part.name for part in parts}:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}; --help lists the parts")
    output: Path = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        device=options.device,
        artifacts=str((options.artifacts or output / "artifacts").absolute()),
        output=str(output),
        networks=tuple(options.networks),
        precisions=tuple(options.precisions),
        batches=tuple(options.batches),
        clients=tuple(options.clients),
        seconds=options.seconds,
        images=options.images,
    )
    heading = f"{datetime.now(UTC).date()}, device {settings.device}"
    shown: list[Result] = []

    def show(result: Result) -> None:
        shown.append(result)
        print(f"{result.name}: {result.outcome} in {result.seconds} s {result.reason}".rstrip(), file=sys.stderr)
        write(shown, heading, output)

    chosen = [part for part in parts if part.name in names]
    if options.parts is not None:
        chosen = [replace(part, limit=options.limit) for part in chosen]
    results = run_parts(chosen, settings, options.limit, show)
    print(markdown(results, heading), end="")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
