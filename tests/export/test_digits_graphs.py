"""The shipped variants, exported: what their graphs hold, and what their manifests say of it."""

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
"""Variants whose encoding can tell every offset from every other, and must show it."""


@pytest.fixture(params=VARIANTS)
def exported(request: pytest.FixtureRequest, digits_repository: Path) -> Artifact:
    return read_artifact(digits_repository / "digits" / request.param / "1")


def test_no_position_work_is_left_that_does_not_need_the_image(exported: Artifact) -> None:
    graph = onnx.load(exported.graph).graph
    constants = {tensor.name for tensor in graph.initializer}
    assert INDEX_ARITHMETIC.isdisjoint(node.op_type for node in graph.node)
    assert not any(node.op_type.startswith("Gather") and node.input[0] in constants for node in graph.node)
    assert not any(constants.issuperset(filter(None, node.input)) for node in graph.node)
    assert {node.domain for node in graph.node} == {""}


def test_the_manifest_says_the_same_of_the_graph(exported: Artifact) -> None:
    nodes = onnx.load(exported.graph).graph.node
    facts = exported.manifest.graph
    assert facts.nodes == len(nodes)
    assert facts.ops == {op: sum(node.op_type == op for node in nodes) for op in {node.op_type for node in nodes}}
    assert (facts.constant_only_nodes, facts.table_gathers) == (0, 0)


def test_parity_and_accuracy_are_stated(exported: Artifact) -> None:
    parity, accuracy = exported.manifest.parity, exported.manifest.accuracy
    assert parity.batches == (1, 2, 3, 7)
    assert parity.max_rel_error <= parity.tolerance == 1e-5
    assert parity.top1_agreement == 1
    assert accuracy is not None
    assert accuracy.count == 360
    assert accuracy.top1 >= (0.96 if exported.manifest.variant in PRECISE else 0.5)


def test_what_was_baked_is_in_the_graph_under_its_own_shape(exported: Artifact) -> None:
    shapes = {tuple(tensor.dims) for tensor in onnx.load(exported.graph).graph.initializer}
    assert all(line.shape in shapes for line in exported.manifest.baked)
    assert bool(exported.manifest.baked) == (exported.manifest.encoding != "none")


def test_the_encoding_is_the_variants(exported: Artifact) -> None:
    assert exported.manifest.encoding == exported.manifest.variant
