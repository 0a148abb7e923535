"""Graphs of the zoo: made by a checkout's own command, and described by what they consist of."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from benchmarks.zoo_networks import CLASSES
from export.passes.fold_constants import is_constant_only

MOVEMENT = frozenset(
    {"Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape", "Slice"}
    | {"SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators that only move data."""


@dataclass(frozen=True)
class Graph:
    """What a graph consists of, and its error; NaN where it was not compared."""

    nodes: int
    movement_nodes: int
    constant_only: int
    shape_nodes: int
    image_size: Sequence[int]
    error: float = float("nan")


def describe(model: ir.Model, image_size: Sequence[int]) -> Graph:
    """Return what a graph of this image size consists of."""
    nodes = [node for graph in model.graphs() for node in graph]
    return _described(Counter(node.op_type for node in nodes), sum(map(is_constant_only, nodes)), image_size)


def _described(
    operators: Mapping[str, int], constant_only: int, image_size: Sequence[int], error: float = float("nan")
) -> Graph:
    moving = sum(count for name, count in operators.items() if name in MOVEMENT)
    return Graph(sum(operators.values()), moving, constant_only, operators.get("Shape", 0), image_size, error)


def export_with(checkout: Path, source: str, output: Path) -> tuple[Path, Graph] | str:
    """Return the graph that a checkout's command makes of a source, or the last line of why it does not."""
    output.mkdir()
    command = [sys.executable, "export/to_onnx.py", source, "--random-weights", "0", "--input", "float32"]
    if not source.startswith("python:"):
        labels = output / "labels.txt"
        labels.write_text("\n".join(f"class {number}" for number in range(CLASSES)), encoding="utf-8")
        command += ["--labels", str(labels)]
    done = subprocess.run(  # noqa: S603 -- the checkout's own script
        [*command, "--output", str(output), "--json"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2]
    result = json.loads(done.stdout)
    manifest = result["manifest"]
    size = (manifest["input"]["height"], manifest["input"]["width"])
    graph = manifest["graph"]
    error = manifest["parity"]["max_rel_error"]
    return Path(result["path"]) / "model.onnx", _described(graph["ops"], graph["constant_only_nodes"], size, error)
