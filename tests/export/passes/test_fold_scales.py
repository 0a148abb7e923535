"""Constant factors are folded into weights, compared with the original; or declined with a reason."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.fold_scales import FoldScales
from tests.export.passes.graphs import folded, graph_of, ints, operators, shapes
from tests.export.passes.scaled_graphs import drawn, filled, model_of

SEEDS = (0, 1, 2)


PRODUCT = "p = MatMul(image, w) \n y = Add(p, b)"
PACKED = "p = MatMul(image, qkv) \n y = Add(p, qkv_b) \n r = Reshape(y, packed) \n m = Transpose<perm=[2,0,3,1,4]>(r)"
GATHERED = "q = Gather<axis=0>(m, i0) \n k = Gather<axis=0>(m, i1) \n v = Gather<axis=0>(m, i2)"
SLICED = """q1 = Slice(m, zero, one, zero) \n k1 = Slice(m, one, two, zero) \n v1 = Slice(m, two, three, zero)
    q = Squeeze(q1, zero) \n k = Squeeze(k1, zero) \n v = Squeeze(v1, zero)"""
ATTEND = "a = Softmax(scores) \n logits = MatMul(a, v)"
KEYS = "kt = Transpose<perm=[0,1,3,2]>(k)"
COSINE = f"""{PACKED} \n {GATHERED} \n ql = ReduceL2<keepdims=1>(q, three) \n qn = Div(q, ql)
    kl = ReduceL2<keepdims=1>(k, three) \n kn = Div(k, kl) \n kt = Transpose<perm=[0,1,3,2]>(kn)"""
OF_HEADS = "[B,H,N,d]"

FOLDED: dict[str, tuple[str, str]] = {
    "layer scale after a bias": (f"{PRODUCT} \n logits1 = Mul(y, of_outputs) \n logits = Relu(logits1)", "[B,N,D]"),
    "a divisor after a bias": (f"{PRODUCT} \n x = Div(y, of_outputs) \n logits = Relu(x)", "[B,N,D]"),
    "a factor as the first operand, after a product without a bias": (
        "p = MatMul(image, w) \n x = Mul(of_outputs, p) \n logits = Relu(x)",
        "[B,N,D]",
    ),
    "a factor after a Gemm": (
        "t = Gather<axis=1>(image, i0) \n g = Gemm<transB=1>(t, wt, b) \n x = Mul(g, of_outputs) \n logits = Relu(x)",
        "[B,D]",
    ),
    "a factor after a convolution": (
        "t = Transpose<perm=[0,2,1]>(image) \n r = Reshape(t, map) \n y = Conv<pads=[1,1,1,1]>(r, wide, b)"
        " \n x = Mul(y, of_maps) \n logits = Relu(x)",
        "[B,D,N,1]",
    ),
    "a factor after a norm": (
        "n = LayerNormalization(image, gamma, c) \n x = Mul(n, gamma) \n logits = Relu(x)",
        "[B,N,C]",
    ),
    "two factors": ("r = Relu(image) \n x = Mul(r, gamma) \n y = Mul(x, half) \n logits = Relu(y)", "[B,N,C]"),
    "a divisor and a factor": (
        "r = Relu(image) \n x = Div(r, gamma) \n y = Mul(x, half) \n logits = Relu(y)",
        "[B,N,C]",
    ),
    "a factor between two sums": (
        "p = MatMul(image, w) \n y = Add(p, b) \n z = Sub(of_outputs, y) \n x = Mul(z, half) \n logits = Relu(x)",
        "[B,N,D]",
    ),
    "a factor before a product": ("r = Relu(image) \n x = Mul(r, gamma) \n logits = MatMul(x, w)", "[B,N,D]"),
    "a factor before a product and its bias": (
        "r = Relu(image) \n x = Div(r, half) \n y = MatMul(x, w) \n logits = Add(y, b)",
        "[B,N,D]",
    ),
    "a factor before a convolution that pads": (
        "t = Transpose<perm=[0,2,1]>(image) \n r = Reshape(t, map) \n x = Mul(r, of_channels)"
        " \n logits = Conv<pads=[1,1,1,1]>(x, wide, b)",
        "[B,D,N,1]",
    ),
    "queries of a packed product": (
        f"{PACKED} \n {GATHERED} \n s = Mul(q, half) \n {KEYS} \n scores = MatMul(s, kt) \n {ATTEND}",
        OF_HEADS,
    ),
    "sliced queries": (
        f"{PACKED} \n {SLICED} \n s = Mul(q, half) \n {KEYS} \n scores = MatMul(s, kt) \n {ATTEND}",
        OF_HEADS,
    ),
    "queries and keys, as in torch's attention": (
        f"{PACKED} \n {GATHERED} \n s = Mul(q, half) \n {KEYS} \n ks = Mul(kt, half) \n scores = MatMul(s, ks) \n "
        f"{ATTEND}",
        OF_HEADS,
    ),
    "scores": (
        f"{PACKED} \n {GATHERED} \n {KEYS} \n raw = MatMul(q, kt) \n scores = Div(raw, half) \n {ATTEND}",
        OF_HEADS,
    ),
    "scores of each head": (
        f"{PACKED} \n {GATHERED} \n {KEYS} \n raw = MatMul(q, kt) \n scores = Mul(raw, of_heads) \n {ATTEND}",
        OF_HEADS,
    ),
    "scores whose keys alone have a weight": (
        f"{PACKED} \n {GATHERED} \n e = Relu(q) \n {KEYS} \n raw = MatMul(e, kt) \n scores = Mul(raw, of_heads) \n "
        f"{ATTEND}",
        OF_HEADS,
    ),
    "the columns of a Split": (
        f"""p = MatMul(image, qkv) \n y = Add(p, qkv_b) \n q, k, v = Split<axis=2, num_outputs=3>(y)
        s = Mul(q, gamma) \n kt = Transpose<perm=[0,2,1]>(k) \n scores = MatMul(s, kt) \n {ATTEND}""",
        "[B,N,C]",
    ),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", FOLDED)
def test_a_factor_is_folded(case: str, seed: int) -> None:
    nodes, result = FOLDED[case]
    model = model_of(nodes, result, seed)
    before = operators(model)
    assert folded(FoldScales, model)
    left = 1 if case.startswith(("two factors", "a divisor and")) else 0
    assert sum(operators(model).count(operator) for operator in ("Mul", "Div")) == left
    assert len(operators(model)) < len(before)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_factor_of_cosine_scores_moves_to_the_smaller_queries(seed: int) -> None:
    model = model_of(f"{COSINE} \n raw = MatMul(qn, kt) \n scores = Mul(raw, of_heads) \n {ATTEND}", OF_HEADS, seed)
    assert folded(FoldScales, model)
    sizes, _ = drawn(seed)
    (scaled,) = (node for node in model.graph if node.op_type == "Mul")
    assert scaled.outputs[0].shape == [sizes[size] for size in "BHNd"]


KEPT: dict[str, tuple[str, str, str]] = {
    "it differs from token to token after a norm": (
        "n = LayerNormalization(image, gamma, c) \n x = Mul(n, of_rows) \n logits = Relu(x)",
        "[B,N,C]",
        "other axes than the norm's channels",
    ),
    "a norm of two axes is before it": (
        "n = LayerNormalization<axis=1>(image, plane) \n x = Mul(n, gamma) \n logits = Relu(x)",
        "[B,N,C]",
        "other axes than the norm's channels",
    ),
    "an activation lies between it and the products": (
        f"{PRODUCT} \n r = Relu(y) \n x = Mul(r, of_outputs) \n logits = Relu(x)",
        "[B,N,D]",
        "produced by Relu",
    ),
    "another node reads the value that would be scaled": (
        f"{PRODUCT} \n x = Mul(y, of_outputs) \n logits = Add(x, y)",
        "[B,N,D]",
        "also read by Add",
    ),
    "a residual connection lies between": (
        "p = MatMul(image, square) \n y = Add(p, image) \n x = Mul(y, gamma) \n logits = Relu(x)",
        "[B,N,C]",
        "Add of two tensors",
    ),
    "two products share the weight": (
        "p = MatMul(image, square) \n x = Mul(p, gamma) \n r = Relu(x) \n logits = MatMul(r, square)",
        "[B,N,C]",
        "also reads the weight",
    ),
    "it differs from token to token": (
        "p = MatMul(image, w) \n x = Mul(p, of_rows) \n logits = Relu(x)",
        "[B,N,D]",
        "varies along other axes",
    ),
    "a bias would be needed for each token": (
        f"{PRODUCT} \n x = Mul(y, of_rows) \n logits = Relu(x)",
        "[B,N,D]",
        "the constant would grow",
    ),
    "it is divided by zero": (f"{PRODUCT} \n x = Div(y, none) \n logits = Relu(x)", "[B,N,D]", "divisor contains 0"),
    "the keys are read elsewhere": (
        f"{PACKED} \n {GATHERED} \n {KEYS} \n ks = Mul(kt, half) \n e = Relu(q) \n scores = MatMul(e, ks) \n "
        f"a = Softmax(scores)"
        "\n o = MatMul(a, v) \n logits = Add(o, k)",
        OF_HEADS,
        "also read by Add",
    ),
    "an addition reads the product without its bias": (
        f"{PRODUCT} \n x = Mul(y, half) \n z = Add(p, x) \n logits = Relu(z)",
        "[B,N,D]",
        "also read by Add",
    ),
    "it is a graph output": (f"{PRODUCT} \n logits = Mul(y, half)", "[B,N,D]", "a graph output"),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", KEPT)
def test_keep_a_factor_when(case: str, seed: int) -> None:
    nodes, result, reason = KEPT[case]
    model = model_of(nodes, result, seed)
    fold = FoldScales()
    before = shapes(model)
    assert not fold(model).modified
    assert shapes(model) == before
    assert any(reason in declined.reason for declined in fold.declined), fold.declined


def test_keep_a_factor_that_gives_the_result_its_size() -> None:
    text = "(float[1,3] image) => (float[4,5] logits) { y = MatMul(image, w) \n x = Mul(y, c) \n logits = Relu(x) }"
    random = np.random.default_rng(0)
    model = graph_of(text, w=filled(random, 3, 5), c=filled(random, 4, 1))
    assert not folded(FoldScales, model)


def test_keep_integer_factors() -> None:
    model = graph_of(
        "(int64[2,3] image) => (int64[2,3] logits) { y = Mul(image, c) \n logits = Neg(y) }", c=ints(1, 2, 3)
    )
    fold = FoldScales()
    assert not fold(model).modified
    assert fold.declined == []


@pytest.mark.parametrize("case", ["layer scale after a bias", "queries of a packed product"])
def test_a_bias_keeps_its_one_axis(case: str) -> None:
    nodes, result = FOLDED[case]
    model = model_of(nodes, result, 0)
    before = {name: shape for name, shape in shapes(model).items() if name in ("b", "qkv_b")}
    assert folded(FoldScales, model)
    assert {name: shape for name, shape in shapes(model).items() if name in before} == before
    assert all(len(shape) == 1 for shape in before.values())


def test_a_uniform_bias_keeps_its_channels() -> None:
    nodes, result = FOLDED["queries of a packed product"]
    model = model_of(nodes, result, 0)
    bias = model.graph.initializers["qkv_b"]
    assert bias.const_value is not None
    bias.const_value = ir.tensor(np.full_like(bias.const_value.numpy(), 0.5), name="qkv_b")
    channels = shapes(model)["qkv_b"]
    assert folded(FoldScales, model)
    assert shapes(model)["qkv_b"] == channels  # TensorRT accepts no other shape


def test_weights_are_rounded_once() -> None:
    random = np.random.default_rng(0)
    text = """(float[2,3] image) => (float[2,5] logits) {
        r = Relu(image)
        x = Mul(r, f)
        y = MatMul(x, w)
        z = Mul(y, g)
        logits = Relu(z)
    }"""
    weight, before, after = filled(random, 3, 5), filled(random, 3), filled(random, 5)
    model = graph_of(text, w=weight, f=before, g=after)
    assert folded(FoldScales, model)
    (product,) = (node for node in model.graph if node.op_type == "MatMul")
    found = product.inputs[1]
    assert found is not None
    assert found.const_value is not None
    exact = before.astype(np.float64)[:, None] * weight * after.astype(np.float64)
    np.testing.assert_array_equal(found.const_value.numpy(), exact.astype(np.float32))
    twice = (before[:, None] * weight) * after
    assert (twice != exact.astype(np.float32)).any()  # the comparison above is able to fail


def test_the_comparison_is_able_to_fail() -> None:
    class Wrong(FoldScales):
        """A pass that halves the factor first."""

        def call(self, model: ir.Model) -> ir.passes.PassResult:
            half = model.graph.initializers["half"]
            half.const_value = ir.tensor(np.array(0.25, np.float32), name="half")
            return super().call(model)

    nodes, result = FOLDED["queries of a packed product"]
    with pytest.raises(AssertionError):
        folded(Wrong, model_of(nodes, result, 0))
