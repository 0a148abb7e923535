"""A norm's scale and bias are folded into its readers, compared with the original; or declined with a reason."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.fold_norms import FoldNorms
from tests.export.passes.graphs import Array, filled, folded, graph_of, ints, operators

SEEDS = (0, 1, 2)
NORM = "n = LayerNormalization<axis=-1>(image, gamma, beta)"


def drawn(seed: int) -> tuple[dict[str, int], dict[str, Array]]:
    """Return random sizes (images B, rows R, columns S, channels C, outputs D and E) and constants of those sizes."""
    random = np.random.default_rng(seed)
    sizes = dict(zip("BRSCDE", random.integers(2, 7, size=6).tolist(), strict=True))
    batch, rows, columns, channels, out, other = sizes.values()
    constants = {
        "gamma": filled(random, channels),
        "beta": filled(random, channels),
        "w": filled(random, channels, out),
        "b": filled(random, out),
        "w2": filled(random, channels, other),
        "b2": filled(random, other),
        "wt": filled(random, out, channels),
        "pairs": filled(random, 2 * channels, out),
        "square": filled(random, channels, channels),
        "kernel": filled(random, out, channels, 1, 1),
        "wide": filled(random, out, channels, 3, 3),
        "of_rows": filled(random, rows, columns, out),
        "flat": ints(batch, rows * columns, channels),
        "two_by_two": ints(batch, columns, rows, channels),
        "zero": ints(0),
        "one": ints(1),
        "last": ints(rows),
        "axes": ints(1, 2),
        "shuffled": random.permutation(rows * columns),
        "first": np.array(0),
        "tail": ints(0, 1, 0, 0, 0, 0),
    }
    return sizes, constants


def model_of(nodes: str, result: str, seed: int, **other: Array) -> ir.Model:
    sizes, constants = drawn(seed)
    for name, size in sizes.items():
        result = result.replace(name, str(size))
    image = "[{B},{R},{S},{C}]".format(**sizes)
    text = f"(float{image} image) => (float{result} logits) {{ {nodes} }}"
    known = constants | other
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return graph_of(text, **{name: array for name, array in known.items() if name in words})


FOLDED: dict[str, tuple[str, str]] = {
    "a product and its bias": (f"{NORM} \n y = MatMul(n, w) \n logits = Add(y, b)", "[B,R,S,D]"),
    "a bias as the first operand": (f"{NORM} \n y = MatMul(n, w) \n logits = Add(b, y)", "[B,R,S,D]"),
    "a bias for each token": (f"{NORM} \n y = MatMul(n, w) \n logits = Add(y, of_rows)", "[B,R,S,D]"),
    "two products": (
        f"""{NORM} \n x = MatMul(n, w) \n y = Add(x, b) \n p = MatMul(n, w2) \n q = Add(p, b2)
        logits = Concat<axis=3>(y, q)""",
        "[B,R,S,F]",
    ),
    "a Gemm of one token": (
        f"{NORM} \n f = Reshape(n, flat) \n t = Gather<axis=1>(f, first) \n logits = Gemm<transB=1>(t, wt, b)",
        "[B,D]",
    ),
    "a Gemm without a bias": (
        f"{NORM} \n f = Reshape(n, flat) \n t = Gather<axis=1>(f, first) \n logits = Gemm(t, w)",
        "[B,D]",
    ),
    "the mean of all tokens": (
        f"{NORM} \n m = ReduceMean<keepdims=0>(n, axes) \n y = MatMul(m, w) \n logits = Add(y, b)",
        "[B,D]",
    ),
    "rolled rows": (
        f"""{NORM} \n front = Slice(n, zero, one, one) \n back = Slice(n, one, last, one)
        r = Concat<axis=1>(back, front) \n y = MatMul(r, w) \n logits = Add(y, b)""",
        "[B,R,S,D]",
    ),
    "tokens in another order": (
        f"""{NORM} \n f = Reshape(n, flat) \n o = Gather<axis=1>(f, shuffled) \n y = MatMul(o, w)
        logits = Add(y, b)""",
        "[B,T,D]",
    ),
    "transposed rows and columns": (
        f"{NORM} \n t = Transpose<perm=[0,2,1,3]>(n) \n y = MatMul(t, w) \n logits = Add(y, b)",
        "[B,S,R,D]",
    ),
    "a convolution": (
        f"{NORM} \n t = Transpose<perm=[0,3,1,2]>(n) \n logits = Conv(t, kernel, b)",
        "[B,D,R,S]",
    ),
    "a convolution without a bias": (
        f"{NORM} \n t = Transpose<perm=[0,3,1,2]>(n) \n logits = Conv(t, kernel)",
        "[B,D,R,S]",
    ),
    "a scale alone and a product without a bias": (
        "n = LayerNormalization<axis=-1>(image, gamma) \n logits = MatMul(n, w)",
        "[B,R,S,D]",
    ),
    "a scale alone and padded rows": (
        """n = LayerNormalization<axis=-1>(image, gamma) \n t = Transpose<perm=[0,3,1,2]>(n)
        logits = Conv<pads=[1,1,1,1]>(t, wide, b)""",
        "[B,D,R,S]",
    ),
}


def sized(result: str, seed: int) -> str:
    sizes, _ = drawn(seed)
    return result.replace("F", str(sizes["D"] + sizes["E"])).replace("T", str(sizes["R"] * sizes["S"]))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", FOLDED)
def test_scale_and_bias_are_folded_into(case: str, seed: int) -> None:
    nodes, result = FOLDED[case]
    model = model_of(nodes, sized(result, seed), seed)
    before = operators(model)
    assert folded(FoldNorms, model)
    assert operators(model) == before  # no added node
    (norm,) = (node for node in model.graph if node.op_type == "LayerNormalization")
    (scale,) = norm.inputs[1:]
    assert scale is not None
    assert scale.const_value is not None
    np.testing.assert_array_equal(scale.const_value.numpy(), 1)


def test_norms_of_one_size_share_a_constant_of_ones() -> None:
    nodes = f"""{NORM} \n y = MatMul(n, square) \n x = Add(y, beta) \n m = LayerNormalization<axis=-1>(x, gamma)
    logits = MatMul(m, w)"""
    model = model_of(nodes, "[B,R,S,D]", 0)
    assert folded(FoldNorms, model)
    first, second = (node for node in model.graph if node.op_type == "LayerNormalization")
    assert first.inputs[1] is second.inputs[1]


# Graphs that stay unchanged, with a part of the reason.
KEPT: dict[str, tuple[str, str, str]] = {
    "a residual connection reads it": (
        f"{NORM} \n y = MatMul(n, square) \n x = Add(y, beta) \n logits = Add(x, n)",
        "[B,R,S,C]",
        "read by Add",
    ),
    "an activation reads it": (f"{NORM} \n r = Relu(n) \n logits = MatMul(r, w)", "[B,R,S,D]", "read by Relu"),
    "another norm reads it": (
        f"{NORM} \n m = LayerNormalization<axis=-1>(n, gamma) \n y = MatMul(m, w) \n r = Relu(m) \n "
        f"e = MatMul(r, w) \n "
        "logits = Add(y, e)",
        "[B,R,S,D]",
        "read by LayerNormalization",
    ),
    "a product without a bias reads it": (
        f"{NORM} \n logits = MatMul(n, w)",
        "[B,R,S,D]",
        "a new Add would cost more",
    ),
    "one of two products has no bias": (
        f"{NORM} \n y = MatMul(n, w) \n x = Add(y, b) \n z = MatMul(n, w2) \n logits = Concat<axis=3>(x, z)",
        "[B,R,S,F]",
        "a new Add would cost more",
    ),
    "it is padded": (
        f"{NORM} \n f = Reshape(n, flat) \n p = Pad(f, tail) \n y = MatMul(p, w) \n logits = Add(y, b)",
        "[B,U,D]",
        "varies along other axes",
    ),
    "a convolution pads it": (
        f"{NORM} \n t = Transpose<perm=[0,3,1,2]>(n) \n logits = Conv<pads=[1,1,1,1]>(t, wide, b)",
        "[B,D,R,S]",
        "zero padding must not be shifted",
    ),
    "two products share the weight": (
        f"{NORM} \n y = MatMul(n, w) \n x = Add(y, b) \n z = MatMul(image, w) \n logits = Add(x, z)",
        "[B,R,S,D]",
        "also reads the weight",
    ),
    "channels are reshaped into another axis": (
        f"{NORM} \n t = Transpose<perm=[0,1,3,2]>(n) \n r = Reshape(t, two_by_two) \n y = MatMul(r, w) \n "
        f"logits = Add(y, b)",
        "[B,S,R,D]",
        "varies along other axes",
    ),
    "it is a graph output": (
        "logits = LayerNormalization<axis=-1>(image, gamma, beta)",
        "[B,R,S,C]",
        "a graph output would change",
    ),
    "it is concatenated with another tensor": (
        f"{NORM} \n p = Concat<axis=3>(n, image) \n y = MatMul(p, pairs) \n logits = Add(y, b)",
        "[B,R,S,D]",
        "concatenated with a value",
    ),
    "it is the right operand of a product": (
        f"{NORM} \n t = Transpose<perm=[0,1,3,2]>(image) \n logits = MatMul(t, n)",
        "[B,R,C,C]",
        "read by MatMul",
    ),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", KEPT)
def test_keep_scale_and_bias_when(case: str, seed: int) -> None:
    nodes, result, reason = KEPT[case]
    sizes, _ = drawn(seed)
    model = model_of(nodes, sized(result, seed).replace("U", str(sizes["R"] * sizes["S"] + 1)), seed)
    fold = FoldNorms()
    assert not fold(model).modified
    assert reason in fold.declined[0].reason
    assert not folded(FoldNorms, model)


def test_keep_a_norm_of_several_axes() -> None:
    random = np.random.default_rng(0)
    nodes = "n = LayerNormalization<axis=-2>(image, g, h) \n y = MatMul(n, w) \n logits = Add(y, b)"
    sizes, _ = drawn(0)
    both = filled(random, sizes["S"], sizes["C"])
    model = model_of(nodes, "[B,R,S,D]", 0, g=both, h=both.copy())
    assert not folded(FoldNorms, model)


def test_keep_a_norm_when_a_size_is_not_known() -> None:
    _, constants = drawn(0)
    channels, out = constants["w"].shape
    text = (
        f"(float[n,{channels}] image) => (float[n,{out}] logits) {{ {NORM} \n y = MatMul(n, w) \n logits = Add(y, b) }}"
    )
    model = graph_of(text, **{name: constants[name] for name in ("gamma", "beta", "w", "b")})
    fold = FoldNorms()
    assert not fold(model).modified
    assert "shape is not static" in fold.declined[0].reason


def test_the_comparison_is_able_to_fail() -> None:
    class Wrong(FoldNorms):
        """A pass that drops the bias."""

        def call(self, model: ir.Model) -> ir.passes.PassResult:
            for node in model.graph:
                if node.op_type == "LayerNormalization":
                    node.resize_inputs(2)
            return super().call(model)

    nodes, result = FOLDED["a product and its bias"]
    with pytest.raises(AssertionError):
        folded(Wrong, model_of(nodes, result, 0))
