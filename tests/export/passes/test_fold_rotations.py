"""Rotary embeddings of queries and keys are rewritten to one form, compared with the original; or they stay."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from export.passes.fold_rotations import FoldRotations
from export.passes.values import name_after_sources
from tests.export.passes.graphs import Array, folded, graph_of, ints, operators

IMAGES, TOKENS, HEADS, WIDTH = 3, 5, 2, 8
MODEL = HEADS * WIDTH
PREFIX = {"all tokens": 0, "a class token first": 1}

# {x} is q or k, {t} its rotated tokens, {p} the partners of their channels.
HALVES = """{x}_h1, {x}_h2 = Split<axis=3, num_outputs=2>({t}) \n {x}_n = Neg({x}_h2)
    {p} = Concat<axis=-1>({x}_n, {x}_h1)"""
NEIGHBOURS = """{x}_h1 = Slice({t}, zero, large, last, two) \n {x}_h2 = Slice({t}, one, large, last, two)
    {x}_n = Neg({x}_h2) \n {x}_u1 = Unsqueeze({x}_n, last) \n {x}_u2 = Unsqueeze({x}_h1, last)
    {x}_both = Concat<axis=-1>({x}_u1, {x}_u2)
    {p} = Reshape({x}_both, of_tokens)"""
SUM = "{x}_m1 = Mul({t}, cos) \n {x}_m2 = Mul({p}, sin) \n {sum} = Add({x}_m1, {x}_m2)"
HEAD = """product = MatMul(image, weight) \n b = Add(product, bias) \n r = Reshape(b, packed)
    m = Transpose<perm=[2,0,3,1,4]>(r)
    q = Gather<axis=0>(m, i0) \n k = Gather<axis=0>(m, i1) \n v = Gather<axis=0>(m, i2)"""
UNSCALED = """kt = Transpose<perm=[0,1,3,2]>(k_r) \n scores = MatMul(q_r, kt) \n a = Softmax(scores)
    logits = MatMul(a, v)"""
SCALED = UNSCALED.replace("MatMul(q_r", "MatMul(q_s").replace("kt =", "q_s = Mul(q_r, scale) \n kt =")


def rotated(name: str, pairs: str, prefix: int) -> str:
    """Return the nodes that rotate `name` into `name`_r, except its first `prefix` tokens."""
    if not prefix:
        return f"{pairs} \n {SUM}".format(x=name, t=name, p=f"{name}_p", sum=f"{name}_r")
    return f"""{{x}}_c = Slice({{x}}, zero, prefix, two) \n {{t}} = Slice({{x}}, prefix, large, two)
        {pairs} \n {SUM} \n {{x}}_r = Concat<axis=2>({{x}}_c, {{sum}})""".format(
        x=name, t=f"{name}_t", p=f"{name}_p", sum=f"{name}_sum"
    )


def model_of(
    pairs: str, prefix: int, *, heads: int = 1, keys: str | None = None, end: str = SCALED, tokens: int = TOKENS
) -> ir.Model:
    """Return attention with rotated queries and keys; cos and sin are shared by the heads if `heads` is 1."""
    rng = np.random.default_rng(prefix)
    shape = (heads, tokens - prefix, WIDTH) if heads > 1 else (tokens - prefix, WIDTH)
    constants: dict[str, Array] = {
        "weight": rng.normal(size=(MODEL, 3 * MODEL)).astype(np.float32),
        "bias": rng.normal(size=3 * MODEL).astype(np.float32),
        "cos": rng.normal(size=shape).astype(np.float32),
        "sin": rng.normal(size=shape).astype(np.float32),
        "scale": np.array(WIDTH**-0.5, np.float32),
        "packed": ints(IMAGES, tokens, 3, HEADS, WIDTH),
        "of_tokens": ints(IMAGES, HEADS, tokens - prefix, WIDTH),
        "zero": ints(0),
        "one": ints(1),
        "two": ints(2),
        "last": ints(-1),
        "large": ints(2**40),
        "prefix": ints(prefix),
        "turned": np.roll(np.arange(tokens - prefix), 1),
        "back": np.arange(WIDTH // 2)[::-1].copy(),
        "i0": np.array(0),
        "i1": np.array(1),
        "i2": np.array(2),
    }
    body = f"{HEAD} \n {rotated('q', pairs, prefix)} \n {rotated('k', keys or pairs, prefix)} \n {end}"
    text = f"(float[{IMAGES},{tokens},{MODEL}] image) => (float[{IMAGES},{HEADS},{tokens},{WIDTH}] logits) {{ {body} }}"
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return graph_of(text, **{name: array for name, array in constants.items() if name in words})


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("prefix", PREFIX.values(), ids=PREFIX)
@pytest.mark.parametrize("pairs", [HALVES, NEIGHBOURS], ids=["halves", "neighbours"])
def test_a_rotation_is_two_products_and_one_swap_of_halves(pairs: str, prefix: int, heads: int) -> None:
    model = model_of(pairs, prefix, heads=heads)
    assert folded(FoldRotations, model)
    rotation = ["Split", "Concat", "Mul", "Mul", "Add"]
    found = operators(model)
    assert found[found.index("Split") :] == [*rotation, *rotation, "Transpose", "MatMul", "Softmax", "MatMul"]


def test_constants_of_keys_keep_their_names_and_class_tokens_are_rotated_by_zero() -> None:
    model = model_of(HALVES, 1)
    cos = model.graph.initializers["cos"].const_value
    assert cos is not None
    before = cos.numpy().copy()
    assert folded(FoldRotations, model)
    name_after_sources(model)
    RemoveUnusedNodesPass()(model)
    made = model.graph.initializers["cos"].const_value
    assert made is not None
    np.testing.assert_array_equal(made.numpy(), np.concatenate([np.ones((1, WIDTH)), before]).astype(np.float32))
    assert {"cos", "sin"} < set(model.graph.initializers)


@pytest.mark.parametrize(("end", "count"), [(SCALED, 4), (UNSCALED, 2)])
def test_equal_constants_are_one(end: str, count: int) -> None:
    model = model_of(HALVES, 0, end=end)
    assert folded(FoldRotations, model)
    assert len({node.inputs[1] for node in model.graph if node.op_type == "Mul"}) == count


STAYS: dict[str, tuple[str, str, str]] = {
    "q and k pair channels differently": (HALVES, NEIGHBOURS, SCALED),
    "keys are read before they are rotated": (NEIGHBOURS, NEIGHBOURS, SCALED.replace("(a, v)", "(a, k)")),
    "queries are read after they are rotated": (HALVES, HALVES, SCALED.replace("(a, v)", "(a, q_r)")),
    "a part of the rotation is read": (HALVES, HALVES, SCALED.replace("(a, v)", "(a, q_p)")),
    "tokens are permuted": (HALVES, HALVES.replace("Neg({x}_h2)", "Gather<axis=2>({x}_h2, turned)"), SCALED),
    "channels are reversed": (HALVES, HALVES.replace("Neg({x}_h2)", "Gather<axis=3>({x}_h2, back)"), SCALED),
}


@pytest.mark.parametrize("keys", ["", "kt = Transpose<perm=[0,1,2,3]>(k_r)"])
def test_neighbours_stay_where_a_product_does_not_sum_over_channels(keys: str) -> None:
    end = UNSCALED.replace("kt = Transpose<perm=[0,1,3,2]>(k_r)", keys)
    end = end if keys else end.replace("(q_r, kt)", "(q_r, k_r)")
    model = model_of(NEIGHBOURS, 0, end=end, tokens=WIDTH)  # as many tokens as channels: the shapes fit
    folding = FoldRotations()
    assert not folding(model).modified
    assert "channels" in folding.declined[0].reason


@pytest.mark.parametrize("case", STAYS)
def test_keep_a_rotation_when(case: str) -> None:
    queries, keys, end = STAYS[case]
    model = model_of(queries, 0, keys=keys, end=end)
    folding, before = FoldRotations(), operators(model)
    assert not folding(model).modified
    assert operators(model) == before
    assert len(folding.declined) == 1


def test_queries_and_keys_that_are_not_rotated_are_not_reported() -> None:
    model = model_of(HALVES, 0, end=SCALED.replace("q_s = Mul(q_r", "q_s = Mul(q").replace("(k_r)", "(k)"))
    folding = FoldRotations()
    assert not folding(model).modified
    assert folding.declined == []
