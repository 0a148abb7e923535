"""Batch normalisation is folded into the products around it, compared with the original; or declined with a reason."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.exact import RoundConstants
from export.passes.fold_batch_norms import FoldBatchNorms
from export.passes.fold_shifts import FoldShifts
from tests.export.passes.graphs import Array, folded, graph_of, ints, operators, run

SEEDS = (0, 1, 2)


def model_of(nodes: str, result: str, seed: int) -> ir.Model:
    random = np.random.default_rng(seed)
    batch, channels, rows, out = (int(size) for size in random.integers(2, 6, size=4))

    def filled(*shape: int) -> Array:
        return random.normal(size=shape).astype(np.float32)

    sizes = {"B": batch, "C": channels, "R": rows, "D": out, "E": channels + 1}
    constants = {
        "gamma": filled(channels),
        "beta": filled(channels),
        "mean": filled(channels),
        "var": np.abs(filled(channels)) + np.float32(0.1),
        "kernel": filled(out, channels, 1, 1),
        "wide": filled(out, channels, 3, 3),
        "depthwise": filled(channels, 1, 3, 3),
        "before": filled(channels, channels, 3, 3),
        "bias": filled(channels),
        "out_bias": filled(out),
        "w": filled(channels, channels),
        "tokens": ints(batch * rows * rows, channels),
        "tokens_back": ints(batch, rows, rows, channels),
    }
    shape = "[" + ",".join(str(sizes[size]) for size in result.strip("[]").split(",")) + "]"
    text = f"(float[{batch},{channels},{rows},{rows}] image) => (float{shape} logits) {{ {nodes} }}"
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return graph_of(text, **{name: array for name, array in constants.items() if name in words})


NORM = "BatchNormalization<epsilon=0.001>({}, gamma, beta, mean, var)"
FOLDED: dict[str, tuple[str, str]] = {
    "the convolution after it": (
        f"r = Relu(image) \n n = {NORM.format('r')} \n logits = Conv(n, kernel, out_bias)",
        "[B,D,R,R]",
    ),
    "the convolution after it, which gets a bias": (
        f"r = Relu(image) \n n = {NORM.format('r')} \n logits = Conv(n, kernel)",
        "[B,D,R,R]",
    ),
    "the convolution before it": (
        f"c = Conv<pads=[1,1,1,1]>(image, before, bias) \n n = {NORM.format('c')} \n logits = Relu(n)",
        "[B,C,R,R]",
    ),
    "the depthwise convolution before it, which gets a bias": (
        f"c = Conv<pads=[1,1,1,1], group=GROUPS>(image, depthwise) \n n = {NORM.format('c')} \n logits = Relu(n)",
        "[B,C,R,R]",
    ),
    "the product before it, flattened, and an addition": (
        f"""t = Transpose<perm=[0,2,3,1]>(image) \n y = MatMul(t, w) \n f = Reshape(y, tokens) \n n = {NORM.format("f")}
        r = Relu(n) \n logits = Reshape(r, tokens_back)""",
        "[B,R,R,C]",
    ),
    "the product before it and its bias": (
        f"""t = Transpose<perm=[0,2,3,1]>(image) \n y = MatMul(t, w) \n z = Add(y, bias) \n f = Reshape(z, tokens)
        n = {NORM.format("f")} \n r = Relu(n) \n logits = Reshape(r, tokens_back)""",
        "[B,R,R,C]",
    ),
}


def grouped(nodes: str, seed: int) -> str:
    channels = int(np.random.default_rng(seed).integers(2, 6, size=4)[1])
    return nodes.replace("GROUPS", str(channels))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", FOLDED)
def test_batch_norm_is_folded_into(case: str, seed: int) -> None:
    nodes, result = FOLDED[case]
    model = model_of(grouped(nodes, seed), result, seed)
    before, count = run(model), len(operators(model))
    assert folded(FoldBatchNorms, model)
    FoldShifts()(model)
    RoundConstants()(model)
    np.testing.assert_allclose(run(model)[0], before[0], rtol=1e-5, atol=1e-5 * np.abs(before[0]).max())
    assert "BatchNormalization" not in operators(model)
    assert operators(model).count("Add") == ("product" in case)
    assert len(operators(model)) <= count


KEPT: dict[str, tuple[str, str, str]] = {
    "nothing around it has a weight": (
        f"r = Relu(image) \n n = {NORM.format('r')} \n logits = Relu(n)",
        "[B,C,R,R]",
        "produced by Relu",
    ),
    "a convolution pads it": (
        f"r = Relu(image) \n n = {NORM.format('r')} \n logits = Conv<pads=[1,1,1,1]>(n, wide, out_bias)",
        "[B,D,R,R]",
        "zero padding must not be shifted",
    ),
    "something else reads the convolution before it": (
        f"c = Conv<pads=[1,1,1,1]>(image, before, bias) \n n = {NORM.format('c')} \n logits = Add(n, c)",
        "[B,C,R,R]",
        "also read by Add",
    ),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", KEPT)
def test_keep_batch_norm_when(case: str, seed: int) -> None:
    nodes, result, reason = KEPT[case]
    model = model_of(nodes, result, seed)
    fold = FoldBatchNorms()
    assert not fold(model).modified
    assert reason in fold.declined[0].reason
    assert not folded(FoldBatchNorms, model)
    assert "BatchNormalization" in operators(model)
