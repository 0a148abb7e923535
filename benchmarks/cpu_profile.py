"""OpenVINO's time per operator and kernel in an artifact.

The artifact is compiled as in the service: one image at a time, on one thread unless the batch is 1. Each node's time
is the minimum over the runs, because other programs only add to it.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino

from artifact import read_artifact
from service.backends.openvino import OpenVinoBackend
from service.backends.openvino_reading import read_graph
from service.backends.warming import blank

_SHARE = 0.002
"""Minimum share of the total time of a printed row."""


@dataclass(frozen=True)
class Kind:
    """Nodes with the same operator and kernel, and their time per image in ms."""

    operator: str
    kernel: str
    nodes: int
    milliseconds: float


def profile(artifact_path: Path, batch: int, runs: int, threads: int) -> list[Kind]:
    """Return the kinds of nodes of an artifact, in descending order of time.

    Args:
        artifact_path: folder of the artifact.
        batch: batch size; 1 uses all threads, others one, as in the service.
        runs: number of runs.
        threads: number of threads at batch 1.
    """
    artifact = read_artifact(artifact_path)
    core = openvino.Core()
    precision = "f32" if OpenVinoBackend(artifact, "cpu", 1).precision == "fp32" else "bf16"
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1, "PERF_COUNT": True}
    settings |= {"INFERENCE_NUM_THREADS": threads if batch == 1 else 1, "ENABLE_CPU_PINNING": False}
    request = core.compile_model(read_graph(core, artifact), "CPU", settings).create_infer_request()
    images = blank(artifact.manifest, 1)
    least: dict[int, tuple[str, str, float]] = {}
    for _ in range(runs):
        request.infer({0: images})
        for number, node in enumerate(request.get_profiling_info()):
            taken = 1000 * node.real_time.total_seconds()
            if number not in least or taken < least[number][2]:
                least[number] = (node.node_type, node.exec_type, taken)
    return _by_kind([found for found in least.values() if found[2] > 0])


def _by_kind(nodes: list[tuple[str, str, float]]) -> list[Kind]:
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for operator, kernel, taken in nodes:
        groups[operator, kernel].append(taken)
    kinds = [Kind(*name, len(times), sum(times)) for name, times in groups.items()]
    return sorted(kinds, key=lambda kind: kind.milliseconds, reverse=True)


def print_profile(title: str, kinds: list[Kind]) -> None:
    """Print a row for each kind."""
    whole = sum(kind.milliseconds for kind in kinds)
    print(f"{title}: {whole:.2f} ms per image in all nodes\n")
    print("| operator | kernel | nodes | ms | share |")
    print("| --- | --- | ---: | ---: | ---: |")
    for kind in kinds:
        if kind.milliseconds >= _SHARE * whole:
            share = kind.milliseconds / whole
            print(f"| {kind.operator} | {kind.kernel} | {kind.nodes} | {kind.milliseconds:.2f} | {share:.1%} |")
    print()
