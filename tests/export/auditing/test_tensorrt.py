"""Findings from TensorRT's table: opsets, operators, types, restrictions, foreign domains and functions."""

import onnx_ir as ir
import pytest

from export.auditing import audit
from tests.export.auditing.graphs import CLEAN, found, ops, parse, parse_model


@pytest.mark.parametrize(
    ("opset", "tensorrt", "severity"),
    [
        (8, "10.15", "error"),
        (9, "10.15", None),
        (24, "10.15", None),
        (25, "10.15", "error"),
        (20, "10.0", None),
        (21, "10.0", "error"),
        (20, "10.9", None),
        (23, "10.9", "warning"),  # between two versions that the table lists
        (25, "10.9", "error"),
    ],
)
def test_opsets_are_compared_with_the_version(opset: int, tensorrt: str, severity: str | None) -> None:
    findings = found(parse(CLEAN, opset=opset), "opset", tensorrt)
    assert [finding.severity for finding in findings] == ([] if severity is None else [severity])
    assert all(str(opset) in finding.found for finding in findings)


def test_an_operator_that_the_table_excludes_or_does_not_list_is_an_error() -> None:
    model = parse("{ a = BitwiseNot(i) b = Swish(x) y = Identity(x) }", "float[N,4] x, int32[N,4] i", opset=24)
    findings = found(model, "operator")
    assert [(finding.op, finding.severity) for finding in findings] == [("BitwiseNot", "error"), ("Swish", "error")]
    assert "does not support" in findings[0].found
    assert "does not list" in findings[1].found


ATTENTION = "{ y = Attention(q, k, v, m) }"
FOUR = "float[N,2,4,8] q, float[N,2,4,8] k, float[N,2,4,8] v, float[1,2,4,4] m"


@pytest.mark.parametrize(("tensorrt", "errors"), [("10.13", 1), ("10.14", 0), ("10.15", 0)])
def test_attention_needs_the_version_that_introduced_it(tensorrt: str, errors: int) -> None:
    model = parse(ATTENTION, FOUR, "float[N,2,4,8] y", opset=23)
    findings = found(model, "operator", tensorrt)
    assert len(findings) == errors
    assert all("since 10.14" in finding.found for finding in findings)
    assert found(model, "restriction") == found(model, "type") == []


def test_an_unlisted_version_is_refused() -> None:
    for version in ("9.3", "10.16", "11.0"):
        with pytest.raises(ValueError, match=r"covers TensorRT 10\.0 to 10\.15"):
            audit(parse(CLEAN), tensorrt=version)
    for text in ("10", "abc", "-10.1", "10.x"):
        with pytest.raises(ValueError, match=rf"'{text}' is not a version of TensorRT; expected MAJOR\.MINOR"):
            audit(parse(CLEAN), tensorrt=text)


def test_a_type_outside_an_operators_row_is_an_error() -> None:
    model = parse("{ a = MatMul(i, j) y = Cast <to = 1> (a) }", "int32[N,4] i, int32[4,4] j")
    (finding,) = found(model, "type")
    assert (finding.op, finding.severity) == ("MatMul", "error")
    assert "INT32" in finding.found
    assert "FP32, FP16, BF16" in finding.found


def test_indices_conditions_and_results_do_not_count_as_the_type_of_the_data() -> None:
    model = parse(
        "<int64[2] index = {0, 1}, float zero = {0}> "
        "{ g = Gather <axis = 1> (x, index) c = Greater(g, zero) y = Where(c, g, zero) }"
    )
    assert found(model, "type") == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("c = Cast <to = 1> (u) y = Relu(c)", []),
        ("c = Cast <to = 10> (u) d = Cast <to = 1> (c) y = Relu(d)", []),
        ("t = Transpose <perm = [1, 0]> (u) c = Cast <to = 1> (t) y = Relu(c)", [("Transpose", "error")]),
        ("c = Cast <to = 7> (u) d = Cast <to = 1> (c) y = Relu(d)", [("Cast", "warning")]),
        ("c = Cast <to = 1> (u) d = Cast <to = 2> (c) e = Cast <to = 1> (d) y = Relu(e)", [("Cast", "error")]),
    ],
)
def test_pixels_enter_as_uint8_through_a_cast_to_float_only(body: str, expected: list[tuple[str, str]]) -> None:
    model = parse(f"{{ {body} }}", "uint8[N,4] u")
    assert [(finding.op, finding.severity) for finding in found(model, "type")] == expected


def test_a_uint8_output_is_accepted_after_a_cast_from_float() -> None:
    assert found(parse("{ y = Cast <to = 2> (x) }", outputs="uint8[N,4] y"), "type") == []


def test_float64_is_one_finding_and_not_two() -> None:
    model = parse("{ d = Cast <to = 11> (x) e = Exp(d) y = Cast <to = 1> (e) }")
    assert ops(found(model, "float64")) == ["Cast", "Exp"]
    assert found(model, "type") == []


def test_quantised_types_are_accepted_at_quantisers_only() -> None:
    body = "<float s = {0.5}, int8 z = {0}> { q = QuantizeLinear(x, s, z) MIDDLE y = DequantizeLinear(p, s, z) }"
    assert found(parse(body.replace("MIDDLE", "p = Identity(q)")), "restriction") == []
    (finding,) = found(parse(body.replace("MIDDLE", "p = Identity(q)")), "type")
    assert (finding.op, finding.severity) == ("Identity", "error")
    assert "between QuantizeLinear and DequantizeLinear" in finding.remedy


@pytest.mark.parametrize(
    ("stored", "errors"),
    [("int8 z = {0}", []), ("int8 z = {3}", ["not zero", "not zero"]), ("uint8 z = {0}", ["UINT8"])],
)
def test_quantisation_is_symmetric_and_signed(stored: str, errors: list[str]) -> None:
    model = parse(f"<float s = {{0.5}}, {stored}> {{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }}")
    findings = found(model, "restriction")
    assert len(findings) == len(errors)
    assert all(words in finding.found for words, finding in zip(errors, findings, strict=True))


IMAGE = "float[N,3,8,8] x"
SIZES = "<float[4] s = {1, 1, 2, 2}> { y = Resize <MODES> (x, , s) }"


@pytest.mark.parametrize(
    ("modes", "words"),
    [
        ('mode = "linear"', None),
        ('mode = "nearest", nearest_mode = "floor", coordinate_transformation_mode = "asymmetric"', None),
        ('mode = "cubic"', "mode is cubic, supported: nearest, linear"),
        ('mode = "linear", antialias = 1', "antialias is 1, supported: 0"),
        ('mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"', "tf_crop_and_resize"),
    ],
)
def test_resize_modes_are_compared_with_the_table(modes: str, words: str | None) -> None:
    findings = found(parse(SIZES.replace("MODES", modes), IMAGE, "float[N,3,16,16] y"), "restriction")
    errors = [finding.found for finding in findings if finding.severity == "error"]
    assert len(errors) == (words is not None)
    assert all(words in error for error in errors if words)


RESTRICTED = {
    "3-D attention": (
        "{ y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v) }",
        "float[N,4,16] q, float[N,4,16] k, float[N,4,16] v",
        3,
    ),
    "attention with a soft cap": ("{ y = Attention <softcap = 20.0> (q, k, v, m) }", FOUR, 1),
    "attention's scores": ("{ y, , , s = Attention(q, k, v, m) z = Relu(s) }", FOUR, 1),
    "the mean of a layer norm": (
        "<float[4] w = {1, 2, 3, 4}> { y, m = LayerNormalization(x, w) z = Exp(m) }",
        "float[N,4] x",
        1,
    ),
    "1-D pooling": ("{ y = AveragePool <kernel_shape = [2]> (x) }", "float[N,3,8] x", 1),
    "axes as a graph input": ("{ y = ReduceMean(x, a) }", "float[N,4] x, int64[1] a", 1),
    "dilated pooling": ("{ y = MaxPool <kernel_shape = [2, 2], dilations = [1, 2]> (x) }", IMAGE, 1),
    "training": ("<float r = {0.5}, bool t = {1}> { y = Dropout(x, r, t) }", "float[N,4] x", 1),
}


@pytest.mark.parametrize("case", RESTRICTED)
def test_restrictions_are_found(case: str) -> None:
    body, inputs, errors = RESTRICTED[case]
    findings = found(parse(body, inputs, opset=23), "restriction")
    assert [finding.severity for finding in findings] == ["error"] * errors


def test_restrictions_do_not_apply_to_unused_outputs() -> None:
    model = parse("<float[4] w = {1, 2, 3, 4}> { y, m, d = LayerNormalization(x, w) }")
    assert found(model, "restriction") == []


def test_a_restriction_that_the_graph_cannot_show_is_information() -> None:
    model = parse("<int64[1] k = {2}> { y, i = TopK(x, k) }", outputs="float[N,2] y")
    (finding,) = found(model, "restriction")
    assert finding.severity == "info"
    assert "3840" in finding.found
    assert audit(model).clean


def test_an_unknown_rank_is_reported_as_information() -> None:
    model = parse("{ y = AveragePool <kernel_shape = [2, 2]> (x) }", "float[] x")
    (finding,) = found(model, "restriction")
    assert (finding.severity, "rank is unknown" in finding.found) == ("info", True)


CONTRIB = (
    '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]> g (float[N,4] x) => (float[N,4] y) '
    "{ a = com.microsoft.FastGelu(x) y = Relu(a) }"
)
FUNCTION = (
    '<ir_version: 10, opset_import: ["" : 20, "own" : 1]> g (float[N,4] x) => (float[N,4] y) '
    "{ a = own.Twice(x) y = own.Twice(a) } "
    '<domain: "own", opset_import: ["" : 20]> Twice (v) => (r) { b = Bernoulli(v) r = Add(b, v) }'
)


def test_contributed_operators_are_errors_and_nodes_after_them_have_unknown_types() -> None:
    report = audit(parse_model(CONTRIB))
    (finding,) = report.of("domain")
    assert (finding.op, finding.severity) == ("FastGelu", "error")
    assert "com.microsoft" in finding.found
    (unknown,) = report.of("type")  # ONNX cannot infer the output of FastGelu
    assert (unknown.severity, unknown.found.startswith("1 nodes")) == ("info", True)


def test_a_function_is_one_warning_and_its_body_is_searched() -> None:
    report = audit(parse_model(FUNCTION))
    (finding,) = report.of("domain")
    assert (finding.name, finding.severity) == ("Twice", "warning")
    assert "called 2 times" in finding.found
    assert ops(list(report.of("operator"))) == ["Bernoulli"]


def test_the_standard_domain_has_two_spellings() -> None:
    model = parse(CLEAN)
    for node in model.graph:
        node.domain = "ai.onnx"
    assert audit(model).findings == ()


def test_the_callers_model_does_not_change() -> None:
    model = parse("{ a = Relu(x) y = Exp(a) }")
    before = ir.to_proto(model).SerializeToString()
    audit(model)
    assert ir.to_proto(model).SerializeToString() == before
