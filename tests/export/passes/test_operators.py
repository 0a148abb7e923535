"""Non-negative axes and positions of operators, for every form in which a node states them."""

import numpy as np
import onnx_ir as ir

from export.passes.operators import axis_of, order_of, places_read, reduced_axes, split_places


def value(*sizes: int) -> ir.Value:
    return ir.Value(name="x", shape=ir.Shape(sizes), type=ir.TensorType(ir.DataType.FLOAT))


def stored(*numbers: int) -> ir.Value:
    array = np.asarray(numbers)
    constant = ir.Value(name="c", shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.INT64))
    constant.const_value = ir.tensor(array, name="c")
    ir.Graph([], [], nodes=[], initializers=[constant])
    return constant


def test_axes_are_counted_from_the_first() -> None:
    assert axis_of(ir.node("Softmax", [value(2, 3)], {"axis": -1}), 2) == 1
    assert axis_of(ir.node("Softmax", [value(2, 3)]), 2, -1) == 1
    assert axis_of(ir.node("Concat", [value(2, 3)], {"axis": 0}), 2) == 0


def test_a_transpose_without_perm_reverses_the_axes() -> None:
    assert order_of(ir.node("Transpose", [value(2, 3, 4)]), 3) == [2, 1, 0]
    assert order_of(ir.node("Transpose", [value(2, 3, 4)], {"perm": [1, 0, 2]}), 3) == [1, 0, 2]


def test_axes_of_a_reduction_come_from_an_attribute_or_an_input_or_are_absent() -> None:
    assert reduced_axes(ir.node("ReduceMax", [value(2, 3, 4)], {"axes": [-1]}), 3) == (2,)
    assert reduced_axes(ir.node("ReduceMean", [value(2, 3, 4), stored(-2, 0)]), 3) == (1, 0)
    assert reduced_axes(ir.node("ReduceMean", [value(2, 3, 4)]), 3) is None
    assert reduced_axes(ir.node("ReduceMean", [value(2, 3, 4), value(1)]), 3) is None


def test_outputs_of_a_split_are_consecutive() -> None:
    split = ir.node("Split", [value(2, 7)], {"axis": -1}, num_outputs=3)
    for output, size in zip(split.outputs, (3, 0, 4), strict=True):
        output.shape = ir.Shape([2, size])
    assert split_places(split) == (1, [range(3), range(3, 3), range(3, 7)])


def test_only_slice_and_gather_read_positions() -> None:
    backwards = ir.node("Slice", [value(2, 5), stored(4), stored(0), stored(-1), stored(-2)])
    gather = ir.node("Gather", [value(2, 5), stored(-1, 0)], {"axis": 1})
    for node, expected in ((backwards, [4, 2]), (gather, [4, 0])):
        read = places_read(node)
        assert read is not None
        assert (read[0], read[1].tolist()) == (1, expected)
    assert places_read(ir.node("Slice", [value(2, 5), value(1), stored(1), stored(0)])) is None
    assert places_read(ir.node("Relu", [value(2, 5)])) is None
