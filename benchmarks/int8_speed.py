"""`python -m benchmarks.int8_speed`: CPU time of int8 beside float32, on each backend as the service runs it.

Weights are random and pictures synthetic, for time depends on neither. Of int8 artifacts OpenVINO computes the rest in
bfloat16 where the CPU has it. The two graphs take turns on one thread; CPU time, for other programs may have the cores.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from artifact import Artifact, read_artifact
from benchmarks.precision import export, write_pictures
from benchmarks.trained import BACKENDS, interleaved, open_backend
from examples.digits.train import machine

SOURCES = ("timm:swinv2_tiny_window8_256", "timm:swin_tiny_patch4_window7_224", "timm:vit_small_patch16_224")
BATCHES = (1, 8)


def main() -> int:
    """Export, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8_speed", description=__doc__)
    parser.add_argument("sources", nargs="*", default=SOURCES, help=f"default: {' '.join(SOURCES)}")
    parser.add_argument("--runs", type=int, default=9, help="of each graph at each batch size, default: 9")
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, {machine()}, {', '.join(f'{b} {version(b)}' for b in BACKENDS)}\n")
    print("| network | backend | runs in | batch | fp32, CPU ms an image | int8 | fp32 / int8 |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "pictures")
        for source in options.sources:
            single, lowered = (
                read_artifact(export(source, precision, folder / "artifacts", folder / "pictures").path)
                for precision in ("fp32", "int8")
            )
            for backend in BACKENDS:
                for row in _rows(source, backend, single, lowered, options.runs):
                    print(row, flush=True)
    return 0


def _rows(source: str, backend: str, single: Artifact, lowered: Artifact, runs: int) -> list[str]:
    opened = [open_backend(artifact, backend) for artifact in (single, lowered)]
    rows = []
    for batch in BATCHES:
        plain, integer = interleaved(opened, single.manifest, batch, runs)
        figures = f"{plain:.1f} | {integer:.1f} | {plain / integer:.2f}"
        rows.append(f"| `{source}` | {backend} | {opened[1].precision} | {batch} | {figures} |")
    return rows


if __name__ == "__main__":
    sys.exit(main())
