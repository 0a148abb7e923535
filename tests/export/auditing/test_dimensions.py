"""Dynamic dimensions: only the batch may be dynamic."""

import pytest

from tests.export.auditing.graphs import CLEAN, found, parse


def dimensions_of(inputs: str, outputs: str) -> list[tuple[str, str | None, str]]:
    """Return severity, name and text of each finding for a graph with this input and output."""
    model = parse("{ y = Identity(x) }", inputs, outputs)
    return [(finding.severity, finding.name, finding.found) for finding in found(model, "dimensions")]


def test_a_dynamic_batch_is_no_finding() -> None:
    assert dimensions_of("float[N,3,8,8] x", "float[N,3,8,8] y") == []
    assert dimensions_of("float[?,3] x", "float[?,3] y") == []  # a dynamic dimension needs no name


def test_every_other_dynamic_dimension_is_a_warning() -> None:
    assert dimensions_of("float[N,3,H,W] x", "float[N,3,H,?] y") == [
        ("warning", "x", "input [N, 3, H, W]: axis 2 is dynamic"),
        ("warning", "x", "input [N, 3, H, W]: axis 3 is dynamic"),
        ("warning", "y", "output [N, 3, H, ?]: axis 2 is dynamic"),
        ("warning", "y", "output [N, 3, H, ?]: axis 3 is dynamic"),
    ]


def test_a_fixed_batch_is_information() -> None:
    assert dimensions_of("float[1,3] x", "float[1,3] y") == [
        ("info", "x", "input [1, 3]: the batch is fixed"),
        ("info", "y", "output [1, 3]: the batch is fixed"),
    ]


def test_an_output_that_fixes_a_dynamic_batch_is_a_warning() -> None:
    assert dimensions_of("float[N,3] x", "float[2,3] y") == [
        ("warning", "y", "output [2, 3]: the batch is fixed, that of the input is dynamic")
    ]


@pytest.mark.parametrize("kind", ["float x", "float[] x"])
def test_scalars_and_unknown_shapes_are_distinguished(kind: str) -> None:
    findings = dimensions_of(kind, kind.replace("x", "y"))
    # In ONNX's text form `float x` is a scalar and `float[] x` has no shape.
    assert bool(findings) == (kind == "float[] x")
    assert all(severity == "warning" and "without a shape" in text for severity, _, text in findings)


def test_weights_that_old_models_list_as_inputs_are_not_inputs() -> None:
    assert found(parse(CLEAN, "float[N,4] x, float[4] w"), "dimensions") == []
