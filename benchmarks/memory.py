"""`python -m benchmarks.memory`: peak memory of an export, step by step, relative to the size of its weights.

Each export runs in a child process. Linux records a process's peak resident size and allows resetting it, so the peak
of each step is measured; pages of mapped files are included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from examples.digits.train import machine

SOURCES = (
    "timm:swin_tiny_patch4_window7_224",
    "timm:vit_base_patch16_224",
    "timm:vit_large_patch16_224",
    "timm:vit_huge_patch14_clip_224.laion2b_ft_in1k",
)
GIB = 2**30
LIMIT = "3 × weights + 2 GiB"


def main() -> int:
    """Print a table for each source; return 1 if a step exceeds the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("sources", nargs="*", default=SOURCES, help=f"default: {' '.join(SOURCES)}")
    parser.add_argument("--batch", type=int, default=2, help="largest batch; default: 2")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure, options.batch)))
        return 0
    print(f"{datetime.now(UTC).date()}, {machine()}\n")
    print("| source | weights, GiB | step | seconds | peak, GiB | (peak − imports) / weights |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    over = 0
    for source in options.sources:
        command = [sys.executable, "-m", "benchmarks.memory", "--measure", source, "--batch", str(options.batch)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
        over += report(source, json.loads(done.stdout))
    return min(over, 1)


def report(source: str, found: dict[str, dict[str, float]]) -> bool:
    """Print the rows of a source, and return whether a step exceeds the limit."""
    weights, peaks = found["weights"]["bytes"], found["peaks"]
    for step, peak in peaks.items():
        times = (peak - peaks["imports"]) / weights
        seconds = found["seconds"].get(step, 0.0)
        print(f"| `{source}` | {weights / GIB:.2f} | {step} | {seconds:.1f} | {peak / GIB:.2f} | {times:.1f} |")
    over = max(peaks.values()) > 3 * weights + 2 * GIB
    print(f"| `{source}` | {weights / GIB:.2f} | all | {sum(found['seconds'].values()):.1f} |", end=" ")
    print(f"{max(peaks.values()) / GIB:.2f} | {'over' if over else 'within'} {LIMIT} |")
    return over


def measure(source: str, batch: int) -> dict[str, dict[str, float]]:
    """Export `source` with random weights to a temporary directory; return bytes of weights, peaks, seconds."""
    from artifact import Batch
    from export.pipeline import ExportRequest, export_onnx
    from models.sources import RandomWeights

    peaks: dict[str, float] = {"imports": peak_bytes()}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak resident size
        yield
        peaks[name] = max(peaks.get(name, 0), peak_bytes())

    with tempfile.TemporaryDirectory() as folder:
        request = ExportRequest(source, RandomWeights(0), Path(folder), batch=Batch(min=1, max=batch))
        done = export_onnx(request, step)
        files = done.manifest.files.items()
        weights: float = sum(entry.size for name, entry in files if name.startswith("model.onnx"))
    return {"weights": {"bytes": weights}, "peaks": peaks, "seconds": done.seconds}


def peak_bytes() -> int:
    """Return the peak resident size of this process since its last reset."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
