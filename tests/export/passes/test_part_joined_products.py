"""Queries are made apart from keys and values where only some rows of them are read, and nowhere else."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.compute_what_is_read import ComputeWhatIsRead
from export.passes.part_joined_products import PartJoinedProducts
from export.passes.values import sizes_of
from tests.export.passes.graphs import Array, graph_of, operators, run, shapes

RANDOM = np.random.default_rng(1)
BATCHES = (1, 2, 3, 7)
LAYER = {"w": RANDOM.normal(size=(8, 24)).astype(np.float32), "b": RANDOM.normal(size=24).astype(np.float32)}


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


PLACES = {"zero": ints(0), "one": ints(1), "two": ints(2), "three": ints(3)}
COLUMNS = {"c0": ints(0), "c8": ints(8), "c16": ints(16), "c24": ints(24)}
HEADS = {"heads": ints(-1, 6, 3, 2, 4), "i0": np.array(0), "i1": np.array(1), "i2": np.array(2)}
PRODUCT = "xw = MatMul(image, w) \n y = Add(xw, b)"
ATTENTION = """
    kt = Transpose<perm=[0,2,1]>(k)
    row = Slice(q, zero, one, one)
    scores = MatMul(row, kt)
    p = Softmax(scores)
    logits = MatMul(p, v)
"""
OF_HEADS = """
    kt = Transpose<perm=[0,1,3,2]>(k)
    row = Slice(q, zero, one, two)
    scores = MatMul(row, kt)
    p = Softmax(scores)
    logits = MatMul(p, v)
"""
MOVED = "h = Reshape(y, heads) \n m = Transpose<perm=[2,0,3,1,4]>(h)"

# How q, k and v come of x·w [B, 6, 24], and the sizes of what attention makes of them.
JOINED: dict[str, tuple[str, str]] = {
    "split": (f"{PRODUCT} \n q, k, v = Split<axis=-1, num_outputs=3>(y) {ATTENTION}", "[B,1,8]"),
    "sliced": (
        f"{PRODUCT} \n q = Slice(y, c0, c8, two) \n k = Slice(y, c8, c16, two) \n v = Slice(y, c16, c24, two) "
        f"{ATTENTION}",
        "[B,1,8]",
    ),
    "with the queries last": (
        f"{PRODUCT} \n v = Slice(y, c0, c8, two) \n k = Slice(y, c8, c16, two) \n q = Slice(y, c16, c24, two) "
        f"{ATTENTION}",
        "[B,1,8]",
    ),
    "without a bias": ("y = MatMul(image, w) \n q, k, v = Split<axis=2, num_outputs=3>(y)" + ATTENTION, "[B,1,8]"),
    "taken from an axis of three": (
        f"{PRODUCT} \n {MOVED} \n q = Gather<axis=0>(m, i0) \n k = Gather<axis=0>(m, i1) \n v = Gather<axis=0>(m, i2) "
        f"{OF_HEADS}",
        "[B,2,1,4]",
    ),
    "cut from an axis of three": (
        f"""{PRODUCT} \n {MOVED}
        q1 = Slice(m, zero, one, zero) \n k1 = Slice(m, one, two, zero) \n v1 = Slice(m, two, three, zero)
        q = Squeeze(q1, zero) \n k = Squeeze(k1, zero) \n v = Squeeze(v1, zero) {OF_HEADS}""",
        "[B,2,1,4]",
    ),
    "with a transposed weight": (
        "wt = Transpose(u) \n y = MatMul(image, wt) \n q, k, v = Split<axis=2, num_outputs=3>(y)" + ATTENTION,
        "[B,1,8]",
    ),
}


def model_of(nodes: str, sizes: str, batch: int = 2) -> ir.Model:
    text = f"(float[B,6,8] image) => (float{sizes} logits) {{ {nodes} }}".replace("B,", f"{batch},")
    known = PLACES | COLUMNS | HEADS | LAYER | {"u": np.ascontiguousarray(LAYER["w"].T)}
    return graph_of(text, **{name: array for name, array in known.items() if name in text})


def parted(model: ir.Model) -> bool:
    """Run the passes in turn, check that the graph computes the same, and return whether a product was split."""
    before, image = run(model), operators(model)
    ComputeWhatIsRead()(model)
    modified = PartJoinedProducts()(model).modified
    assert modified or operators(model).count("MatMul") == image.count("MatMul")
    ComputeWhatIsRead()(model)
    for found, expected in zip(run(model), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)  # products of fewer rows round differently
    assert not PartJoinedProducts()(model).modified, "a second run finds nothing left to do"
    return modified


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("case", JOINED)
def test_queries_are_made_for_the_rows_that_are_read(case: str, batch: int) -> None:
    nodes, sizes = JOINED[case]
    model = model_of(nodes, sizes, batch)
    assert parted(model)
    products = [sizes_of(node.outputs[0]) for node in model.graph if node.op_type == "MatMul"]
    assert (batch, 1, 8) in products
    assert (batch, 6, 16) in products
    assert (batch, 6, 24) not in products
    constants = shapes(model).values()
    assert (8, 24) not in constants
    assert (24,) not in constants


KEPT: dict[str, tuple[str, str]] = {
    "all rows of the queries are read": (
        f"{PRODUCT} \n q, k, v = Split<axis=-1, num_outputs=3>(y) \n kt = Transpose<perm=[0,2,1]>(k) \n "
        "scores = MatMul(q, kt) \n logits = MatMul(scores, v)",
        "[B,6,8]",
    ),
    "something else reads the product": (
        f"{PRODUCT} \n q, k, v = Split<axis=-1, num_outputs=3>(y) {ATTENTION}".replace(
            "logits =", "o = Add(xw, b) \n r = ReduceSum<keepdims=1>(o) \n z ="
        )
        + "\n logits = Add(z, r)",
        "[B,1,8]",
    ),
    "columns are joined on the way": (
        f"{PRODUCT} \n n = Softmax(y) \n q, k, v = Split<axis=-1, num_outputs=3>(n) {ATTENTION}",
        "[B,1,8]",
    ),
    "it is no product with constants": (
        "it = Concat<axis=2>(image, image, image) \n q, k, v = Split<axis=-1, num_outputs=3>(it)" + ATTENTION,
        "[B,1,8]",
    ),
    "the queries overlap with the keys": (
        f"{PRODUCT} \n q = Slice(y, c0, c16, two) \n k = Slice(y, c8, c24, two) \n v = Slice(y, c16, c24, two) "
        f"{ATTENTION}",
        "[B,1,8]",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_keep_the_product_when(case: str) -> None:
    nodes, sizes = KEPT[case]
    assert not parted(model_of(nodes, sizes))


def test_keep_the_product_when_a_part_could_be_taken_for_the_batch() -> None:
    nodes, sizes = JOINED["split"]
    model = model_of(nodes, sizes)
    ComputeWhatIsRead()(model)
    assert not PartJoinedProducts(batch=2)(model).modified  # 8 and 16 columns
    assert PartJoinedProducts(batch=11)(model).modified
