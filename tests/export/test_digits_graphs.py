"""Exported graphs and manifests of the digits variants."""

from pathlib import Path

import onnx
import pytest

from artifact import Artifact, read_artifact
from tests.conftest import VARIANTS

pytestmark = pytest.mark.slow

INDEX_ARITHMETIC = {
    "Range",
    "Shape",
    "ScatterND",
    "ScatterElements",
    "NonZero",
    "Where",
    "Expand",
    "GatherND",
    "OneHot",
}


PRECISE = {"sincos", "learned", "swin-table", "irpe-product-contextual-k"}
"""Variants whose encoding distinguishes all offsets, and of which a high accuracy is required."""


@pytest.fixture(params=VARIANTS)
def exported(request: pytest.FixtureRequest, digits_repository: Path) -> Artifact:
    return read_artifact(digits_repository / "digits" / request.param / "1")


def test_no_position_arithmetic_independent_of_the_image_remains(exported: Artifact) -> None:
    graph = onnx.load(exported.graph).graph
    constants = {tensor.name for tensor in graph.initializer}
    assert INDEX_ARITHMETIC.isdisjoint(node.op_type for node in graph.node)
    assert not any(node.op_type.startswith("Gather") and node.input[0] in constants for node in graph.node)
    assert not any(constants.issuperset(filter(None, node.input)) for node in graph.node)
    assert {node.domain for node in graph.node} == {""}


def test_the_manifest_describes_the_graph(exported: Artifact) -> None:
    nodes = onnx.load(exported.graph).graph.node
    facts = exported.manifest.graph
    assert facts.nodes == len(nodes)
    assert facts.ops == {op: sum(node.op_type == op for node in nodes) for op in {node.op_type for node in nodes}}
    assert (facts.constant_only_nodes, facts.table_gathers) == (0, 0)


def test_parity_and_accuracy_are_recorded(exported: Artifact) -> None:
    parity, accuracy = exported.manifest.parity, exported.manifest.accuracy
    assert parity.batches == (1, 2, 3, 7)
    assert parity.max_rel_error <= parity.tolerance == 1e-5
    assert parity.top1_agreement == 1
    assert accuracy is not None
    assert accuracy.count == 360
    assert accuracy.top1 >= (0.96 if exported.manifest.variant in PRECISE else 0.5)


def test_baked_constants_are_in_the_graph_with_their_reported_shapes(exported: Artifact) -> None:
    shapes = {tuple(tensor.dims) for tensor in onnx.load(exported.graph).graph.initializer}
    assert all(line.shape in shapes for line in exported.manifest.baked)
    assert bool(exported.manifest.baked) == (exported.manifest.encoding != "none")


def test_the_encoding_is_that_of_the_variant(exported: Artifact) -> None:
    assert exported.manifest.encoding == exported.manifest.variant
