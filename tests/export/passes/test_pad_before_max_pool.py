"""Zeros padded before MaxPool are kept by ONNX Runtime's fusions; other padding stays as it is."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.pad_before_max_pool import PadBeforeMaxPool
from tests.export.passes.graphs import Array, graph_of, ints, operators, run_on

POOLED = {
    "without a value": ("Pad(image, pads)", "kernel_shape=[3,3], strides=[2,2]", [2, 3, 3, 4]),
    "with zeros": ("Pad(image, pads, zero)", "kernel_shape=[3,3], strides=[2,2]", [2, 3, 3, 4]),
    "and padding of MaxPool": ("Pad(image, pads)", "kernel_shape=[3,3], pads=[1,1,1,1]", [2, 3, 8, 9]),
    "in a dilated window": ("Pad(image, pads)", "kernel_shape=[2,2], dilations=[3,3]", [2, 3, 5, 6]),
    "with rounded up sizes": ("Pad(image, pads)", "kernel_shape=[3,3], strides=[3,3], ceil_mode=1", [2, 3, 3, 3]),
}


def pooled(padding: str, attributes: str, sizes: list[int], **constants: Array) -> ir.Model:
    text = f"""(float[2,3,6,7] image) => (float{sizes} logits) {{
        padded = {padding}
        logits = MaxPool<{attributes}>(padded)
    }}"""
    return graph_of(text, **{"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "zero": np.zeros((), np.float32)} | constants)


def negative() -> Array:
    return -np.random.default_rng(0).uniform(1, 2, size=(2, 3, 6, 7)).astype(np.float32)


@pytest.mark.parametrize("case", POOLED)
def test_zeros_around_negative_images_are_pooled(case: str) -> None:
    model = pooled(*POOLED[case])
    expected = run_on(model, negative(), optimise=False)
    assert (expected == 0).any()
    with pytest.raises(AssertionError):  # ONNX Runtime's fusion of the graph before the pass
        np.testing.assert_array_equal(run_on(model, negative()), expected)
    assert PadBeforeMaxPool()(model).modified
    np.testing.assert_array_equal(run_on(model, negative()), expected)
    np.testing.assert_array_equal(run_on(model, negative(), optimise=False), expected)
    assert not PadBeforeMaxPool()(model).modified, "a second run must not change the graph"


@pytest.mark.parametrize(
    ("padding", "pads"),
    [
        ("Pad(image, pads, low)", ints(0, 0, 1, 1, 0, 0, 1, 1)),
        ('Pad<mode="reflect">(image, pads)', ints(0, 0, 1, 1, 0, 0, 1, 1)),
        ("Pad(image, pads)", ints(0, 1, 0, 0, 0, 1, 0, 0)),
        ("Pad(image, pads)", ints(0, 0, -1, 0, 0, 0, 0, 0)),
    ],
)
def test_keep_other_padding(padding: str, pads: Array) -> None:
    sizes = [size + int(pads[axis] + pads[axis + 4]) for axis, size in enumerate((2, 3, 4, 5))]
    model = pooled(padding, "kernel_shape=[3,3]", sizes, pads=pads, low=np.array(-np.inf, np.float32))
    expected = run_on(model, negative(), optimise=False)
    assert not PadBeforeMaxPool()(model).modified
    assert operators(model) == ["Pad", "MaxPool"]
    np.testing.assert_array_equal(run_on(model, negative()), expected)
