"""`python -m benchmarks.targets [SOURCE …]`: equivalent forms of a graph, timed in each runtime.

These are the forms that `--target` could choose. Figures are ratios of CPU time, portable graph over the other form
(above 1, the other is faster): medians of runs on one thread, in random order in each round. `again` is the portable
graph measured twice: its distance from 1 is the measurement error. Weights are random, and so are biases, since zero
biases would be removed.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from artifact import Batch
from benchmarks.runtimes import Run, installed, open_runners
from benchmarks.target_alternatives import Alternative, attention, separate
from benchmarks.zoo_networks import library_module
from examples.digits.train import machine
from export.passes.graph import build_graph
from export.write.saving import save_graph

NETWORKS = (
    "timm:swin_tiny_patch4_window7_224",
    "timm:vit_small_patch16_224",
    "timm:swinv2_tiny_window8_256",
    "timm:beit_base_patch16_224",
    "timm:gcvit_xxtiny",
)
ALTERNATIVES = (
    Alternative("portable"),
    Alternative("again"),
    Alternative("q, k, v apart", rewrite=separate),
    Alternative("Attention, 4-D", 23, rewrite=attention),
    Alternative("Attention, 3-D", 23, fuses_attention=True),
    Alternative("more Gather", costs={"TRANSPOSED": 0.5, "MOVED_AXIS": 0.5}, cheaper=1),
    Alternative("more Transpose", costs={"GATHERED": 0.4, "RUN": 20.0}, cheaper=4),
)
BATCHES = (1, 8)
_CLOSE = 1e-4
"""Tolerance relative to the largest logit, for rounding."""


def main() -> None:
    """Print a row for each network, runtime and batch size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("sources", nargs="*", default=NETWORKS)
    parser.add_argument("--runs", type=int, default=30, help="runs at batch 1; a third as many at others; default: 30")
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {version}" for name, version in installed().items())
    print(f"{datetime.now(UTC).date()}, {machine()}, {versions}, one thread\n")
    print(f"| network | runtime | batch | ms | {' | '.join(form.name for form in ALTERNATIVES[1:])} |")
    print(f"| --- | --- |{' ---: |' * (len(ALTERNATIVES) + 1)}")
    for source in options.sources:
        with tempfile.TemporaryDirectory() as folder:
            size, paths = make_graphs(source, Path(folder))
            for runtime in installed():
                runners = open_runners(runtime, paths, 1)
                check(runners, size)
                for batch in BATCHES:
                    first, *others = medians(runners, batch, size, options.runs if batch == 1 else options.runs // 3)
                    gains = " | ".join(f"{first / other:.2f}" for other in others)
                    print(f"| `{source}` | {runtime} | {batch} | {first:.1f} | {gains} |", flush=True)


def make_graphs(source: str, folder: Path) -> tuple[Sequence[int], list[Path]]:
    """Return the image size of a network, and its graph in each form."""
    torch.manual_seed(0)
    network = library_module(source).eval()
    _draw_biases(network)
    configuration: Any = network.default_cfg
    size: Sequence[int] = configuration["input_size"][1:]
    paths = []
    for number, form in enumerate(ALTERNATIVES):
        with form.chosen():
            example, batch = torch.zeros(2, 3, *size), Batch(min=1, max=32)
            model = build_graph(network, example, batch, form.opset, fuses_attention=form.fuses_attention).model
        paths.append(folder / str(number) / "model.onnx")
        paths[-1].parent.mkdir()
        save_graph(model, paths[-1])
    return size, paths


def _draw_biases(network: nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim < 2 or not parameter.any():
                parameter.add_(0.02 * torch.randn_like(parameter))


def _images(batch: int, size: Sequence[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(batch, 3, *size)).astype(np.float32)


def check(runners: Sequence[Run], size: Sequence[int]) -> None:
    """Raise ValueError unless all forms yield the same logits."""
    first, *others = (_logits(run(_images(3, size))) for run in runners)
    for form, other in zip(ALTERNATIVES[1:], others, strict=True):
        error = np.abs(other - first).max() / np.abs(first).max()
        if not error < _CLOSE:
            raise ValueError(f"{form.name} is not equivalent: logits differ by {error:.1e}, expected at most {_CLOSE}")


def _logits(outputs: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(next(iter(outputs.values())) if hasattr(outputs, "values") else outputs[0])  # type: ignore[index]


def medians(runners: Sequence[Run], batch: int, size: Sequence[int], runs: int) -> list[float]:
    """Return each runner's median CPU time in ms, after one warm-up run."""
    images, shuffle = _images(batch, size), random.Random(0)  # noqa: S311
    times: list[list[float]] = [[] for _ in runners]
    order = list(range(len(runners)))
    for number in range(runs + 1):
        shuffle.shuffle(order)
        for index in order:
            start = time.process_time()
            runners[index](images)
            if number:
                times[index].append(1000 * (time.process_time() - start))
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
