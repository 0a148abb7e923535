"""Emulation of half precision: rounding after every node, unlike ONNX Runtime's CPU provider."""

import numpy as np
import onnx_ir as ir
import pytest

from export.precision.emulate import emulate
from export.precision.half import HALVES, ToHalf
from tests.export.precision.hand_made import graph, node, run


def two_products() -> ir.Model:
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in ("first", "second")}
    nodes = [node("MatMul", ["image", "first"], ["between"]), node("MatMul", ["between", "second"], ["logits"])]
    return graph(nodes, (8,), (8,), **weights)


@pytest.mark.parametrize("half", HALVES.values(), ids=list(HALVES))
def test_every_product_is_float32_and_then_rounded(half: ir.DataType) -> None:
    model = two_products()
    first, second = (model.graph.initializers[name].const_value for name in ("first", "second"))
    assert first is not None
    assert second is not None
    image = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)

    def rounded(numbers: np.ndarray) -> np.ndarray:
        return numbers.astype(half.numpy()).astype(np.float32)

    expected = rounded(rounded(rounded(image) @ rounded(first.numpy())) @ rounded(second.numpy()))
    ToHalf(half)(model)
    found = run(emulate(model), image)
    np.testing.assert_allclose(found, expected, rtol=2.0 ** (-10 if half == HALVES["fp16"] else -7))
    assert np.array_equal(found, rounded(found))
    exact = (image @ first.numpy()) @ second.numpy()
    assert np.abs(found - expected).max() < np.abs(found - exact).max() / 10  # the comparison above is able to fail


def test_an_overflow_between_nodes_appears_in_the_emulation_but_not_in_a_native_run() -> None:
    model = graph(
        [node("Mul", ["image", "large"], ["between"]), node("Mul", ["between", "small"], ["logits"])],
        (1,),
        (1,),
        large=np.array(300, np.float32),
        small=np.array(1 / 300, np.float32),
    )
    ToHalf(ir.DataType.FLOAT16)(model)
    image = np.array([[300]], np.float32)
    assert np.isinf(run(emulate(model), image)).all()
    assert np.isfinite(run(model, image)).all()  # ONNX Runtime drops the Casts that it put around float32 kernels


def test_the_emulated_graph_itself_is_not_changed() -> None:
    model = two_products()
    ToHalf(ir.DataType.BFLOAT16)(model)
    before = ir.to_proto(model).SerializeToString()
    emulate(model)
    assert ir.to_proto(model).SerializeToString() == before
