"""Traced graphs in a folder, so that rewrites can be repeated without tracing."""

import json
import re
from collections import Counter
from pathlib import Path

import onnx_ir as ir
import torch

from artifact import Batch
from benchmarks.zoo_networks import CLASSES, has_no_classes
from export.tracing.graph import TracedGraph, trace_graph
from export.tracing.pixels import ArtifactInput, Normalisation
from models.sources import Overrides, RandomWeights, load_source

MANY = Batch(min=1, max=32)
OPSET = 20


def kept_or_traced(source: str, folder: Path) -> TracedGraph:
    """Return the traced graph of a source with random weights and uint8 input, from `folder` if it has it.

    Evaluated constants are not kept, so the graph's list of constants is empty.
    """
    graph = folder / re.sub(r"[^A-Za-z0-9_.]+", "-", source) / "traced.onnx"
    facts = graph.with_suffix(".json")
    if not facts.exists():
        graph.parent.mkdir(parents=True, exist_ok=True)
        made = _trace(source)
        ir.save(made.model, graph, external_data="traced.data")
        facts.write_text(json.dumps(made.images), encoding="utf-8")
    images = json.loads(facts.read_text(encoding="utf-8"))
    model = ir.external_data.load_to_model(ir.load(graph))
    return TracedGraph(model, images, (), Counter(), Counter())


def _trace(source: str) -> TracedGraph:
    overrides = Overrides(num_classes=CLASSES if has_no_classes(source) else None)
    loaded = load_source(source, RandomWeights(0), overrides)
    pixels = Normalisation(loaded.preprocess.mean, loaded.preprocess.std)
    example = torch.zeros(2, *loaded.image_size, 3, dtype=torch.uint8)
    return trace_graph(ArtifactInput(loaded.network, pixels), example, MANY, OPSET)
