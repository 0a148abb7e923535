"""`python -m benchmarks.retracing [SOURCE …]`: CPU time of tracing and converting networks, with and without retracing.

Without `export.tracing.program.core`, torch.onnx traces each program again. Both ways are timed in turn, on one thread,
after an untimed first trace.
"""

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime
from unittest import mock

import torch
from torch import nn
from torch.export import ExportedProgram

from artifact import Batch
from examples.digits.train import machine
from export.tracing.evaluation import EvaluatedProgram
from export.tracing.graph import trace_graph
from models.sources import Overrides, RandomWeights, load_source

SOURCES = (
    *("timm:vit_small_patch16_224", "timm:swin_tiny_patch4_window7_224", "timm:swinv2_tiny_window8_256"),
    *("timm:levit_128s", "timm:gcvit_xxtiny", "timm:coatnet_rmlp_nano_rw_224"),
)
MANY = Batch(min=1, max=32)
OPSET = 20


def main() -> int:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retracing", description=__doc__)
    parser.add_argument("sources", nargs="*", default=SOURCES)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{datetime.now(UTC).date()}, {machine()}, torch {torch.__version__}, {options.runs} runs each, CPU s\n")
    print("| network | without retracing | with retracing | × |\n| --- | ---: | ---: | ---: |")
    for source in options.sources:
        loaded = load_source(source, RandomWeights(0), Overrides())
        example = torch.zeros(1, 3, *loaded.image_size)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        _cpu_seconds(loaded.network, example, retrace=True)
        for _ in range(options.runs):
            for retrace, times in seconds.items():
                times.append(_cpu_seconds(loaded.network, example, retrace=retrace))
        without, with_it = (statistics.median(times) for times in seconds.values())
        print(f"| `{source}` | {without:.1f} | {with_it:.1f} | {without / with_it:.2f} |", flush=True)
    return 0


def _cpu_seconds(network: nn.Module, example: torch.Tensor, *, retrace: bool) -> float:
    used = ExportedProgram.run_decompositions if retrace else EvaluatedProgram.run_decompositions
    with mock.patch.object(EvaluatedProgram, "run_decompositions", used):
        start = time.process_time()
        trace_graph(network, example, MANY, OPSET)
        return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
