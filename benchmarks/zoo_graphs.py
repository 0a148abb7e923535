"""Graphs of the zoo: export by a checkout's command, and counts of their nodes."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx_ir as ir

from benchmarks.zoo_networks import CLASSES, has_no_classes
from export.passes.origins import all_nodes, count_constant_only

MOVEMENT = frozenset(
    {"Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape", "Slice"}
    | {"SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators that only move data."""

STOCK, OURS, OTHER = "stock", "posbake", "other"
"""Exporters, and names of their folders."""


@dataclass(frozen=True)
class Graph:
    """Operators of a graph, its path relative to its folder, and its error; NaN if it was not compared."""

    path: str
    nodes: int
    movement_nodes: int
    constant_only: int
    shape_nodes: int
    image_size: Sequence[int]
    error: float = float("nan")


def folder_of(source: str, graphs: Path) -> Path:
    """Return the folder of a network's graphs, which has one folder per exporter."""
    return graphs / re.sub(r"[^A-Za-z0-9_.]+", "-", source)


def shown(source: str) -> str:
    """Return the name of a source in tables."""
    return source.replace("python:benchmarks.zoo_networks:", "transformers: ")


def known_graph(folder: Path) -> Graph | None:
    """Return the description of the graph in a folder, or None if there is none."""
    facts = folder / "graph.json"
    known = json.loads(facts.read_text(encoding="utf-8")) if facts.exists() else ""
    return None if isinstance(known, str) else Graph(**known)


def describe(model: ir.Model, path: str, image_size: Sequence[int]) -> Graph:
    """Describe a graph with this image size."""
    operators = Counter(node.op_type for node in all_nodes(model))
    return _described(path, operators, count_constant_only(model), image_size)


def _described(
    path: str,
    operators: Mapping[str, int],
    constant_only: int,
    image_size: Sequence[int],
    error: float = float("nan"),
) -> Graph:
    moving = sum(count for name, count in operators.items() if name in MOVEMENT)
    return Graph(path, sum(operators.values()), moving, constant_only, operators.get("Shape", 0), image_size, error)


def kept_or_made(folder: Path, make: Callable[[Path], Graph | str]) -> Graph | str:
    """Return the description of the graph in a folder, exporting it first if it is missing, or the reason of a failure.

    Args:
        folder: folder of one graph, created if necessary.
        make: function that writes a graph below the given folder.
    """
    facts = folder / "graph.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted run
        folder.mkdir(parents=True)
        made = make(folder)
        facts.write_text(json.dumps(made if isinstance(made, str) else asdict(made)), encoding="utf-8")
    known = json.loads(facts.read_text(encoding="utf-8"))
    return known if isinstance(known, str) else Graph(**known)


def export_with(checkout: Path, source: str, output: Path) -> Graph | str:
    """Export a source with a checkout's command below `output`; return the graph, or the last line of the error."""
    command = [sys.executable, "export/to_onnx.py", source, "--random-weights", "0", "--input", "float32"]
    if has_no_classes(source):
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
    path = str((Path(result["path"]) / "model.onnx").relative_to(output))
    return _described(path, graph["ops"], graph["constant_only_nodes"], size, error)
