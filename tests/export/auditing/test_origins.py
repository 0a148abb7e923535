"""Constant-only nodes and shape arithmetic, on graphs made by hand and against what really changes with the image."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from export.auditing import audit
from tests.export.auditing.graphs import CLEAN, found, ops, parse
from tests.export.auditing.stock import stock_export


def test_a_clean_graph_yields_nothing() -> None:
    assert audit(parse(CLEAN)).findings == ()


def test_what_is_computed_from_stored_numbers_is_found_through_several_nodes() -> None:
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
        "{ q = QuantizeLinear(w, s) d = DequantizeLinear(q, s) y = Add(x, d) }"  # the quantiser's work is not needed
    )
    assert ops(found(model, "constant-only")) == ["QuantizeLinear"]


def test_shape_and_what_is_computed_from_it_are_found_and_what_uses_it_on_data_is_not() -> None:
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


def test_subgraphs_are_searched_and_what_they_read_outside_counts() -> None:
    model = parse(BRANCHES.replace("CONDITION", "flag"))
    assert ops(found(model, "constant-only")) == ["Exp"]  # not the If: its branches read x
    assert ops(found(model, "shape-arithmetic")) == ["Shape"]


def test_a_branch_that_reads_nothing_but_constants_makes_its_if_constant_only() -> None:
    model = parse(
        "<float[4] w = {1, 2, 3, 4}, bool flag = {1}> "
        "{ c = If (flag) <then_branch = one () => (float[4] p) { p = Exp(w) }, "
        "else_branch = two () => (float[4] q) { q = Neg(w) }> y = Add(x, c) }"
    )
    assert ops(found(model, "constant-only")) == ["If", "Exp", "Neg"]


def test_the_body_of_a_loop_is_searched_and_what_it_is_given_counts() -> None:
    model = parse(
        "<int64 times = {3}, bool go = {1}, float[4] w = {1, 2, 3, 4}> "
        "{ y = Loop (times, go, x) <body = b (int64 i, bool c, float[N,4] s) => (bool d, float[N,4] t) "
        "{ d = Identity(c) e = Exp(w) f = Shape(s) h = Expand(e, f) t = Add(s, h) }> }"
    )
    assert ops(found(model, "constant-only")) == ["Exp"]
    assert ops(found(model, "shape-arithmetic")) == ["Shape", "Expand"]


def test_a_random_branch_is_no_constant() -> None:
    model = parse(
        "<bool flag = {1}> "
        "{ c = If (flag) <then_branch = one () => (float[4] p) { p = RandomNormal <shape = [4]> () }, "
        "else_branch = two () => (float[4] q) { q = RandomUniform <shape = [4]> () }> y = Add(x, c) }"
    )
    assert found(model, "constant-only") == []


@pytest.mark.slow
def test_what_is_called_constant_never_changes_and_what_is_called_a_size_changes_with_the_batch_alone() -> None:
    """The slow answer: run the graph on other images, and on another batch, and look at every value in it."""
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
            assert same == (node.name in named), f"{node.op_type} {name}"  # both ways: none missed, none too many
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
