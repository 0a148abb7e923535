"""Tensors stored twice, in float64, or without readers; also in subgraphs."""

import numpy as np
import onnx_ir as ir
import pytest

from export.auditing.checks import SMALLEST
from tests.export.auditing.graphs import CLEAN, found, parse
from tests.export.auditing.test_origins import BRANCHES

FLOATS = SMALLEST // 4


def store(**tensors: np.ndarray) -> ir.Model:
    """Return a clean graph that also stores and reads some tensors."""
    model = parse(CLEAN)
    for name, array in tensors.items():
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        model.graph.register_initializer(value)
        model.graph.append(ir.node("Identity", [value]))
    return model


def test_equal_tensors_are_one_finding_with_the_bytes_they_waste() -> None:
    table = np.arange(FLOATS, dtype=np.float32)
    (finding,) = found(store(one=table, two=table.copy(), three=table.copy(), other=table + 1), "duplicate")
    assert (finding.severity, finding.name) == ("warning", "one")
    assert f"stored 3 times, {2 * SMALLEST} bytes wasted" in finding.found
    assert finding.found.endswith("also two, three")


@pytest.mark.parametrize(
    "other",
    [
        np.zeros((2, FLOATS // 2), np.float32),  # another shape
        np.zeros(FLOATS, np.int32),  # another type
        np.full(FLOATS, -0.0, np.float32),  # equal as numbers, not as bytes
    ],
)
def test_similar_tensors_are_not_duplicates(other: np.ndarray) -> None:
    assert found(store(one=np.zeros(FLOATS, np.float32), two=other), "duplicate") == []


def test_small_tensors_are_not_listed() -> None:
    small = np.zeros(FLOATS - 1, np.float32)
    assert found(store(one=small, two=small.copy()), "duplicate") == []


def test_an_unused_tensor_is_found_and_one_that_a_branch_reads_is_not() -> None:
    model = parse(BRANCHES.replace("CONDITION", "flag"))
    assert found(model, "unused") == []
    model.graph.register_initializer(ir.Value(name="old", const_value=ir.tensor(np.zeros(6, np.float32), name="old")))
    (finding,) = found(model, "unused")
    assert (finding.name, finding.severity) == ("old", "warning")
    assert "24 bytes" in finding.found


def test_tensors_of_branches_count_too() -> None:
    model = parse(BRANCHES.replace("CONDITION", "flag"))
    table = np.arange(FLOATS, dtype=np.float32)
    for index, graph in enumerate(model.graphs()):
        name = f"table{index}"
        graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(table, name=name)))
    (finding,) = found(model, "duplicate")
    assert "stored 3 times" in finding.found
    assert len(found(model, "unused")) == 3


def test_float64_is_found_in_inputs_stored_tensors_and_nodes() -> None:
    model = parse("<double[4] w = {1, 2, 3, 4}> { a = Add(x, w) y = Cast <to = 1> (a) }", "double[N,4] x")
    findings = found(model, "float64")
    assert [(finding.name, finding.op) for finding in findings] == [("x", None), ("w", None), ("a", "Add")]
    assert found(parse(CLEAN), "float64") == []
