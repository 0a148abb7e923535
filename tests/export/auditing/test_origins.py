"""Constant-only nodes and shape arithmetic, on hand-written graphs and compared with the values of actual runs."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from export.auditing import audit
from tests.export.auditing.graphs import CLEAN, found, ops, parse
from tests.export.auditing.stock import stock_export


def test_a_clean_graph_has_no_findings() -> None:
    assert audit(parse(CLEAN)).findings == ()


def test_nodes_computed_from_initialisers_are_found_through_several_nodes() -> None:
    model = parse(
        "<float[4] w = {1, 2, 3, 4}> { c = Constant <value_float = 2.0> () a = Mul(w, c) b = Exp(a) y = Add(x, b) }"
    )
    findings = found(model, "constant-only")
    assert ops(findings) == ["Mul", "Exp"]
    assert {finding.severity for finding in findings} == {"warning"}


def test_literals_random_numbers_and_quantised_weights_are_not_constant_only() -> None:
    model = parse(
        "<int8[4] w = {1, 2, 3, 4}, float s = {0.5}> "
        "{ c = Constant <value_float = 2.0> () r = RandomNormal <shape = [4]> () d = DequantizeLinear(w, s) "
        "a = Mul(x, c) b = Add(a, d) y = Add(b, r) }"
    )
    assert found(model, "constant-only") == []


def test_a_quantiser_of_stored_floats_is_constant_only() -> None:
    model = parse(
        "<float[4] w = {1, 2, 3, 4}, float s = {0.5}> "
        "{ q = QuantizeLinear(w, s) d = DequantizeLinear(q, s) y = Add(x, d) }"  # the weight could be stored quantised
    )
    assert ops(found(model, "constant-only")) == ["QuantizeLinear"]


def test_shape_arithmetic_is_found_and_its_use_on_data_is_not() -> None:
    model = parse(
        "<int64[1] four = {4}, int64 zero = {0}, int64[1] axes = {0}, float[1,4] cls = {1, 2, 3, 4}> "
        "{ s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, axes) t = Concat <axis = 0> (u, four) "
        "e = Expand(cls, t) r = Reshape(x, t) y = Add(r, e) }"
    )
    assert ops(found(model, "shape-arithmetic")) == ["Shape", "Gather", "Unsqueeze", "Concat", "Expand"]
    assert found(model, "constant-only") == []


@pytest.mark.parametrize(
    ("node", "op"),
    [
        ("r = NonZero(x)", "NonZero"),
        ("i = Cast <to = 7> (x) f = ReduceMax <keepdims = 0> (i) r = Range(zero, f, one)", "Range"),
        ("i = Cast <to = 7> (x) f = Reshape(i, flat) r = ConstantOfShape(f)", "ConstantOfShape"),
    ],
)
def test_a_size_that_depends_on_values_is_found(node: str, op: str) -> None:
    model = parse(f"<int64 zero = {{0}}, int64 one = {{1}}, int64[1] flat = {{-1}}> {{ {node} y = Identity(x) }}")
    assert ops(found(model, "shape-arithmetic")) == [op]


BRANCHES = (
    "<float[4] w = {1, 2, 3, 4}, bool flag = {1}> "
    "{ y = If (CONDITION) <then_branch = one () => (float[N,4] p) { a = Exp(w) p = Add(x, a) }, "
    "else_branch = two () => (float[N,4] q) { s = Shape(x) q = Reshape(x, s) }> }"
)


def test_subgraphs_are_searched_together_with_values_of_the_outer_graph() -> None:
    model = parse(BRANCHES.replace("CONDITION", "flag"))
    assert ops(found(model, "constant-only")) == ["Exp"]  # not the If: its branches read x
    assert ops(found(model, "shape-arithmetic")) == ["Shape"]


def test_an_if_whose_branches_read_only_constants_is_constant_only() -> None:
    model = parse(
        "<float[4] w = {1, 2, 3, 4}, bool flag = {1}> "
        "{ c = If (flag) <then_branch = one () => (float[4] p) { p = Exp(w) }, "
        "else_branch = two () => (float[4] q) { q = Neg(w) }> y = Add(x, c) }"
    )
    assert ops(found(model, "constant-only")) == ["If", "Exp", "Neg"]


def test_the_body_of_a_loop_is_searched_together_with_its_inputs() -> None:
    model = parse(
        "<int64 times = {3}, bool go = {1}, float[4] w = {1, 2, 3, 4}> "
        "{ y = Loop (times, go, x) <body = b (int64 i, bool c, float[N,4] s) => (bool d, float[N,4] t) "
        "{ d = Identity(c) e = Exp(w) f = Shape(s) h = Expand(e, f) t = Add(s, h) }> }"
    )
    assert ops(found(model, "constant-only")) == ["Exp"]
    assert ops(found(model, "shape-arithmetic")) == ["Shape", "Expand"]


def test_a_random_branch_is_not_constant_only() -> None:
    model = parse(
        "<bool flag = {1}> "
        "{ c = If (flag) <then_branch = one () => (float[4] p) { p = RandomNormal <shape = [4]> () }, "
        "else_branch = two () => (float[4] q) { q = RandomUniform <shape = [4]> () }> y = Add(x, c) }"
    )
    assert found(model, "constant-only") == []


@pytest.mark.slow
def test_reported_constants_never_change_and_reported_sizes_change_only_with_the_batch() -> None:
    """Run the graph on other images and on another batch, and compare every value with the report."""
    model = stock_export()
    report = audit(model)
    named = {finding.name for finding in (*report.of("constant-only"), *report.of("shape-arithmetic"))}
    sizes = {finding.name for finding in report.of("shape-arithmetic")}
    assert sizes
    assert ops(list(report.of("constant-only"))) == ["Split", "Slice"]
    one, other, longer = (every_value(model, batch, seed) for batch, seed in ((2, 0), (2, 1), (3, 0)))
    follows_batch = set()
    for node in model.graph:
        for output in node.outputs:
            name = str(output.name)
            if node.op_type == "Constant" or name not in one:
                continue
            same = np.array_equal(one[name], other[name])
            assert same == (node.name in named), f"{node.op_type} {name}"  # neither false negatives nor false positives
            if same and not np.array_equal(one[name], longer[name]):
                follows_batch.add(node.name)
    assert follows_batch
    assert follows_batch <= sizes


def every_value(model: ir.Model, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Return every float and integer that a graph computes."""
    proto = onnx.ModelProto()
    proto.CopyFrom(ir.to_proto(model))
    names = [output for node in proto.graph.node for output in node.output if output]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    images = torch.rand(batch, 3, 16, 24, generator=torch.Generator().manual_seed(seed))
    return dict(zip(names, ReferenceEvaluator(proto).run(None, {"image": images.numpy()}), strict=True))
