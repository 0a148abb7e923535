"""Graphs of which only some rows are read, and helpers that run `PropagateSlices` and check its result."""

import numpy as np
import onnx_ir as ir

from export.passes.propagate_slices import PropagateSlices
from export.passes.values import name_after_sources, sizes_of
from tests.export.passes.graphs import Array, graph_of, ints, operators, run

RANDOM = np.random.default_rng(1)
ROWS = 6  # differs from every other size in these graphs


def numbers(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


PLACES = {"zero": ints(0), "one": ints(1), "two": ints(2), "three": ints(3), "last": ints(-1)}
FIRST_ROW = "s = Slice(a, zero, one, one)"


def model_of(nodes: str, sizes: str, constants: dict[str, Array], read: str = FIRST_ROW, batch: int = 2) -> ir.Model:
    """Return a graph of an image [B, 6, 8]: `nodes` compute `a` from x = Abs(image); `read` computes `s` from `a`."""
    nodes = f"x = Abs(image) \n {nodes} \n {read} \n logits = Neg(s)"
    text = f"(float[B,{ROWS},8] image) => (float{sizes} logits) {{ {nodes} }}"
    return graph_of(text.replace("B,", f"{batch},"), **PLACES, **constants)


def narrowed(model: ir.Model, batch: int | None = None) -> bool:
    """Run the pass, check that the graph computes the same as before, and return whether the pass reports a change."""
    before, nodes = run(model), operators(model)
    modified = PropagateSlices(batch)(model).modified
    assert modified or operators(model) == nodes
    for found, expected in zip(run(model), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)  # products of fewer rows round differently
    assert not PropagateSlices(batch)(model).modified, "a second run must not change the graph"
    name_after_sources(model)
    return modified


def output_sizes(model: ir.Model) -> list[tuple[int, ...]]:
    """Return the sizes of all node outputs; check that the graph records what ONNX Runtime computes."""
    results = [output for node in model.graph for output in node.outputs]
    recorded = [sizes_of(value) or () for value in results]
    copy = model.clone()
    copy.graph.outputs[:] = [output for node in copy.graph for output in node.outputs]
    assert [found.shape for found in run(copy)] == recorded
    return recorded
