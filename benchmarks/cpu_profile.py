"""Times of OpenVINO's nodes of an artifact, by kind of node and kernel.

The artifact is compiled as the service does: for one image, batches of more on one thread each. Of the runs each node's
least time counts: other programs only add to it.
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
"""Of the time; rows of less are left out."""


@dataclass(frozen=True)
class Kind:
    """Nodes of one kind that one kernel runs, and their milliseconds of an image."""

    operator: str
    kernel: str
    nodes: int
    milliseconds: float


def profile(artifact_path: Path, batch: int, runs: int, threads: int) -> list[Kind]:
    """Return the kinds of nodes of an artifact, most time first.

    Args:
        artifact_path: folder of the artifact.
        batch: 1 is run on all threads, more on one, as the service does.
        runs: each node's least time of these counts.
        threads: for batch 1.
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
    print(f"{title}: {whole:.2f} ms an image in all nodes\n")
    print("| operator | kernel | nodes | ms | share |")
    print("| --- | --- | ---: | ---: | ---: |")
    for kind in kinds:
        if kind.milliseconds >= _SHARE * whole:
            share = kind.milliseconds / whole
            print(f"| {kind.operator} | {kind.kernel} | {kind.nodes} | {kind.milliseconds:.2f} | {share:.1%} |")
    print()
