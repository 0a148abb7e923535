"""Added constants are folded into others, compared with the original; or declined with a reason."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes import fold_shifts
from export.passes.fold_scales import FoldScales
from export.passes.fold_shifts import FoldShifts
from export.passes.values import made_from
from tests.export.passes.graphs import filled, folded, graph_of, ints, operators, shapes


def test_keep_two_masks_apart_when_their_sum_overflows_float32() -> None:
    lowest = np.where(np.arange(4) < 2, np.finfo(np.float32).min, 0).astype(np.float32)
    text = "(float[2,4] image) => (float[2,4] logits) { a = Add(image, c) \n b = Add(a, d) \n logits = Softmax(b) }"
    fold = FoldShifts()
    assert not fold(graph_of(text, c=lowest, d=lowest.copy())).modified
    assert any("overflow float32" in declined.reason for declined in fold.declined)
    assert folded(FoldShifts, graph_of(text, c=lowest, d=filled(np.random.default_rng(0), 4)))


def test_minus_infinity_is_merged() -> None:
    mask = np.where(np.arange(4) < 2, -np.inf, 0).astype(np.float32)
    text = "(float[2,4] image) => (float[2,4] logits) { a = Add(image, c) \n b = Add(a, d) \n logits = Softmax(b) }"
    assert folded(FoldShifts, graph_of(text, c=mask, d=filled(np.random.default_rng(0), 4)))


def test_keep_a_shift_that_is_not_finite_before_a_product() -> None:
    mask = np.where(np.arange(4) < 2, -np.inf, 0).astype(np.float32)
    model = model_of("r = Relu(image) \n x = Add(r, shift) \n y = MatMul(x, w) \n logits = Add(y, b)", "[2,6,5]")
    model.graph.initializers["shift"].const_value = ir.tensor(mask, name="shift")
    fold = FoldShifts()
    assert not fold(model).modified
    assert any("not finite" in declined.reason for declined in fold.declined)


def test_two_large_constants_are_merged_if_the_result_is_no_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_shifts, "LARGEST", 10)
    random = np.random.default_rng(0)
    text = "(float[2,3,4] image) => (float[2,3,4] logits) { a = Add(image, c) \n b = Add(a, d) \n logits = Relu(b) }"
    assert folded(FoldShifts, graph_of(text, c=filled(random, 3, 4), d=filled(random, 1, 3, 1)))


IMAGE = "(float[2,6,4] image)"
RANDOM = np.random.default_rng(3)
CONSTANTS = {
    "shift": filled(RANDOM, 4),
    "of_tokens": filled(RANDOM, 6, 1),
    "table": filled(RANDOM, 1, 6, 4),
    "longer": filled(RANDOM, 1, 8, 4),
    "w": filled(RANDOM, 4, 5),
    "b": filled(RANDOM, 5),
    "w2": filled(RANDOM, 4, 3),
    "b2": filled(RANDOM, 3),
    "square": filled(RANDOM, 4, 4),
    "kernel": filled(RANDOM, 5, 4, 2),
    "kernel_b": filled(RANDOM, 5),
    "of_maps": filled(RANDOM, 5, 1),
    "of_tokens5": filled(RANDOM, 5, 1),
    "of_outputs": filled(RANDOM, 5),
    "pads": ints(0, 2, 0, 0, 0, 0),
    "flat": ints(2, 24),
    "one": ints(1),
    "token": np.array(2),
    "grid": ints(2, 2, 3, 4),
    "back": ints(2, 6, 4),
}


def model_of(nodes: str, result: str) -> ir.Model:
    text = f"{IMAGE} => (float{result} logits) {{ {nodes} }}"
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return graph_of(text, **{name: array for name, array in CONSTANTS.items() if name in words})


FOLDED: dict[str, tuple[str, str, list[str]]] = {
    "the bias of a product": (
        "r = Relu(image) \n x = Add(r, shift) \n y = MatMul(x, w) \n logits = Add(y, b)",
        "[2,6,5]",
        ["Relu", "MatMul", "Add"],
    ),
    "the biases of two products": (
        """r = Relu(image) \n x = Sub(r, shift) \n y = MatMul(x, w) \n p = Add(y, b)
        z = MatMul(x, w2) \n q = Add(z, b2)
        logits = Concat<axis=2>(p, q)""",
        "[2,6,8]",
        ["Relu", "MatMul", "Add", "MatMul", "Add", "Concat"],
    ),
    "a new bias of a Gemm": (
        "r = Relu(image) \n x = Add(r, shift) \n t = Gather<axis=1>(x, token) \n logits = Gemm(t, w)",
        "[2,5]",
        ["Relu", "Gather", "Gemm"],
    ),
    "the bias of a convolution": (
        "r = Relu(image) \n x = Add(r, shift) \n t = Transpose<perm=[0,2,1]>(x) \n logits = Conv(t, kernel, kernel_b)",
        "[2,5,5]",
        ["Relu", "Transpose", "Conv"],
    ),
    "the next constant": (
        "r = Relu(image) \n x = Add(r, shift) \n y = Add(x, table) \n logits = Relu(y)",
        "[2,6,4]",
        ["Relu", "Add", "Relu"],
    ),
    "the next constant after padding": (
        "r = Relu(image) \n x = Add(r, shift) \n p = Pad(x, pads) \n y = Add(p, longer) \n logits = Relu(y)",
        "[2,8,4]",
        ["Relu", "Pad", "Add", "Relu"],
    ),
    "the next constant of a grid": (
        "r = Relu(image) \n x = Add(r, of_tokens) \n g = Reshape(x, grid) \n y = Add(g, shift) \n "
        "logits = Reshape(y, back)",
        "[2,6,4]",
        ["Relu", "Reshape", "Add", "Reshape"],
    ),
    "the convolution before it": (
        "t = Transpose<perm=[0,2,1]>(image) \n c = Conv(t, kernel) \n x = Add(c, of_maps) \n logits = Relu(x)",
        "[2,5,5]",
        ["Transpose", "Conv", "Relu"],
    ),
    "the convolution before it, through a Transpose": (
        """t = Transpose<perm=[0,2,1]>(image) \n c = Conv<pads=[1,0]>(t, kernel, kernel_b)
        s = Transpose<perm=[0,2,1]>(c) \n x = Add(s, of_outputs) \n logits = Relu(x)""",
        "[2,6,5]",
        ["Transpose", "Conv", "Transpose", "Relu"],
    ),
}


@pytest.mark.parametrize("case", FOLDED)
def test_a_shift_is_folded_into(case: str) -> None:
    nodes, result, left = FOLDED[case]
    model = model_of(nodes, result)
    assert folded(FoldShifts, model)
    assert operators(model) == left


def test_three_constants_are_merged_into_one_that_records_their_names() -> None:
    model = model_of(
        "r = Relu(image) \n x = Add(r, shift) \n y = Add(x, of_tokens) \n z = Add(y, table) \n logits = Relu(z)",
        "[2,6,4]",
    )
    assert folded(FoldShifts, model)
    assert operators(model) == ["Relu", "Add", "Relu"]
    (one,) = [value for value in model.graph.initializers.values() if len(made_from(value)) > 1 and value.uses()]
    assert made_from(one)[0] == "table"
    assert sorted(made_from(one)) == ["of_tokens", "shift", "table"]


KEPT: dict[str, tuple[str, str, str]] = {
    "a residual connection reads it too": (
        "r = Relu(image) \n x = Add(r, shift) \n y = MatMul(x, square) \n z = Add(y, shift) \n logits = Add(z, x)",
        "[2,6,4]",
        "read by Add",
    ),
    "it differs from token to token": (
        "r = Relu(image) \n x = Add(r, of_tokens) \n y = MatMul(x, w) \n z = Add(y, b) \n logits = Relu(z)",
        "[2,6,5]",
        "varies along other axes",
    ),
    "a convolution pads it": (
        "r = Relu(image) \n x = Add(r, shift) \n t = Transpose<perm=[0,2,1]>(x) \n "
        "logits = Conv<pads=[1,0]>(t, kernel, kernel_b)",
        "[2,5,6]",
        "zero padding must not be shifted",
    ),
    "two nodes read it": (
        "r = Relu(image) \n x = Add(r, shift) \n y = Add(x, table) \n z = Mul(x, y) \n logits = Relu(z)",
        "[2,6,4]",
        "does not add a constant",
    ),
    "it is the bias of a MatMul": (
        "y = MatMul(image, w) \n x = Add(y, b) \n logits = Relu(x)",
        "[2,6,5]",
        "MatMul has no bias",
    ),
    "something else reads the convolution": (
        "t = Transpose<perm=[0,2,1]>(image) \n c = Conv(t, kernel) \n x = Add(c, of_maps) \n logits = Mul(x, c)",
        "[2,5,5]",
        "no Conv or Gemm without other readers",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_keep_a_shift_when(case: str) -> None:
    nodes, result, reason = KEPT[case]
    model = model_of(nodes, result)
    fold = FoldShifts()
    before = shapes(model)
    assert not fold(model).modified
    assert shapes(model) == before
    assert any(reason in declined.reason for declined in fold.declined), fold.declined


def normalised(pads: str) -> ir.Model:
    """Return a graph that normalises and embeds pixels [2, 8, 8, 3], as `ArtifactInput` does."""
    random = np.random.default_rng(5)
    text = f"""(uint8[2,8,8,3] image) => (float[2,4,{5 if pads else 4},{5 if pads else 4}] logits) {{
        x = Cast<to=1>(image)
        t = Transpose<perm=[0,3,1,2]>(x)
        m = Mul(t, scale)
        n = Add(m, shift)
        logits = Conv<strides=[2,2]{pads}>(n, w, b)
    }}"""
    constants = {
        "scale": filled(random, 3, 1, 1) / 100,
        "shift": filled(random, 3, 1, 1),
        "w": filled(random, 4, 3, 2, 2),
    }
    return graph_of(text, **constants, b=filled(random, 4))


def test_pixel_normalisation_is_folded_into_the_patch_embedding() -> None:
    model = normalised("")
    assert folded(FoldShifts, model)
    assert folded(FoldScales, model)
    assert operators(model) == ["Cast", "Transpose", "Conv"]


def test_keep_the_normalisation_of_pixels_before_a_convolution_that_pads() -> None:
    model = normalised(", pads=[1,1,1,1]")
    assert not folded(FoldShifts, model)
    assert not folded(FoldScales, model)
