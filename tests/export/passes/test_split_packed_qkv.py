"""Queries, keys and values are split before they are laid out, beside the graph as it was; or they stay."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.split_packed_qkv import SplitPackedQKV
from tests.export.passes.graphs import graph_of, ints, operators, rewritten

SEEDS = (0, 1, 2)
GATHERED = "q = Gather<axis=0>(m, i0) \n k = Gather<axis=0>(m, i1) \n v = Gather<axis=0>(m, i2)"
SLICED = """q1 = Slice(m, zero, one, zero) \n k1 = Slice(m, one, two, zero, one) \n v1 = Slice(m, two, large, zero)
    q = Squeeze(q1, zero) \n k = Squeeze(k1, zero) \n v = Squeeze(v1, zero)"""
ATTEND = (
    """kt = Transpose<perm=[0,1,3,2]>(k) \n scores = MatMul(q, kt) \n a = Softmax(scores) \n logits = MatMul(a, v)"""
)
PLAIN = "r = Reshape(image, packed) \n m = Transpose<perm=[2,0,3,1,4]>(r)"


def model_of(nodes: str, seed: int, image: str = "[B,N,3C]", result: str = "[B,H,N,d]") -> ir.Model:
    batch, tokens, heads, width = (int(size) for size in np.random.default_rng(seed).integers(2, 6, size=4))
    sizes = {"B": batch, "N": tokens, "H": heads, "d": width, "C": heads * width, "3C": 3 * heads * width, "3": 3}
    constants = {
        "packed": ints(batch, tokens, 3, heads, width),
        "of_heads": ints(batch, tokens, heads, 3, width),
        "for_heads": ints(batch, tokens, heads, 3 * width),
        "windows": ints(1, batch, tokens, 3, heads, width),
        "zero": ints(0),
        "one": ints(1),
        "two": ints(2),
        "large": ints(2**40),
        "minus": ints(-1),
        "i0": np.array(0),
        "i1": np.array(1),
        "i2": np.array(-1),
    }

    def shape(text: str) -> str:
        return "[" + ",".join(str(sizes[size]) for size in text.strip("[]").split(",")) + "]"

    text = f"(float{shape(image)} image) => (float{shape(result)} logits) {{ {nodes} }}"
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return graph_of(text, **{name: array for name, array in constants.items() if name in words})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("parts", [GATHERED, SLICED])
def test_each_part_is_laid_out_once(parts: str, seed: int) -> None:
    model = model_of(f"{PLAIN} \n {parts} \n {ATTEND}", seed)
    assert rewritten(SplitPackedQKV, model)
    laid_out = ["Reshape", "Transpose"]
    assert operators(model) == ["Split", *laid_out, *laid_out, *laid_out, "MatMul", "Softmax", "MatMul"]


@pytest.mark.parametrize("seed", SEEDS)
def test_two_parts_of_three_are_enough(seed: int) -> None:
    model = model_of(f"{PLAIN} \n q = Gather<axis=0>(m, i0) \n v = Gather<axis=0>(m, i2) \n logits = Add(q, v)", seed)
    assert rewritten(SplitPackedQKV, model)
    assert operators(model) == ["Split", "Reshape", "Transpose", "Reshape", "Transpose", "Add"]


@pytest.mark.parametrize("seed", SEEDS)
def test_keys_that_two_nodes_read_are_laid_out_for_both(seed: int) -> None:
    model = model_of(f"{PLAIN} \n {GATHERED} \n {ATTEND.replace('logits', 'o')} \n logits = Add(o, k)", seed)
    assert rewritten(SplitPackedQKV, model)
    assert operators(model).count("Transpose") == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_may_yield_the_output(seed: int) -> None:
    model = model_of(f"{PLAIN} \n logits = Gather<axis=0>(m, i1)", seed)
    assert rewritten(SplitPackedQKV, model)
    assert operators(model) == ["Split", "Reshape", "Transpose"]


KEPT: dict[str, str] = {
    "heads come before queries, keys and values": f"""r = Reshape(image, of_heads) \n m = Transpose<perm=[3,0,2,1,4]>(r)
        {GATHERED} \n {ATTEND}""",
    "something else reads the whole": (
        f"{PLAIN} \n {GATHERED} \n {ATTEND.replace('logits', 'o')} \n "
        f"s = ReduceSum<keepdims=0>(m, zero) \n logits = Add(o, s)"
    ),
    "something else reads it before it is laid out": f"""{PLAIN} \n {GATHERED} \n {ATTEND.replace("logits", "o")}
        s = ReduceSum<keepdims=0>(r, two) \n t = Transpose<perm=[0,2,1,3]>(s) \n logits = Add(o, t)""",
    "two places are read at once": (
        f"{PLAIN} \n q = Slice(m, zero, two, zero) \n logits = ReduceSum<keepdims=0>(q, zero)"
    ),
    "places of two axes are read": f"""{PLAIN} \n q = Gather<axis=0>(m, i0) \n h = Gather<axis=2>(m, i0)
        u = Unsqueeze(h, one) \n s = ReduceSum<keepdims=0>(u, zero) \n p = Transpose<perm=[1,0,2,3]>(s)
        logits = Add(q, p)""",
    "places are read backwards": f"""{PLAIN} \n x = Slice(m, large, zero, zero, minus)
        logits = ReduceSum<keepdims=0>(x, zero)""",
}


@pytest.mark.parametrize("case", KEPT)
def test_keep_it_when(case: str) -> None:
    model = model_of(KEPT[case], 0)
    assert not rewritten(SplitPackedQKV, model)


def test_keep_it_when_a_size_is_not_known() -> None:
    text = f"(float[n,3,12] image) => (float[n,2,3,2] logits) {{ {PLAIN} \n logits = Gather<axis=0>(m, i0) }}"
    model = graph_of(text, packed=ints(-1, 3, 3, 2, 2), i0=np.array(0))
    assert not SplitPackedQKV()(model).modified


def test_the_comparison_is_able_to_fail() -> None:
    class Wrong(SplitPackedQKV):
        """Takes the keys for the queries."""

        def call(self, model: ir.Model) -> ir.passes.PassResult:
            for node in model.graph:
                if node.op_type == "Gather" and node.outputs[0].name == "q":
                    node.replace_input_with(1, model.graph.initializers["i1"])
            return super().call(model)

    with pytest.raises(AssertionError):
        rewritten(Wrong, model_of(f"{PLAIN} \n {GATHERED} \n {ATTEND}", 0))
